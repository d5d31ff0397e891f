/**
 * Whole paths against a stranger: random hierarchies, judged here and by `openssl verify`. Wherever the two differ, the difference
 * must be of a class that docs/trust.md lists, in the direction that it says; and every class listed there must occur, but
 * for those of older releases.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { implicit, oid, sequence } from '../../src/certificates/encode.ts';
import { DAY_MS } from '../../src/certificates/authority/issue.ts';
import { anyExtendedKeyUsage, extensionOids } from '../../src/certificates/oids.ts';
import { buildPath, makeCertificateSet } from '../../src/certificates/path.ts';
import type { Path } from '../../src/certificates/path.ts';
import { makeCrlSource } from '../../src/certificates/revocation/crl.ts';
import type { RevocationSource } from '../../src/certificates/revocation/revocation.ts';
import { usability } from '../../src/certificates/usability.ts';
import { makeHierarchy, makeKeys, makeLists, seeded } from './chains.ts';
import type { Hierarchy } from './chains.ts';
import { classes } from './differences.ts';
import type { Ours } from './differences.ts';
import { noOpenssl, temporaryFolder } from './openssl.ts';
import {
  authorityKeyId,
  ca,
  CRL_SIGN,
  crlDer,
  ecKeys,
  email,
  extension,
  issueDer,
  KEY_CERT_SIGN,
  keyIdOf,
  keyUsage,
  name,
  nameConstraints,
  policyConstraints,
  root,
  san,
  subjectKeyId,
  utf8Mailbox,
} from './pki.ts';
import type { Ca } from './pki.ts';
import { askOpenssl } from './verify.ts';
import type { Opinion } from './verify.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const HIERARCHIES = 120;
const WITH_LISTS = 60;
const SEED = 20_260_601;

/** What is held against OpenSSL at once; `lists` undefined where revocation is not asked for. */
type Sample = Omit<Hierarchy, 'authorities'> & { readonly lists?: readonly Buffer[] };

/** As trust does under `hard`: the first path of which no certificate but the anchor lacks a good word. */
const ourVerdict = async (
  certificate: Certificate,
  { anchors, intermediates }: Sample,
  lists: RevocationSource | undefined,
): Promise<Ours> => {
  const set = (ders: readonly Buffer[]) => makeCertificateSet(ders.map(parseCertificate));
  const usable = usability(certificate, NOW);
  if (usable.kind === 'unusable') return { kind: 'refuses', reason: usable.reason };
  const verdict = buildPath(certificate, set(anchors), set(intermediates), NOW);
  if (verdict.kind === 'untrusted') return { kind: 'refuses', reason: verdict.reason };
  let reason = '';
  for (const taken of [verdict.path, ...verdict.others]) {
    const against = lists === undefined ? undefined : await revocationFault(taken, lists);
    if (against === undefined) return { kind: 'accepts', path: taken };
    reason = against;
  }
  return { kind: 'refuses', reason };
};

async function revocationFault(taken: Path, lists: RevocationSource): Promise<string | undefined> {
  for (const [index, certificate] of taken.entries()) {
    const issuer = taken[index + 1];
    if (issuer === undefined) return undefined;
    const status = await lists.status(certificate, issuer, AbortSignal.timeout(10_000));
    if (status.kind !== 'good') return status.kind === 'revoked' ? `revoked, says ${status.from}` : status.why;
  }
  return undefined;
}

/** What chance may make too seldom: each class of the table once. */
function byHand(): readonly Sample[] {
  const top = root('Root');
  const subject = name(['CN', 'leaf']);
  const leafKeys = ecKeys();
  const under = (issuer: Issuer, ...extensions: readonly Buffer[]): Buffer =>
    issueDer({ subject, keys: leafKeys, issuer: issuer.name, signer: issuer.keys, extensions });
  const anna = san(email('Anna@a.example'));
  const juergen = san(utf8Mailbox('jürgen@sub.a.example'));
  const basics = [ca(), keyUsage(KEY_CERT_SIGN)];
  const selfIssued = (issuer: Issuer, extensions: readonly Buffer[], written = issuer.name): Buffer =>
    issueDer({ subject: written, issuer: written, keys: issuer.keys, signer: issuer.keys, extensions });
  const one = (anchor: Buffer, leaf: Buffer): Sample => ({ anchors: [anchor], intermediates: [], leaves: [leaf] });
  const other = { name: name(['CN', 'Written Otherwise']), keys: ecKeys() };
  const koblitz = { name: name(['CN', 'Koblitz']), keys: ecKeys('secp256k1') };
  const newKeys = ecKeys();
  const any = extension(extensionOids.extKeyUsage, sequence(oid(anyExtendedKeyUsage)));
  const bySerial = extension(extensionOids.authorityKeyIdentifier, sequence(implicit(2, Buffer.from([9, 9]))));
  return [
    one(selfIssued(top, [...basics, nameConstraints([], [email('anna@a.example')])]), under(top, anna)),
    one(selfIssued(top, [...basics, nameConstraints([], [email('.a.example')])]), under(top, juergen)),
    one(selfIssued(top, [...basics, nameConstraints([email('.a.example')])]), under(top, juergen)),
    one(selfIssued(top, [...basics, policyConstraints(0)]), under(top, anna)),
    one(selfIssued(top, [keyUsage(KEY_CERT_SIGN)]), under(top, anna)),
    one(selfIssued(koblitz, basics), under(koblitz, anna)),
    one(selfIssued(other, basics, name(['CN', 'Written Otherwise', 'printable'])), under(other, anna)),
    one(top.certificate.der, under(top, anna, any)),
    one(top.certificate.der, under(top, anna, bySerial)),
    {
      anchors: [selfIssued(top, [...basics, subjectKeyId(Buffer.from('old'))])],
      intermediates: [
        issueDer({
          subject: top.name,
          keys: newKeys,
          issuer: top.name,
          signer: top.keys,
          extensions: [...basics, authorityKeyId(Buffer.from('old'))],
        }),
      ],
      leaves: [under({ name: top.name, keys: newKeys }, anna, authorityKeyId(Buffer.from('new')))],
    },
    // The renewed CA stands behind the expired one.
    {
      anchors: [top.certificate.der],
      intermediates: [
        issueDer({ subject: other.name, keys: other.keys, issuer: top.name, signer: top.keys, extensions: [ca(), keyUsage(CRL_SIGN)] }),
        issueDer({ subject: other.name, keys: other.keys, issuer: top.name, signer: top.keys, extensions: basics }),
      ],
      leaves: [under(other, anna)],
    },
  ];
}

/** And those of revocation lists. */
function listsByHand(): readonly Sample[] {
  const top = root('Root');
  const sub = top.sub('Sub');
  const list = (by: Issuer, days: number | undefined): Buffer => {
    const until = days === undefined ? undefined : new Date(NOW + days * DAY_MS);
    return crlDer({ issuer: by.name, signer: by.keys, from: new Date(NOW - DAY_MS), until, revoked: [] });
  };
  const heir = { name: top.name, keys: ecKeys() };
  const basics = [ca(), keyUsage(KEY_CERT_SIGN, CRL_SIGN)];
  const [old, young] = [keyIdOf(top.keys.publicKey), keyIdOf(heir.keys.publicKey)];
  const anna = san(email('anna@a.example'));
  return [
    { anchors: [top.certificate.der], intermediates: [], leaves: [top.leaf('anna@a.example').der], lists: [list(top, undefined)] },
    { anchors: [sub.certificate.der], intermediates: [], leaves: [sub.leaf('anna@a.example').der], lists: [list(sub, 1)] },
    {
      anchors: [issueDer({ ...top, subject: top.name, issuer: top.name, signer: top.keys, extensions: [...basics, subjectKeyId(old)] })],
      intermediates: [
        issueDer({
          subject: top.name,
          keys: heir.keys,
          issuer: top.name,
          signer: top.keys,
          extensions: [...basics, subjectKeyId(young), authorityKeyId(old)],
        }),
      ],
      leaves: [
        issueDer({
          subject: name(['CN', 'leaf']),
          keys: sub.keys,
          issuer: top.name,
          signer: heir.keys,
          extensions: [anna, authorityKeyId(young)],
        }),
      ],
      lists: [list(top, 1)],
    },
  ];
}

type Issuer = Pick<Ca, 'name' | 'keys'>;

describe('held against openssl verify', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const keys = makeKeys();
  const seen = new Map<string, number>();

  const askAlone = async (taken: Path, crls: readonly Buffer[] | undefined): Promise<Opinion> => {
    const anchors = taken.slice(-1).map(({ der }) => der);
    const intermediates = taken.slice(1, -1).map(({ der }) => der);
    const [opinion] = await askOpenssl(folder, { anchors, intermediates, leaves: [taken[0].der], crls, now: NOW });
    return opinion ?? assert.fail();
  };
  let sources = 0;
  const openLists = (lists: readonly Buffer[]): RevocationSource => {
    const place = path.join(folder, `crls${sources++}`);
    mkdirSync(place);
    for (const [index, list] of lists.entries()) writeFileSync(path.join(place, `${index}.crl`), list);
    const fetch = () => Promise.reject(new Error('nothing is fetched here'));
    return makeCrlSource({ fetch, folder: place, cache: { folder: place, writable: false }, now: () => NOW, random: () => 0.5 });
  };

  /** Both opinions of each leaf; fails where they differ in a way that is not listed. */
  const compare = async (sample: Sample, label: string): Promise<Record<Opinion['kind'], number>> => {
    const agreed = { accepts: 0, refuses: 0 };
    const crls = sample.lists;
    const opinions = await askOpenssl(folder, { ...sample, crls, now: NOW });
    const anchors = sample.anchors.map(parseCertificate);
    const lists = sample.lists === undefined ? undefined : openLists(sample.lists);
    for (const [index, theirs] of opinions.entries()) {
      const leaf = parseCertificate(sample.leaves[index] ?? assert.fail());
      const ours = await ourVerdict(leaf, sample, lists);
      assert.ok(theirs.kind === 'accepts' || !theirs.reason.startsWith('not read'), `${label}: ${JSON.stringify(theirs)}`);
      if (ours.kind === theirs.kind) {
        agreed[ours.kind]++;
        continue;
      }
      const alone = ours.kind === 'accepts' ? await askAlone(ours.path, crls) : undefined;
      const accepts = ours.kind === 'accepts' ? 'sealpost' : 'OpenSSL';
      const found = classes.find((one) => one.accepts === accepts && one.covers({ ours, theirs, alone, leaf, anchors }));
      const opinion = ours.kind === 'refuses' ? ours.reason : 'accepts';
      assert.ok(found, `${label}, leaf ${index}: ours: ${opinion}; OpenSSL: ${JSON.stringify(theirs)}, alone ${JSON.stringify(alone)}`);
      seen.set(found.title, (seen.get(found.title) ?? 0) + 1);
    }
    await lists?.close();
    return agreed;
  };
  const compareAll = async (samples: Iterable<Sample>): Promise<Record<Opinion['kind'], number>> => {
    const total = { accepts: 0, refuses: 0 };
    let count = 0;
    for (const sample of samples) {
      const agreed = await compare(sample, `hierarchy ${count++}`);
      total.accepts += agreed.accepts;
      total.refuses += agreed.refuses;
    }
    return total;
  };

  test(`${HIERARCHIES * 4} chains: each difference is of a class that docs/trust.md lists`, async (t) => {
    const random = seeded(SEED);
    const total = await compareAll(Array.from({ length: HIERARCHIES }, () => makeHierarchy(random, keys)));
    t.diagnostic(`both accept ${total.accepts}, both refuse ${total.refuses}`);
    assert.ok(total.accepts > HIERARCHIES && total.refuses > HIERARCHIES / 2);
  });

  test(`${WITH_LISTS * 4} chains with revocation lists: likewise, where each certificate must be known good`, async (t) => {
    const random = seeded(SEED + 1);
    const samples = Array.from({ length: WITH_LISTS }, () => {
      const hierarchy = makeHierarchy(random, keys, 0.15);
      return { ...hierarchy, lists: makeLists(random, hierarchy, NOW) };
    });
    const total = await compareAll(samples);
    t.diagnostic(`both accept ${total.accepts}, both refuse ${total.refuses}`);
    assert.ok(total.accepts > WITH_LISTS / 2 && total.refuses > WITH_LISTS / 2);
  });

  test('docs/trust.md lists these classes and no others, and each of them occurs', async (t) => {
    const page = readFileSync(path.resolve(import.meta.dirname, '../../docs/trust.md'), 'utf8');
    assert.deepEqual(
      [...page.matchAll(/^\| (.+?) \| (sealpost|OpenSSL) \| .+ \|$/gm)].map(([, title, accepts]) => ({ title, accepts })),
      classes.map(({ title, accepts }) => ({ title, accepts })),
    );
    await compareAll([...byHand(), ...listsByHand()]);
    for (const [title, times] of seen) t.diagnostic(`${title}: ${times}`);
    assert.deepEqual(
      classes.filter(({ title, older }) => older === undefined && !seen.has(title)).map(({ title }) => title),
      [],
    );
  });
});
