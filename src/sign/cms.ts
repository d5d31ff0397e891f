/**
 * SignedData (RFC 5652 §5, RFC 8551 §2): SHA-256 with RSA PKCS#1 v1.5 or ECDSA, one signer. Beside the content it is DER; around content
 * that streams through it is BER with indefinite lengths, since its length is not known when it starts, and DER within.
 */
import { createHash, type KeyObject, sign } from 'node:crypto';
import type { Certificate } from '../certificates/certificate.ts';
import { explicit, nullValue, octetString, oid, sequence, set, setOf, time, wholeNumber } from '../certificates/encode.ts';
import { signedAttributeOids as attributes, signedData } from '../certificates/oids.ts';
import { type Identity, mayEncrypt } from './identity.ts';

/** RFC 5652 §4; RFC 5754 §2.2, §3.2, §3.3: no parameters for SHA-256 and ECDSA, NULL for RSA. */
const ID_DATA = oid('1.2.840.113549.1.7.1');
const ID_SIGNED_DATA = oid(signedData);
const SHA_256 = sequence(oid('2.16.840.1.101.3.4.2.1'));
const RSA_WITH_SHA_256 = sequence(oid('1.2.840.113549.1.1.11'), nullValue);
const ECDSA_WITH_SHA_256 = sequence(oid('1.2.840.10045.4.3.2'));

/**
 * SMIMECapabilities (RFC 8551 §2.5.2), the most preferred first: AES-256-CBC, AES-128-CBC, AES-256-GCM. They tell other programs what to
 * seal with towards the site, and not every reader there opens GCM.
 */
const CAPABILITIES = sequence(
  ...['2.16.840.1.101.3.4.1.42', '2.16.840.1.101.3.4.1.2', '2.16.840.1.101.3.4.1.46'].map((id) => sequence(oid(id))),
);

/** What was signed: its SHA-256, when, in ms, and what is said of that. */
export interface Signed {
  readonly digest: Buffer;
  readonly at: number;
  readonly signingTime: number | undefined;
}

/** The signature beside its content: ContentInfo, DER. */
export async function detachedSignature(identity: Identity, signed: Signed): Promise<Buffer> {
  const content = sequence(ID_DATA);
  const certificates = explicit(0, ...certificatesOf(identity));
  return sequence(
    ID_SIGNED_DATA,
    explicit(0, sequence(VERSION, set(SHA_256), content, certificates, set(await signerInfo(identity, signed)))),
  );
}

/** RFC 5652 §5.1, §5.3: the content is id-data, and the signer is named by issuer and serial number. */
const VERSION = wholeNumber(1);
/** X.690 §8.1.3.6: a constructed value that goes on until two zero octets. */
const INDEFINITE = 0x80;
const SEQUENCE_BEGINS = Buffer.from([0x30, INDEFINITE]);
const EXPLICIT_0_BEGINS = Buffer.from([0xa0, INDEFINITE]);
const OCTET_STRING_BEGINS = Buffer.from([0x24, INDEFINITE]);
const END = Buffer.alloc(2);

/** What stands in front of content that is inside its signature; the content follows in pieces (`contentPiece`). */
export const opaqueStart: Buffer = Buffer.concat([
  Buffer.concat([SEQUENCE_BEGINS, ID_SIGNED_DATA, EXPLICIT_0_BEGINS, SEQUENCE_BEGINS, VERSION, set(SHA_256)]),
  Buffer.concat([SEQUENCE_BEGINS, ID_DATA, EXPLICIT_0_BEGINS, OCTET_STRING_BEGINS]),
]);

/** One piece of the content (X.690 §8.7.3.2). */
export const contentPiece = (octets: Buffer): Buffer => octetString(octets);

/** What stands behind the last piece. */
export async function opaqueEnd(identity: Identity, signed: Signed): Promise<Buffer> {
  const signers = set(await signerInfo(identity, signed));
  return Buffer.concat([END, END, END, explicit(0, ...certificatesOf(identity)), signers, END, END, END]);
}

/** SET OF, so in the order of their encodings. */
const certificatesOf = ({ certificate, chain }: Identity): Buffer[] =>
  [certificate, ...chain].map(({ der }) => der).sort((a, b) => a.compare(b));

async function signerInfo(identity: Identity, signed: Signed): Promise<Buffer> {
  const { certificate, key } = identity;
  const attributeSet = signedAttributes(identity, signed);
  const signature = await signatureOver(setOf(attributeSet), key);
  return sequence(
    VERSION,
    issuerAndSerial(certificate),
    SHA_256,
    // RFC 5652 §5.4: [0] IMPLICIT here, and SET OF where it is signed.
    explicit(0, ...[...attributeSet].sort((a, b) => a.compare(b))),
    key.asymmetricKeyType === 'rsa' ? RSA_WITH_SHA_256 : ECDSA_WITH_SHA_256,
    octetString(signature),
  );
}

const issuerAndSerial = ({ issuerDer, serialDer }: Certificate): Buffer => sequence(issuerDer, serialDer);

/** On another thread: RSA takes milliseconds, in which no client would be answered. */
const signatureOver = (octets: Buffer, key: KeyObject): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    sign('sha256', octets, { key, dsaEncoding: 'der' }, (error, signature) => (error === null ? resolve(signature) : reject(error)));
  });

function signedAttributes(identity: Identity, { digest, at, signingTime }: Signed): Buffer[] {
  const { certificate } = identity;
  const attribute = (id: string, value: Buffer): Buffer => sequence(oid(id), set(value));
  // RFC 5035 §4: the certificate itself is under the signature, so that none other with the same key can take its place.
  const named = sequence(sequence(explicit(4, certificate.issuerDer)), certificate.serialDer);
  const certificateId = sequence(octetString(createHash('sha256').update(certificate.der).digest()), named);
  return [
    attribute(attributes.contentType, ID_DATA),
    attribute(attributes.messageDigest, octetString(digest)),
    ...(signingTime === undefined ? [] : [attribute(attributes.signingTime, time(new Date(signingTime)))]),
    attribute(attributes.smimeCapabilities, CAPABILITIES),
    attribute(attributes.signingCertificateV2, sequence(sequence(certificateId))),
    ...(mayEncrypt(identity, at)
      ? [attribute(attributes.encryptionKeyPreference, explicit(0, certificate.issuerDer, certificate.serialDer))]
      : []),
  ];
}
