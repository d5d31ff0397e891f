/**
 * Whole paths against a stranger: random hierarchies, judged here and by `openssl verify`. Wherever the two differ, the difference
 * must be of a class that docs/trust.md lists, in the direction that it says; and every class listed there must occur.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { anyExtendedKeyUsage, emailProtection, extensionOids, smtpUtf8Mailbox } from '../../src/certificates/oids.ts';
import { implicit, oid, sequence } from '../../src/certificates/encode.ts';
import { buildPath, makeCertificateSet } from '../../src/certificates/path.ts';
import type { Path } from '../../src/certificates/path.ts';
import { isSelfIssued } from '../../src/certificates/issuer.ts';
import { usability } from '../../src/certificates/usability.ts';
import { makeHierarchy, makeKeys, seeded } from './chains.ts';
import type { Hierarchy } from './chains.ts';
import { noOpenssl, temporaryFolder } from './openssl.ts';
import {
  authorityKeyId,
  ca,
  CRL_SIGN,
  ecKeys,
  email,
  extension,
  issueDer,
  KEY_CERT_SIGN,
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
const SEED = 20_260_601;

type Ours = { readonly kind: 'accepts'; readonly path: Path } | { readonly kind: 'refuses'; readonly reason: string };

/** `alone`: what OpenSSL says of the path that we took, with nothing beside it. */
interface Difference {
  readonly ours: Ours;
  readonly theirs: Opinion;
  readonly alone: Opinion | undefined;
  readonly leaf: Certificate;
  readonly anchors: readonly Certificate[];
}

interface DifferenceClass {
  /** The first column of the table in docs/trust.md. */
  readonly title: string;
  readonly accepts: 'sealpost' | 'OpenSSL';
  readonly covers: (difference: Difference) => boolean;
}

const alone = ({ alone }: Difference, reason: RegExp): boolean => alone?.kind === 'refuses' && reason.test(alone.reason);
const refused = ({ ours }: Difference, reason: RegExp): boolean => ours.kind === 'refuses' && reason.test(ours.reason);
const some = ({ ours }: Difference, of: (certificate: Certificate) => boolean): boolean => ours.kind === 'accepts' && ours.path.some(of);
const carries = ({ der }: Certificate, extension: string): boolean => der.includes(oid(extension));

const classes: readonly DifferenceClass[] = [
  {
    title: 'a way round a dead end',
    accepts: 'sealpost',
    // The proof: of this very path OpenSSL thinks as we do.
    covers: ({ alone }) => alone?.kind === 'accepts',
  },
  {
    title: 'anyExtendedKeyUsage',
    accepts: 'sealpost',
    covers: (difference) =>
      alone(difference, /^unsuitable certificate purpose$/) &&
      some(
        difference,
        ({ extendedKeyUsage: purposes }) => purposes?.includes(anyExtendedKeyUsage) === true && !purposes.includes(emailProtection),
      ),
  },
  {
    title: 'an issuer named by its serial number',
    accepts: 'sealpost',
    covers: (difference) =>
      alone(difference, /^unable to get (?:local )?issuer certificate$/) &&
      some(difference, (one) => one.authorityKeyId === undefined && carries(one, '2.5.29.35')),
  },
  {
    title: 'a change of key without a key identifier',
    accepts: 'sealpost',
    covers: (difference) =>
      alone(difference, /^self-signed certificate in certificate chain$/) &&
      some(difference, (one) => isSelfIssued(one) && one.subjectKeyId === undefined),
  },
  {
    title: 'SmtpUTF8Mailbox below a permitted `.domain`',
    accepts: 'sealpost',
    covers: (difference) =>
      alone(difference, /^permitted subtree violation$/) &&
      carries(difference.leaf, smtpUtf8Mailbox) &&
      some(difference, ({ nameConstraints: names }) => names?.permitted.some(({ text }) => text.startsWith('*.')) === true),
  },
  {
    title: 'SmtpUTF8Mailbox below an excluded `.domain`',
    accepts: 'OpenSSL',
    covers: (difference) => refused(difference, /forbids mail addresses of \*\./) && carries(difference.leaf, smtpUtf8Mailbox),
  },
  {
    title: 'a mailbox excluded in other letters',
    accepts: 'OpenSSL',
    covers: (difference) => refused(difference, /forbids mail addresses of anna@/),
  },
  {
    title: 'a CA without basicConstraints',
    accepts: 'OpenSSL',
    covers: (difference) => refused(difference, /is not a CA \(basicConstraints\)/),
  },
  {
    title: 'other curves',
    accepts: 'OpenSSL',
    covers: (difference) => refused(difference, /holds an EC key on another curve/),
  },
  {
    title: 'policies that an anchor demands',
    accepts: 'OpenSSL',
    covers: (difference) =>
      refused(difference, /demands a certificate policy below it/) &&
      difference.anchors.some(({ policies }) => policies.requireExplicit !== undefined),
  },
  {
    title: 'names in other octets',
    accepts: 'OpenSSL',
    covers: (difference) => refused(difference, /^no path to an anchor: the issuer of CN=leaf is not known: CN=Written Otherwise/),
  },
];

const ourVerdict = (certificate: Certificate, { anchors, intermediates }: Hierarchy): Ours => {
  const set = (ders: readonly Buffer[]) => makeCertificateSet(ders.map(parseCertificate));
  const usable = usability(certificate, NOW);
  if (usable.kind === 'unusable') return { kind: 'refuses', reason: usable.reason };
  const verdict = buildPath(certificate, set(anchors), set(intermediates), NOW);
  return verdict.kind === 'trusted' ? { kind: 'accepts', path: verdict.path } : { kind: 'refuses', reason: verdict.reason };
};

/** What chance may make too seldom: each class of the table once. */
function byHand(): readonly Hierarchy[] {
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
  const one = (anchor: Buffer, leaf: Buffer): Hierarchy => ({ anchors: [anchor], intermediates: [], leaves: [leaf] });
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

type Issuer = Pick<Ca, 'name' | 'keys'>;

describe('held against openssl verify', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const rows = [
    ...readFileSync(path.resolve(import.meta.dirname, '../../docs/trust.md'), 'utf8').matchAll(
      /^\| (.+?) \| (sealpost|OpenSSL) \| .+ \|$/gm,
    ),
  ];

  test(`${HIERARCHIES * 4} chains: each difference is of a class that docs/trust.md lists, and each class occurs`, async (t) => {
    assert.deepEqual(
      rows.map(([, title, accepts]) => ({ title, accepts })),
      classes.map(({ title, accepts }) => ({ title, accepts })),
    );
    const random = seeded(SEED);
    const keys = makeKeys();
    const count = { accepted: 0, refused: 0 };
    const seen = new Map<string, number>();
    const judge = async (hierarchy: Hierarchy, label: string): Promise<void> => {
      const opinions = await askOpenssl(folder, { ...hierarchy, now: NOW });
      const anchors = hierarchy.anchors.map(parseCertificate);
      for (const [index, theirs] of opinions.entries()) {
        const leaf = parseCertificate(hierarchy.leaves[index] ?? assert.fail());
        const ours = ourVerdict(leaf, hierarchy);
        assert.ok(theirs.kind === 'accepts' || !theirs.reason.startsWith('not read'), `${label}: ${JSON.stringify(theirs)}`);
        if (ours.kind === theirs.kind) {
          count[ours.kind === 'accepts' ? 'accepted' : 'refused']++;
          continue;
        }
        const difference = { ours, theirs, alone: ours.kind === 'accepts' ? await askAlone(ours.path) : undefined, leaf, anchors };
        const accepts = ours.kind === 'accepts' ? 'sealpost' : 'OpenSSL';
        const found = classes.find((one) => one.accepts === accepts && one.covers(difference));
        const told = `ours: ${ours.kind === 'refuses' ? ours.reason : 'accepts'}; OpenSSL: ${JSON.stringify(theirs)}, alone ${JSON.stringify(difference.alone)}`;
        assert.ok(found, `${label}, leaf ${index}: ${told}`);
        seen.set(found.title, (seen.get(found.title) ?? 0) + 1);
      }
    };
    for (const [index, hierarchy] of byHand().entries()) await judge(hierarchy, `by hand ${index}`);
    for (let index = 0; index < HIERARCHIES; index++) await judge(makeHierarchy(random, keys), `hierarchy ${index}`);
    t.diagnostic(`both accept ${count.accepted}, both refuse ${count.refused}`);
    for (const [title, times] of seen) t.diagnostic(`${title}: ${times}`);
    assert.ok(count.accepted > HIERARCHIES && count.refused > HIERARCHIES / 2, JSON.stringify(count));
    assert.deepEqual(
      classes.map(({ title }) => title).filter((title) => !seen.has(title)),
      [],
    );
  });

  const askAlone = async (taken: Path): Promise<Opinion> => {
    const anchors = taken.slice(-1).map(({ der }) => der);
    const intermediates = taken.slice(1, -1).map(({ der }) => der);
    const [opinion] = await askOpenssl(folder, { anchors, intermediates, leaves: [taken[0].der], now: NOW });
    return opinion ?? assert.fail();
  };
});
