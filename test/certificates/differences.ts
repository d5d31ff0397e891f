/** In what sealpost and `openssl verify` may differ about a path: the classes of the table in docs/trust.md. */
import type { Certificate } from '../../src/certificates/certificate.ts';
import { oid } from '../../src/certificates/encode.ts';
import { isSelfIssued } from '../../src/certificates/issuer.ts';
import { anyExtendedKeyUsage, emailProtection, smtpUtf8Mailbox } from '../../src/certificates/oids.ts';
import type { Path } from '../../src/certificates/path.ts';
import type { Opinion } from './verify.ts';

export type Ours = { readonly kind: 'accepts'; readonly path: Path } | { readonly kind: 'refuses'; readonly reason: string };

/** `alone`: what OpenSSL says of the path that we took, with nothing beside it. */
export interface Difference {
  readonly ours: Ours;
  readonly theirs: Opinion;
  readonly alone: Opinion | undefined;
  readonly leaf: Certificate;
  readonly anchors: readonly Certificate[];
}

export interface DifferenceClass {
  /** The first column of the table in docs/trust.md. */
  readonly title: string;
  readonly accepts: 'sealpost' | 'OpenSSL';
  readonly covers: (difference: Difference) => boolean;
  /** Of older releases alone: it need not occur. */
  readonly older?: true;
}

const alone = ({ alone }: Difference, reason: RegExp): boolean => alone?.kind === 'refuses' && reason.test(alone.reason);
const refused = ({ ours }: Difference, reason: RegExp): boolean => ours.kind === 'refuses' && reason.test(ours.reason);
const some = ({ ours }: Difference, of: (certificate: Certificate) => boolean): boolean => ours.kind === 'accepts' && ours.path.some(of);
const carries = ({ der }: Certificate, extension: string): boolean => der.includes(oid(extension));

export const classes: readonly DifferenceClass[] = [
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
  {
    title: 'the revocation of an anchor',
    accepts: 'sealpost',
    covers: ({ ours, alone }) =>
      ours.kind === 'accepts' && alone?.kind === 'refuses' && /CRL|revoked/.test(alone.reason) && alone.depth === ours.path.length - 1,
  },
  {
    title: 'a list signed with another key of the CA',
    accepts: 'OpenSSL',
    covers: (difference) => refused(difference, /its signature is not by the issuer of the certificate/),
  },
  {
    title: 'a list without nextUpdate',
    accepts: 'OpenSSL',
    covers: (difference) => refused(difference, /does not say when the next one comes \(nextUpdate\)/),
  },
  {
    title: 'a delta list alone',
    accepts: 'OpenSSL',
    covers: (difference) => refused(difference, /it is a delta list, which is not taken$/),
    older: true,
  },
];
