/**
 * The SignedData of a signed mail (RFC 5652 §5, RFC 8551 §2): who signed it, whether the signatures are right, and what the signed
 * attributes say. Whether a signer's certificate is to be believed is judged elsewhere.
 *
 * Stricter than the RFC where a harvest loses nothing by it: attributes must be there, since a signature without them is over octets that
 * another signer's attributes may be; SHA-1 is not taken; and one wrong signature among several refuses the mail.
 */
import { createHash, timingSafeEqual, verify, type KeyObject } from 'node:crypto';
import { SealpostError } from '../../errors.ts';
import { type Certificate, parseCertificate } from '../certificate.ts';
import {
  CONTEXT,
  type DerLimits,
  expectTag,
  isConstructed,
  isContext,
  malformed,
  oidText,
  readDer,
  tags,
  type Tlv,
  UNIVERSAL,
} from '../der.ts';
import { SET } from '../encode.ts';
import { rsaEncryption, signedData } from '../oids.ts';
import { caKeyFault } from '../publickey.ts';
import { judgeSignature } from '../revocation/signature.ts';
import { derOfBer } from './ber.ts';
import { readSignedAttributes, type SignedAttributes } from './signed-attributes.ts';

/** One who signed, whose signature is right. */
export interface Signer extends Pick<SignedAttributes, 'capabilities' | 'preferred'> {
  readonly certificate: Certificate;
}

export type SignedDataVerdict =
  /** `content`: what was signed. */
  | { readonly kind: 'right'; readonly signers: readonly Signer[]; readonly certificates: readonly Certificate[]; readonly content: Buffer }
  | { readonly kind: 'wrong'; readonly reason: string };

/** Pieces of a stream count too: programs write one a kilobyte. */
const BER_LIMITS: DerLimits = { bytes: 11 * 1024 * 1024, nodes: 60_000, depth: 32 };
const DER_LIMITS: DerLimits = { ...BER_LIMITS, nodes: 20_000 };
const MAX_SIGNERS = 8;
const MAX_CERTIFICATES = 50;
/** Certificates of one signer's name: each costs a verification, in which nobody else gets a turn. */
const MAX_NAMESAKES = 3;
/** Octets, which each verification hashes; real ones are a few hundred. */
const MAX_ATTRIBUTES = 64 * 1024;
/** As of keys that mail is sealed to; a larger one takes milliseconds. */
const MAX_RSA_BITS = 8192;

/** RFC 5652 §4. */
const dataType = '1.2.840.113549.1.7.1';

type Hash = 'sha256' | 'sha384' | 'sha512';

const hashes: Readonly<Record<string, Hash>> = {
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

/** Hash by signature, RFC 4055 §5, RFC 5758 §3.2, RFC 8419 §3: the digest of the content is of the same. */
const hashOfSignature: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.3.101.112': 'sha512',
};

const wrong = (reason: string): SignedDataVerdict => ({ kind: 'wrong', reason });

/** `content`: what stands beside the signature; undefined where it stands within. Never throws. */
export function judgeSignedData(bytes: Buffer, content: Buffer | undefined): SignedDataVerdict {
  try {
    return judge(readDer(derOfBer(bytes, BER_LIMITS), DER_LIMITS), content);
  } catch (error) {
    if (!(error instanceof SealpostError)) throw error;
    return wrong(`its signature cannot be read: ${error.detail ?? error.message}`);
  }
}

function judge(contentInfo: Tlv, beside: Buffer | undefined): SignedDataVerdict {
  const { digests, within, certificates: bag, signerInfos } = readFields(contentInfo);
  if (beside !== undefined && within !== undefined) return wrong('its signature holds a text of its own');
  const content = beside ?? within;
  if (content === undefined) return wrong('it holds no text');
  if (signerInfos.length === 0) return wrong('nobody has signed it');
  if (signerInfos.length > MAX_SIGNERS) return wrong(`more than ${MAX_SIGNERS} have signed it`);
  if (bag.length > MAX_CERTIFICATES) return wrong(`it brings more than ${MAX_CERTIFICATES} certificates`);
  const certificates = bag.flatMap(readCertificate);
  const signers: Signer[] = [];
  const made = new Map<Hash, Buffer>();
  /** Once for all signers: it may be ten megabytes. */
  const digestOf = (hash: Hash): Buffer => {
    const digest = made.get(hash) ?? createHash(hash).update(content).digest();
    made.set(hash, digest);
    return digest;
  };
  for (const info of signerInfos) {
    const verdict = judgeSigner(info, { digests, digestOf, certificates });
    if (typeof verdict === 'string') return wrong(verdict);
    signers.push(verdict);
  }
  return { kind: 'right', signers, certificates, content };
}

interface Fields {
  readonly digests: readonly string[];
  readonly within: Buffer | undefined;
  readonly certificates: readonly Tlv[];
  readonly signerInfos: readonly Tlv[];
}

/** RFC 5652 §3, §5.1. */
function readFields(contentInfo: Tlv): Fields {
  const [type, explicit] = expectTag(contentInfo, UNIVERSAL, tags.sequence, 'ContentInfo').children;
  if (oidText(type, 'contentType') !== signedData) throw malformed('it is no SignedData');
  const [inner, ...beyond] = expectTag(explicit, CONTEXT, 0, 'content').children;
  if (beyond.length > 0) throw malformed('ContentInfo holds what does not belong there');
  const [version, digests, encapsulated, ...rest] = expectTag(inner, UNIVERSAL, tags.sequence, 'SignedData').children;
  expectTag(version, UNIVERSAL, tags.integer, 'version');
  const listed = expectTag(digests, UNIVERSAL, tags.set, 'digestAlgorithms').children;
  const fields = [...rest];
  const certificates = isContext(fields[0], 0) && isConstructed(fields[0]) ? fields.shift() : undefined;
  if (isContext(fields[0], 1)) fields.shift(); // revocation lists: the site's own word counts
  const [signerInfos, ...more] = fields;
  if (more.length > 0) throw malformed('SignedData holds what does not belong there');
  return {
    digests: listed.map(({ children }) => oidText(children[0], 'digestAlgorithms')),
    within: readEncapsulated(encapsulated),
    certificates: certificates?.children ?? [],
    signerInfos: expectTag(signerInfos, UNIVERSAL, tags.set, 'signerInfos').children,
  };
}

/** RFC 5652 §5.2. A mail is of the type data (RFC 8551 §2.4.1). */
function readEncapsulated(tlv: Tlv | undefined): Buffer | undefined {
  const [type, explicit, ...more] = expectTag(tlv, UNIVERSAL, tags.sequence, 'encapContentInfo').children;
  if (oidText(type, 'eContentType') !== dataType) throw malformed('what is signed is no mail');
  if (explicit === undefined) return undefined;
  const [octets, ...others] = expectTag(explicit, CONTEXT, 0, 'eContent').children;
  if (more.length > 0 || others.length > 0) throw malformed('encapContentInfo holds what does not belong there');
  return expectTag(octets, UNIVERSAL, tags.octetString, 'eContent').content;
}

/** RFC 5652 §10.2.2: other forms than a certificate are under context tags, and nobody's here. What cannot be read helps nobody. */
function readCertificate(tlv: Tlv): readonly Certificate[] {
  if (tlv.tagClass !== UNIVERSAL || tlv.tag !== tags.sequence) return [];
  try {
    return [parseCertificate(tlv.bytes)];
  } catch (error) {
    if (error instanceof SealpostError) return [];
    throw error;
  }
}

interface Signed {
  readonly digests: readonly string[];
  /** Of the content. */
  readonly digestOf: (hash: Hash) => Buffer;
  readonly certificates: readonly Certificate[];
}

/** RFC 5652 §5.3. The signer, or what is wrong. */
function judgeSigner(info: Tlv, { digests, digestOf, certificates }: Signed): Signer | string {
  const [version, sid, digest, ...rest] = expectTag(info, UNIVERSAL, tags.sequence, 'SignerInfo').children;
  expectTag(version, UNIVERSAL, tags.integer, 'version of SignerInfo');
  const digestOid = oidText(expectTag(digest, UNIVERSAL, tags.sequence, 'digestAlgorithm').children[0], 'digestAlgorithm');
  const hash = hashes[digestOid];
  if (hash === undefined) return `signed over ${weakHashes[digestOid] ?? digestOid}, which is not taken`;
  // RFC 5652 §5.1 lets readers refuse what that list does not name; some do.
  if (!digests.includes(digestOid)) return 'it is hashed in a way that it does not name';
  const fields = [...rest];
  const attributes = isContext(fields[0], 0) && isConstructed(fields[0]) ? fields.shift() : undefined;
  if (attributes === undefined) return 'it is signed without attributes, which is not taken';
  if (attributes.bytes.length > MAX_ATTRIBUTES) return `its signed attributes have more than ${MAX_ATTRIBUTES} octets`;
  const [algorithm, value, unsigned, ...more] = fields;
  if (more.length > 0 || (unsigned !== undefined && !isContext(unsigned, 1)))
    throw malformed('SignerInfo holds what does not belong there');
  const algorithmTlv = expectTag(algorithm, UNIVERSAL, tags.sequence, 'signatureAlgorithm');
  const signature = expectTag(value, UNIVERSAL, tags.octetString, 'signature').content;
  const said = readSignedAttributes(attributes);
  if (said.contentType !== dataType) return 'what it is signed as is no mail';
  const own = digestOf(hash);
  if (said.digest.length !== own.length || !timingSafeEqual(said.digest, own))
    return 'its text is not what was signed: it was changed on its way';
  const named = certificates.filter((certificate) => isNamed(sid, certificate));
  if (named.length === 0) return 'the certificate of the signer is not in it';
  if (named.length > MAX_NAMESAKES) return `more than ${MAX_NAMESAKES} certificates in it are named as its signer`;
  // RFC 5652 §5.4: what is signed is the SET OF, under its own tag.
  const signed = Buffer.concat([Buffer.from([SET]), attributes.bytes.subarray(1)]);
  for (const certificate of named) {
    const verdict = judgeOctets({ algorithm: algorithmTlv, hash, key: certificate.publicKey, signed, signature });
    if (verdict === 'right') return { certificate, capabilities: said.capabilities, preferred: said.preferred };
    if (verdict !== 'wrong') return verdict;
  }
  return 'its signature is not by the certificate that it names';
}

const weakHashes: Readonly<Record<string, string>> = { '1.3.14.3.2.26': 'SHA-1', '1.2.840.113549.2.5': 'MD5' };

/** RFC 5652 §5.3: IssuerAndSerialNumber, or [0] the subject key identifier. */
export function isNamed(sid: Tlv | undefined, { issuerDer, serialDer, subjectKeyId }: Certificate): boolean {
  if (isContext(sid, 0) && !isConstructed(sid)) return subjectKeyId !== undefined && subjectKeyId === sid.content.toString('hex');
  const [issuer, serial, ...more] = expectTag(sid, UNIVERSAL, tags.sequence, 'the name of the signer').children;
  return more.length === 0 && issuer?.bytes.equals(issuerDer) === true && serial?.bytes.equals(serialDer) === true;
}

interface Octets {
  readonly algorithm: Tlv;
  readonly hash: string;
  readonly key: KeyObject;
  readonly signed: Buffer;
  readonly signature: Buffer;
}

/** `right`, `wrong`, or why it is not believed whoever made it. */
function judgeOctets({ algorithm, hash, key, signed, signature }: Octets): string {
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits > MAX_RSA_BITS) return `signed by an RSA key of ${bits} bits, ${MAX_RSA_BITS} are the most`;
  const weak = caKeyFault(key);
  if (weak !== undefined) return `signed by ${weak}`;
  const oid = oidText(algorithm.children[0], 'signatureAlgorithm');
  if (oid === rsaEncryption) {
    // RFC 3370 §3.2: RSASSA-PKCS1-v1_5, whose hash the digestAlgorithm says.
    return key.asymmetricKeyType === 'rsa' && isRight(() => verify(hash, signed, key, signature)) ? 'right' : 'wrong';
  }
  const paired = hashOfSignature[oid];
  if (paired !== undefined && paired !== hash) return 'its signature and its text are hashed in two ways';
  const verdict = judgeSignature(algorithm, key, signed, signature);
  return verdict.kind === 'weak' ? verdict.reason : verdict.kind;
}

function isRight(check: () => boolean): boolean {
  try {
    return check();
  } catch {
    // OpenSSL throws where the signature cannot be of this key at all.
    return false;
  }
}
