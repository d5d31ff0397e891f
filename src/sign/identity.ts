/**
 * Who signs: a certificate of the site with its private key, as a CA hands it out (PKCS#12, or PEM). What is wrong with one is a value,
 * so that the start, `check` and the log say it in the same words. Pure but for the work of opening a key.
 */
import type { KeyObject } from 'node:crypto';
import { readCertificates } from '../certificates/bundle.ts';
import type { Certificate } from '../certificates/certificate.ts';
import { isSelfIssued, keyIdsAgree } from '../certificates/issuer.ts';
import { isKeyOf, openPkcs12, readKeyPem } from '../certificates/pkcs12/keys.ts';
import { purposeFault, usability, validityFault } from '../certificates/usability.ts';
import { SealpostError } from '../errors.ts';

export interface Identity {
  readonly name: string;
  readonly key: KeyObject;
  readonly certificate: Certificate;
  /** What stands between the certificate and its root, which stays out: who gets a root with a signature knows no more of it. */
  readonly chain: readonly Certificate[];
}

/** The files of one identity, read. `chain`: PEM of what stands above the certificate, where it stands apart. */
export type Material =
  | { readonly kind: 'p12'; readonly p12: Buffer; readonly passphrase: string; readonly chain?: Buffer | undefined }
  | {
      readonly kind: 'pem';
      readonly cert: Buffer;
      readonly key: Buffer;
      readonly passphrase?: string | undefined;
      readonly chain?: Buffer | undefined;
    };

export type IdentityVerdict =
  | { readonly kind: 'identity'; readonly identity: Identity }
  | { readonly kind: 'fault'; readonly wrong: string; readonly mend: string };

/** Never throws. Time plays no part: an identity that has expired is one still, and `timeFault` tells. */
export function readIdentity(name: string, material: Material): IdentityVerdict {
  try {
    const above = material.chain === undefined ? [] : certificatesIn(material.chain, 'chain');
    const pairs = material.kind === 'p12' ? openPkcs12(material.p12, material.passphrase) : [readPem(material)];
    const judged = pairs.map(({ key, certificate, others }): IdentityVerdict => {
      const fault = signingFault(certificate);
      return fault === undefined
        ? { kind: 'identity', identity: { name, key, certificate, chain: chainOf(certificate, [...others, ...above]) } }
        : { kind: 'fault', ...fault };
    });
    // A file may hold a certificate to encrypt to beside the one to sign with.
    const [first = { kind: 'fault', wrong: 'holds no key', mend: 'export it with its private key' }] = judged;
    return judged.find(({ kind }) => kind === 'identity') ?? first;
  } catch (error) {
    if (!(error instanceof SealpostError)) throw error;
    return { kind: 'fault', wrong: `cannot be opened: ${error.detail ?? error.message}`, mend: error.hint };
  }
}

function readPem({ cert, key: secret, passphrase }: Material & { readonly kind: 'pem' }) {
  const certificates = certificatesIn(cert, 'cert');
  const key = readKeyPem(secret, passphrase);
  const certificate = certificates.find((candidate) => isKeyOf(key, candidate));
  if (certificate === undefined) {
    throw new SealpostError('key-malformed', {
      detail: 'the key belongs to none of the certificates in cert',
      hint: 'cert and key of the same request, the own certificate first',
    });
  }
  return { key, certificate, others: certificates.filter((other) => other !== certificate) };
}

function certificatesIn(bytes: Buffer, field: string): readonly Certificate[] {
  const { certificates, faults } = readCertificates(bytes);
  const [fault] = certificates.length === 0 ? ['no certificate'] : faults;
  if (fault === undefined) return certificates;
  throw new SealpostError('certificate-malformed', { detail: `${field} holds ${fault}`, hint: 'PEM, one certificate behind the other' });
}

/** A path of a real CA has two or three. */
const MAX_CHAIN = 8;

function chainOf(certificate: Certificate, others: readonly Certificate[]): readonly Certificate[] {
  const chain: Certificate[] = [];
  for (let below = certificate; chain.length < MAX_CHAIN;) {
    const next = others.find((other) => other.subjectDer.equals(below.issuerDer) && keyIdsAgree(below, other) && !isSelfIssued(other));
    if (next === undefined || chain.includes(next)) return chain;
    chain.push(next);
    below = next;
  }
  return chain;
}

interface SigningFault {
  readonly wrong: string;
  readonly mend: string;
}

/** Why mail cannot be signed with this certificate, whenever (RFC 8550 §4.4.2, §4.4.4). */
export function signingFault(certificate: Certificate): SigningFault | undefined {
  const { keyUsage, key, keyFault, addresses, publicKey } = certificate;
  const mend = 'a certificate for S/MIME signatures: digitalSignature in its key usage, emailProtection, and the address that signs';
  const fault = (wrong: string): SigningFault => ({ wrong, mend });
  if (keyUsage?.some((use) => use === 'digitalSignature' || use === 'nonRepudiation') === false)
    return fault(`its certificate is meant for encryption: its key usage is ${keyUsage.join(', ')}`);
  if (purposeFault(certificate) !== undefined)
    return fault('its certificate is not for mail: its extended key usage lacks emailProtection');
  if (addresses.length === 0) return fault('its certificate names no mail address (rfc822Name)');
  // RSA-PSS, Ed25519: RFC 8551 §2.2 names them, and few mail programs verify them.
  const type = publicKey.asymmetricKeyType ?? 'unknown';
  if (type !== 'rsa' && type !== 'ec')
    return fault(`its certificate holds a key of type ${type}, which mail is not signed with here, but with RSA (rsaEncryption) or EC`);
  return key === undefined ? fault(`its certificate holds ${keyFault ?? 'a key that is not read'}`) : undefined;
}

/** `it expired on …`; undefined while it may sign. `now` in ms. */
export const timeFault = ({ certificate }: Pick<Identity, 'certificate'>, now: number): string | undefined =>
  validityFault(certificate, now);

/** True where mail may be sealed to the certificate that signs, as RFC 8551 §2.5.3 has its readers do. */
export const mayEncrypt = ({ certificate }: Pick<Identity, 'certificate'>, now: number): boolean =>
  usability(certificate, now).kind === 'usable';
