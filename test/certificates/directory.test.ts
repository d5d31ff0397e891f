import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { makeCachedSource } from '../../src/certificates/cache.ts';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { makeDirectory } from '../../src/certificates/directory.ts';
import type { Directory, DirectoryOptions, Lookup } from '../../src/certificates/directory.ts';
import type { CertificateSource } from '../../src/certificates/source.ts';
import { makeCertificateFolder } from '../../src/certificates/folder.ts';
import type { CertificateFolder } from '../../src/certificates/folder.ts';
import { makeTrust } from '../../src/certificates/trust.ts';
import type { Trust } from '../../src/certificates/trust.ts';
import { caExtensions, eventually, mailboxOf, make, noOpenssl, rsa, temporaryFolder } from './openssl.ts';
import type { Wish } from './openssl.ts';

const SIGNAL = new AbortController().signal;
/** A folder rests nineteen times as long as a scan of it takes, which on a busy machine is seconds. */
const PATIENCE_MS = 60_000;

const NOW = Date.parse('2026-06-01T00:00:00Z');
const log = pino({ level: 'silent' });
const anna = mailboxOf('Anna@Example.org');
const SAN = ['subjectAltName=email:anna@example.org'];

describe('the choice among certificates', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const [anchorsPath, intermediatesPath] = [temporaryFolder(), temporaryFolder()];
  let trust: Trust;
  let trusting: () => Omit<Parameters<typeof makeTrust>[0], 'now'>;
  let folders: CertificateFolder[] = [];

  before(() => {
    make(folder, { name: 'root', extensions: caExtensions });
    writeFileSync(join(anchorsPath, 'root.pem'), readFileSync(join(folder, 'root.pem')));
    const [anchors, intermediates] = [anchorsPath, intermediatesPath].map((path) => makeCertificateFolder({ path, log, now: Date.now }));
    assert.ok(anchors && intermediates);
    folders = [anchors, intermediates];
    trusting = () => ({ anchors, intermediates });
    trust = makeTrust({ ...trusting(), now: () => NOW });
  });
  after(() => {
    for (const one of folders) one.close();
  });

  const cert = (wish: Partial<Wish> & { readonly name: string }): Certificate =>
    parseCertificate(make(folder, { issuer: 'root', extensions: SAN, ...wish }));
  const source = (name: string, ...certificates: readonly Certificate[]): CertificateSource => ({
    name,
    close: () => {},
    lookup: async () =>
      certificates.length === 0
        ? { kind: 'absent' }
        : { kind: 'found', candidates: certificates.map((certificate) => ({ certificate, source: name, place: name })) },
  });
  const down: CertificateSource = {
    name: 'down',
    close: () => {},
    lookup: async () => ({ kind: 'unavailable', cause: new Error('refused') }),
  };
  const directory = (sources: readonly CertificateSource[], changes: Partial<DirectoryOptions> = {}): Directory =>
    makeDirectory({ sources, trust, now: () => NOW, log, patience: 10_000, ...changes });
  const lookup = (...sources: readonly CertificateSource[]): Promise<Lookup> => directory(sources).lookup(anna);
  const hanging = (name: string): CertificateSource => ({ name, close: () => {}, lookup: () => new Promise(() => {}) });
  const outcome = (answer: Lookup): string => (answer.kind === 'unavailable' ? `${answer.kind} ${answer.source}` : answer.kind);
  const chosen = (answer: Lookup): string =>
    answer.kind === 'found' ? answer.chosen.map(({ certificate }) => certificate.subject).join(' ') : answer.kind;

  test('the newest wins, with up to two others of its key type', async () => {
    const years = [2021, 2022, 2023, 2024].map((year) => cert({ name: `ec${year}`, from: `${year}0101000000Z` }));
    const other = cert({ name: 'rsa2025', from: '20250101000000Z', key: rsa(2048) });
    assert.equal(chosen(await lookup(source('files', ...years))), 'CN=ec2024 CN=ec2023 CN=ec2022');
    assert.equal(chosen(await lookup(source('files', ...years, other))), 'CN=rsa2025');
  });

  test('A22: a newer certificate of another CA or of its own is never chosen; fifty of them change nothing', async () => {
    const good = cert({ name: 'good', from: '20210101000000Z' });
    make(folder, { name: 'evilroot', extensions: caExtensions });
    const poison = [
      cert({ name: 'selfsigned', issuer: 'selfsigned', from: '20260501000000Z' }),
      cert({ name: 'foreign', issuer: 'evilroot', from: '20260501000000Z' }),
      ...Array.from({ length: 48 }, (_, i) => cert({ name: `self${i}`, issuer: `self${i}`, from: '20260401000000Z' })),
    ];
    for (const order of [[good, ...poison], [...poison, good], poison.toSpliced(25, 0, good)]) {
      const answer = await lookup(source('files', ...order));
      assert.equal(chosen(answer), 'CN=good');
      assert.equal(answer.kind === 'found' ? answer.rejected.length : 0, 50);
      assert.ok(answer.kind === 'found' && answer.rejected.every(({ reason }) => reason.startsWith('no path to an anchor')));
    }
  });

  test('A22: equal dates are told apart in the same way in every order', async () => {
    const twins = ['one', 'two', 'three', 'four'].map((name) => cert({ name, from: '20250101000000Z' }));
    const answers = await Promise.all(
      [twins, twins.toReversed(), twins.toSpliced(0, 1).concat(twins)].map((list) => lookup(source('files', ...list))),
    );
    assert.equal(new Set(answers.map(chosen)).size, 1);
    assert.equal(answers[0]?.kind === 'found' && answers[0].chosen.length, 3);
  });

  test('the first source with a usable certificate decides; later ones are not asked', async () => {
    const old = cert({ name: 'old', from: '20210101000000Z' });
    const newer = cert({ name: 'newer', from: '20250101000000Z' });
    assert.equal(chosen(await lookup(source('a', old), source('b', newer))), 'CN=old');
    assert.equal(chosen(await lookup(source('a', old), down)), 'CN=old');
  });

  test('a source whose certificates are all unusable is passed, and the reasons are kept', async () => {
    const expired = cert({ name: 'expired', to: '20260101000000Z' });
    const good = cert({ name: 'good' });
    const answer = await lookup(source('a', expired), source('b', good));
    assert.equal(chosen(answer), 'CN=good');
    assert.deepEqual(answer.kind === 'found' && answer.rejected.map(({ reason, source }) => `${source}: ${reason}`), [
      'a: it expired on 2026-01-01',
    ]);
    const none = await lookup(source('a', expired));
    assert.equal(none.kind === 'absent' && none.rejected.length, 1);
  });

  test("a source that hands out somebody else's certificate is not believed", async () => {
    const ben = cert({ name: 'ben', extensions: ['subjectAltName=email:ben@example.org'] });
    const answer = await lookup(source('ldap', ben));
    assert.equal(answer.kind === 'absent' && answer.rejected[0]?.reason, 'it does not name this address');
  });

  test('P5: unavailable is never absent, not even behind a source that says absent, and a throw counts as it', async () => {
    const thrower: CertificateSource = { name: 'bug', close: () => {}, lookup: () => Promise.reject(new Error('x')) };
    assert.equal((await lookup(source('a'), down)).kind, 'unavailable');
    assert.equal((await lookup(down, source('b', cert({ name: 'good' })))).kind, 'unavailable');
    assert.equal((await lookup(thrower)).kind, 'unavailable');
    assert.equal((await lookup(source('a'), source('b'))).kind, 'absent');
  });

  test('P5: a remembered certificate that has expired proves no absence: the source says, or nobody does', async () => {
    const ending = cert({ name: 'ending', to: '20260601000959Z' });
    const next = cert({ name: 'next', from: '20260531000000Z' });
    const clock = { now: NOW };
    let queries = 0;
    let says: readonly Certificate[] | undefined = [ending];
    const ldap: CertificateSource = {
      name: 'ldap',
      close: () => {},
      lookup: async (mailbox, signal) => {
        queries++;
        return says === undefined ? down.lookup(mailbox, signal) : source('ldap', ...says).lookup(mailbox, signal);
      },
    };
    const ages = { found: 3_600_000, absent: 300_000, stale: 86_400_000 };
    const open = (): Directory => {
      [clock.now, queries, says] = [NOW, 0, [ending]];
      const cached = makeCachedSource(ldap, { ages, now: () => clock.now, log, patience: 10_000 });
      return directory([cached], { now: () => clock.now, trust: makeTrust({ ...trusting(), now: () => clock.now }) });
    };
    const look = async (of: Directory, minutes: number): Promise<string> => {
      clock.now = NOW + minutes * 60_000;
      return `${chosen(await of.lookup(anna))} ${queries}`;
    };
    // While it is good it is used without asking; once it has expired the one that replaced it is found.
    const renewed = open();
    assert.deepEqual([await look(renewed, 0), await look(renewed, 9)], ['CN=ending 1', 'CN=ending 1']);
    says = [ending, next];
    assert.deepEqual([await look(renewed, 10), await look(renewed, 11)], ['CN=next 2', 'CN=next 2']);
    // Where it was not renewed, that is a fact for as long as an absence, and no more questions than for one.
    const useless = open();
    assert.deepEqual([await look(useless, 0), await look(useless, 10)], ['CN=ending 1', 'absent 2']);
    for (let count = 0; count < 1000; count++) assert.equal(await look(useless, 14), 'absent 2');
    assert.equal(await look(useless, 15), 'absent 3');
    // Where the source gives no answer, fresh as what is remembered may be, nobody knows.
    const dark = open();
    assert.equal(await look(dark, 0), 'CN=ending 1');
    says = undefined;
    assert.deepEqual(
      [await look(dark, 10), await look(dark, 10), await look(dark, 120)],
      ['unavailable 2', 'unavailable 2', 'unavailable 3'],
    );
    says = [next];
    assert.equal(await look(dark, 121), 'CN=next 4');
  });

  test('the account of a look-up: path, revocation, remarks, and who was asked', async () => {
    const good = cert({ name: 'good' });
    const talking: CertificateSource = { ...source('a'), lookup: async () => ({ kind: 'absent', remarks: ['an entry without a value'] }) };
    const answer = await lookup(talking, source('b', good), down);
    assert.ok(answer.kind === 'found');
    const [first] = answer.chosen;
    assert.deepEqual([first.path.map(({ subject }) => subject), first.revocation, first.place], [['CN=good', 'CN=root'], 'off', 'b']);
    assert.deepEqual(
      answer.asked.map((one) => [one.source, one.answer, ...one.remarks]),
      [
        ['a', 'absent', 'an entry without a value'],
        ['b', 'found'],
        ['down', 'not needed'],
      ],
    );
  });

  test('a thorough look-up asks everybody and comes to the same answer', async () => {
    const [old, newer] = [cert({ name: 'old', from: '20210101000000Z' }), cert({ name: 'newer', from: '20250101000000Z' })];
    const sources = [source('a', old), down, source('b', newer)];
    const answer = await directory(sources).lookup(anna, { thorough: true });
    assert.equal(chosen(answer), chosen(await directory(sources).lookup(anna)));
    assert.deepEqual(
      answer.asked.map((one) => one.answer),
      ['found', 'unavailable', 'found'],
    );
    assert.deepEqual(
      answer.rejected.map(({ source, reason }) => `${source}: ${reason}`),
      ['b: a is asked first and has a usable one'],
    );
  });

  test('P6 P5: a source or a trust that never answers costs the patience and no more, and is never absent', async () => {
    const good = cert({ name: 'good' });
    const silent: Trust = { judge: () => new Promise(() => {}) };
    const throwing: Trust = { judge: () => Promise.reject(new Error('a fault')) };
    const started = performance.now();
    const outcomes = await Promise.all([
      directory([hanging('ldap')], { patience: 100 }).lookup(anna),
      directory([source('a'), hanging('ldap'), source('b', good)], { patience: 100 }).lookup(anna),
      directory([source('a', good)], { patience: 100, trust: silent }).lookup(anna),
      directory([source('a', good)], { trust: throwing }).lookup(anna),
      directory([hanging('ldap'), hanging('dns'), source('b', good)], { patience: 100 }).lookup(anna, { thorough: true }),
    ]);
    assert.deepEqual(outcomes.map(outcome), [
      'unavailable ldap',
      'unavailable ldap',
      'unavailable trust',
      'unavailable trust',
      'unavailable ldap',
    ]);
    assert.equal(outcomes[4]?.asked[2]?.answer, 'found');
    assert.ok(performance.now() - started < 3000);
  });

  test('P6 A26: an answer of a hundred thousand certificates is no answer', async () => {
    const good = cert({ name: 'good' });
    const flood = source('ldap', ...Array.from({ length: 100_000 }, () => good));
    assert.equal(outcome(await lookup(flood)), 'unavailable ldap');
    assert.equal(chosen(await lookup(source('ldap', ...Array.from({ length: 1000 }, () => good)))), 'CN=good');
  });

  test('a verdict is dropped when the anchors change, and unavailable while their folder is', async () => {
    make(folder, { name: 'second', extensions: caExtensions });
    const certificate = cert({ name: 'anna2', issuer: 'second' });
    assert.equal((await trust.judge(certificate, anna, SIGNAL)).kind, 'untrusted');
    writeFileSync(join(anchorsPath, 'second.pem'), readFileSync(join(folder, 'second.pem')));
    await eventually(async () => (await trust.judge(certificate, anna, SIGNAL)).kind === 'trusted', PATIENCE_MS);
    rmSync(join(anchorsPath, 'second.pem'));
    await eventually(async () => (await trust.judge(certificate, anna, SIGNAL)).kind === 'untrusted', PATIENCE_MS);
    rmSync(intermediatesPath, { recursive: true });
    await folders[1]?.refresh();
    assert.equal((await trust.judge(certificate, anna, SIGNAL)).kind, 'unavailable');
  });
});
