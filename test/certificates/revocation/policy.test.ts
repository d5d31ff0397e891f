/** What answers about revocation mean under hard, soft and off (A23, P5), and what trust makes of it path by path. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import type { CertificateSource } from '../../../src/certificates/source.ts';
import { makeDirectory } from '../../../src/certificates/directory.ts';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { type CertificateFolder, makeCertificateFolder } from '../../../src/certificates/folder.ts';
import type { AskOwnWord, OwnWord } from '../../../src/certificates/revocation/own-word.ts';
import { makeRevocationPolicy } from '../../../src/certificates/revocation/policy.ts';
import type { RevocationMode, RevocationPolicy } from '../../../src/certificates/revocation/policy.ts';
import type { RevocationSource, RevocationStatus } from '../../../src/certificates/revocation/revocation.ts';
import { makeTrust } from '../../../src/certificates/trust.ts';
import { caExtensions, certify, mailboxOf, make, noOpenssl, temporaryFolder } from '../openssl.ts';
import { read } from './responder.ts';

const byText = (a: string, b: string): number => (a < b ? -1 : 1);
const SIGNAL = new AbortController().signal;
const good = (from: string): RevocationStatus => ({ kind: 'good', from, until: new Date('2099-01-01') });
const revoked: RevocationStatus = {
  kind: 'revoked',
  from: 'CRL http://x.test/',
  at: new Date('2026-05-01T12:00:00Z'),
  reason: 'keyCompromise',
};
const gone: RevocationStatus = { kind: 'unknown', why: 'CRL http://x.test/ is stale', lasting: false };
const silent: RevocationStatus = { kind: 'unknown', why: 'OCSP http://y.test/: ECONNREFUSED', lasting: false };
const delta: RevocationStatus = { kind: 'unknown', why: 'CRL http://x.test/ is a delta list', lasting: true };
const noList: RevocationStatus = { kind: 'unknown', why: 'the certificate names no list', lasting: true };
const noResponder: RevocationStatus = { kind: 'unknown', why: 'it names no OCSP responder', lasting: true };

describe('the revocation policy', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const [anchorsPath, intermediatesPath] = [temporaryFolder(), temporaryFolder()];
  const folders: CertificateFolder[] = [];
  let [root, middle, both, bare, listed, asked]: Certificate[] = [];
  const logged: string[] = [];
  const log = pino({}, { write: (line: string) => void logged.push(line) });

  before(() => {
    const crl = 'crlDistributionPoints=URI:http://x.test/';
    const ocsp = 'authorityInfoAccess=OCSP;URI:http://y.test/';
    const san = 'subjectAltName=email:anna@example.org';
    make(folder, { name: 'root', extensions: caExtensions });
    make(folder, { name: 'second', extensions: caExtensions });
    make(folder, { name: 'middle', issuer: 'root', extensions: [...caExtensions, crl] });
    make(folder, { name: 'both', issuer: 'middle', extensions: [san, crl, ocsp] });
    make(folder, { name: 'bare', issuer: 'middle', extensions: [san] });
    make(folder, { name: 'listed', issuer: 'middle', extensions: [san, crl] });
    make(folder, { name: 'asked', issuer: 'middle', extensions: [san, ocsp] });
    [root, middle, both, bare, listed, asked] = ['root', 'middle', 'both', 'bare', 'listed', 'asked'].map((name) => read(folder, name));
    for (const name of ['root', 'second']) writeFileSync(join(anchorsPath, `${name}.pem`), readFileSync(join(folder, `${name}.pem`)));
    writeFileSync(join(intermediatesPath, 'middle.pem'), readFileSync(join(folder, 'middle.pem')));
    // The same CA, certified by the second root too.
    writeFileSync(join(folder, 'middle.key.pem'), readFileSync(join(folder, 'middle.pem')));
    certify(folder, { name: 'middle', issuer: 'second', extensions: [...caExtensions, crl] });
    writeFileSync(join(intermediatesPath, 'crossed.pem'), readFileSync(join(folder, 'middle.pem')));
  });
  after(() => {
    for (const one of folders) one.close();
  });

  /** Answers by subject; what is not named is good. */
  const source = (name: string, answers: Readonly<Record<string, RevocationStatus>>, questions: string[] = []): RevocationSource => ({
    status: async ({ subject, issuer }) => {
      const who = subject.replace('CN=', '');
      questions.push(`${name} ${who}`);
      return answers[`${who} by ${issuer.replace('CN=', '')}`] ?? answers[who] ?? good(`${name} of ${who}`);
    },
    close: () => {},
  });
  const policy = (
    crl: Readonly<Record<string, RevocationStatus>>,
    ocsp: Readonly<Record<string, RevocationStatus>> = {},
  ): RevocationPolicy => makeRevocationPolicy({ crl: source('CRL', crl), ocsp: source('OCSP', ocsp), log });
  const judged = async (by: RevocationPolicy, leaf: Certificate | undefined, mode: RevocationMode, signal = SIGNAL): Promise<string> => {
    assert.ok(leaf && middle && root);
    const verdict = await by.judge([leaf, middle, root], mode, signal);
    if (verdict.kind === 'unsure') verdict.tell();
    if (verdict.kind === 'taken' || verdict.kind === 'unsure') return `taken, ${verdict.text}`;
    return verdict.kind === 'refused' ? `refused: ${verdict.reason}` : `unavailable: ${verdict.cause.message}`;
  };
  const everyMode = async (by: RevocationPolicy, leaf: Certificate | undefined): Promise<string[]> => [
    await judged(by, leaf, 'soft'),
    await judged(by, leaf, 'hard'),
  ];

  test('off asks nobody, and nobody is asked about an anchor', async () => {
    const questions: string[] = [];
    const by = makeRevocationPolicy({ crl: source('CRL', {}, questions), ocsp: source('OCSP', {}, questions), log });
    assert.equal(await judged(by, both, 'off'), 'taken, off');
    assert.ok(root);
    assert.equal((await by.judge([root], 'hard', SIGNAL)).kind, 'taken');
    assert.deepEqual(questions, []);
    await judged(by, both, 'hard');
    assert.deepEqual([...new Set(questions)].sort(byText), ['CRL both', 'CRL middle']);
  });

  test('lists come first; a responder, who hears of the reader, is asked where no list answers', async () => {
    const questions: string[] = [];
    const by = makeRevocationPolicy({ crl: source('CRL', { both: gone }, questions), ocsp: source('OCSP', {}, questions), log });
    assert.equal(await judged(by, both, 'hard'), 'taken, good: OCSP of both, CRL of middle');
    assert.deepEqual([...new Set(questions)].sort(byText), ['CRL both', 'CRL middle', 'OCSP both']);
  });

  test('revoked is refused under soft and hard, whoever says so, of the certificate or a CA above it', async () => {
    const reason = 'was revoked on 2026-05-01 (keyCompromise), says CRL http://x.test/';
    assert.deepEqual(await everyMode(policy({ both: revoked }), both), Array(2).fill(`refused: it ${reason}`));
    assert.deepEqual(await everyMode(policy({ both: gone }, { both: revoked }), both), Array(2).fill(`refused: it ${reason}`));
    assert.deepEqual(
      await everyMode(policy({ middle: revoked, both: gone }, { both: silent }), both),
      Array(2).fill(`refused: CN=middle ${reason}`),
    );
  });

  test('A23: unknown for now is taken and said under soft, and unavailable under hard, never absent (P5)', async () => {
    const why = 'unknown: CRL http://x.test/ is stale; OCSP http://y.test/: ECONNREFUSED';
    assert.deepEqual(await everyMode(policy({ both: gone }, { both: silent }), both), [
      `taken, ${why}`,
      `unavailable: revocation is ${why}`,
    ]);
    assert.deepEqual(await everyMode(policy({ middle: gone }, { middle: noResponder }), both), [
      'taken, unknown: CN=middle: CRL http://x.test/ is stale',
      'unavailable: revocation is unknown: CN=middle: CRL http://x.test/ is stale',
    ]);
    // The list is of no use for good, yet the responder may come back.
    assert.match((await everyMode(policy({ both: delta }, { both: silent }), both)).join(), /^taken.*,unavailable: /);
  });

  test('A23: unknown for good is a fact, which hard refuses with its reason', async () => {
    assert.deepEqual(await everyMode(policy({ listed: delta }, { listed: noResponder }), listed), [
      'taken, unknown: CRL http://x.test/ is a delta list',
      'refused: its revocation cannot be known: CRL http://x.test/ is a delta list',
    ]);
    assert.deepEqual(await everyMode(policy({ bare: noList }, { bare: noResponder }), bare), [
      'taken, unknown: the certificate names no list; it names no OCSP responder',
      'refused: its revocation cannot be known: the certificate names no list; it names no OCSP responder',
    ]);
    assert.equal(
      await judged(policy({ asked: noList }, { asked: silent }), asked, 'soft'),
      'taken, unknown: OCSP http://y.test/: ECONNREFUSED',
    );
  });

  test('A23: what soft takes is logged once for each certificate and reason, by fingerprint', async () => {
    logged.length = 0;
    const by = policy({ both: gone }, { both: silent });
    await judged(by, both, 'soft');
    await judged(by, both, 'soft');
    assert.equal(logged.length, 1);
    assert.match(logged[0] ?? '', /"msg":"revocation is unknown, the certificate is taken"/);
    assert.match(logged[0] ?? '', /"level":40/);
    assert.ok(both !== undefined && logged[0]?.includes(`"certificate_sha256":"${both.fingerprint}"`));
    assert.ok(logged[0]?.includes('CN=') === false, 'no name');
  });

  test('A23: a source that hangs is not waited for beyond the look-up; under soft not beyond some seconds', async () => {
    const hangs: RevocationSource = {
      status: (_certificate, _issuer, signal) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => resolve(gone));
        }),
      close: () => {},
    };
    const by = makeRevocationPolicy({ crl: hangs, ocsp: source('OCSP', { both: silent, middle: noResponder }), log });
    assert.match(await judged(by, both, 'hard', AbortSignal.timeout(50)), /^unavailable/);
    const start = performance.now();
    assert.match(await judged(by, both, 'soft'), /^taken, unknown/);
    assert.ok(performance.now() - start < 40_000);
  });

  test('A23: many certificates of one address at one silent server cost a look-up one patience, and soft takes them', async () => {
    let waiting = 0;
    const hangs: RevocationSource = {
      status: (_certificate, _issuer, signal) => {
        if (signal.aborted) return Promise.resolve(gone);
        waiting++;
        return new Promise((resolve) => {
          signal.addEventListener('abort', () => resolve(gone));
        });
      },
      close: () => {},
    };
    const [anchors, intermediates] = [anchorsPath, intermediatesPath].map((path) => makeCertificateFolder({ path, log, now: Date.now }));
    assert.ok(anchors && intermediates && both && listed && asked && bare);
    folders.push(anchors, intermediates);
    const by = makeRevocationPolicy({ crl: hangs, ocsp: source('OCSP', { both: silent, middle: noResponder }), log });
    const trust = makeTrust({ anchors, intermediates, now: Date.now, revocation: { policy: by, mode: 'soft' } });
    const candidates = [both, listed, asked, bare].flatMap((certificate) =>
      Array.from({ length: 10 }, (_, at) => ({ certificate, source: 'files', place: `${at}` })),
    );
    const files: CertificateSource = { name: 'files', close: () => {}, lookup: async () => ({ kind: 'found', candidates }) };
    const directory = makeDirectory({ sources: [files], trust, now: Date.now, log, patience: 60_000 });
    const answer = await directory.lookup(mailboxOf('anna@example.org'));
    assert.equal(answer.kind, 'found');
    // Eight side by side, of two certificates each on the first path: who comes later finds no time left to wait.
    assert.ok(waiting <= 16, `${waiting}`);
  });

  test('a look at all certificates refuses what is known and waits for nothing else', async () => {
    const by = (crl: Readonly<Record<string, RevocationStatus>>): RevocationPolicy =>
      makeRevocationPolicy({ crl: source('CRL', crl), ocsp: source('OCSP', { both: silent, bare: noResponder }), log, atHandOnly: true });
    assert.match(await judged(by({ both: gone }), both, 'hard'), /^taken, unknown/);
    assert.match(await judged(by({ both: revoked }), both, 'hard'), /^refused/);
    assert.match(await judged(by({ bare: noList }), bare, 'hard'), /^refused/);
  });

  test('a look at all certificates logs none of them, mail does', async () => {
    const by = (atHandOnly: boolean): RevocationPolicy =>
      makeRevocationPolicy({ crl: source('CRL', { both: gone }), ocsp: source('OCSP', { both: silent }), log, atHandOnly });
    const before = logged.length;
    await judged(by(true), both, 'soft');
    assert.equal(logged.length, before);
    await judged(by(false), both, 'soft');
    assert.ok(logged.length > before);
  });

  test('a source that throws has said nothing', async () => {
    const broken: RevocationSource = { status: () => Promise.reject(new Error('secret')), close: () => {} };
    const by = makeRevocationPolicy({ crl: broken, ocsp: broken, log });
    assert.equal(
      await judged(by, both, 'hard'),
      'unavailable: revocation is unknown: a fault while asking; a fault while asking; CN=middle: a fault while asking',
    );
  });

  const trusting = (by: RevocationPolicy, mode: RevocationMode, ownWord?: AskOwnWord) => {
    const [anchors, intermediates] = [anchorsPath, intermediatesPath].map((path) => makeCertificateFolder({ path, log, now: Date.now }));
    assert.ok(anchors && intermediates && both);
    folders.push(anchors, intermediates);
    const trust = makeTrust({ anchors, intermediates, now: Date.now, revocation: { policy: by, mode }, ownWord });
    return trust.judge(both, mailboxOf('anna@example.org'), SIGNAL);
  };

  test('A23: what this site revoked itself is refused in every mode, and while that cannot be read nobody knows (P5)', async () => {
    for (const mode of ['hard', 'soft', 'off'] as const) {
      const of = (word: OwnWord) => trusting(policy({}), mode, ({ subject }) => (subject === 'CN=both' ? word : undefined));
      const at = Date.UTC(2026, 4, 1);
      const verdict = await of({ kind: 'revoked', at, reason: 'keyCompromise' });
      assert.equal(verdict.kind === 'untrusted' && verdict.reason, 'it was revoked on 2026-05-01 (keyCompromise), says the in-house CA');
      assert.equal((await of({ kind: 'unreadable', cause: new Error('a damaged ledger') })).kind, 'unavailable');
    }
  });

  test('where one path holds a revoked CA, the next is tried', async () => {
    const verdict = await trusting(policy({ 'middle by root': revoked }), 'hard');
    assert.equal(verdict.kind, 'trusted');
    assert.deepEqual(
      verdict.path.map(({ subject }) => subject),
      ['CN=both', 'CN=middle', 'CN=second'],
    );
    const neither = await trusting(policy({ middle: revoked }), 'soft');
    assert.equal(
      neither.kind === 'untrusted' && neither.reason,
      'CN=middle was revoked on 2026-05-01 (keyCompromise), says CRL http://x.test/',
    );
  });

  test('A23: a certificate that was revoked itself is refused, though less is known of it by another path', async () => {
    let asked = 0;
    const once: RevocationSource = {
      status: async ({ subject }) => (subject !== 'CN=both' ? good('CRL') : asked++ === 0 ? revoked : gone),
      close: () => {},
    };
    const by = makeRevocationPolicy({ crl: once, ocsp: source('OCSP', { both: silent }), log });
    assert.equal((await trusting(by, 'soft')).kind, 'untrusted');
  });

  test('A23: under soft a path of which less is known does not hide what another knows', async () => {
    /** The two certificates of the one CA; which path comes first is nobody's promise. */
    const knowing = (which: number, status: RevocationStatus): RevocationSource => {
      const issuers: string[] = [];
      return {
        status: async ({ subject }, { fingerprint }) => {
          if (subject !== 'CN=both') return good('CRL');
          if (!issuers.includes(fingerprint)) issuers.push(fingerprint);
          return issuers.indexOf(fingerprint) === which ? status : gone;
        },
        close: () => {},
      };
    };
    const by = (which: number, status: RevocationStatus): RevocationPolicy =>
      makeRevocationPolicy({ crl: knowing(which, status), ocsp: source('OCSP', { both: silent }), log });
    logged.length = 0;
    for (const which of [0, 1]) {
      assert.equal((await trusting(by(which, revoked), 'soft')).kind, 'untrusted', `path ${which}`);
      const verdict = await trusting(by(which, good('CRL x')), 'soft');
      assert.equal(verdict.kind === 'trusted' && verdict.revocation, 'good: CRL x, CRL');
    }
    assert.deepEqual(logged, []);
    const neither = await trusting(by(2, gone), 'soft');
    assert.match(neither.kind === 'trusted' ? neither.revocation : '', /^unknown/);
    assert.equal(logged.length, 1);
  });

  test('P5: a path that could not be judged keeps the whole unavailable', async () => {
    const verdict = await trusting(policy({ 'middle by root': revoked, 'middle by second': gone }, { middle: noResponder }), 'hard');
    assert.equal(verdict.kind, 'unavailable');
  });
});
