/**
 * Reading a sealed message: from its bytes to EnvelopedData or AuthEnvelopedData as values (RFC 5652 §6, RFC 5083 §2). It takes BER
 * too, since other programs stream with indefinite lengths. For `open`, the demo and tests: nothing on the sealing path reads CMS.
 */
import * as asn1js from 'asn1js';
import { SealpostError } from '../errors.ts';
import { SEQUENCE, SET } from '../certificates/encode.ts';

export interface SealedStructure {
  readonly authenticated: boolean;
  readonly recipients: readonly Recipient[];
  /** Dotted OID of the content cipher. */
  readonly cipherId: string;
  readonly iv: Buffer;
  readonly ciphertext: Buffer;
  /** AuthEnvelopedData only: the tag, and the authenticated attributes as they enter it (empty where there are none). */
  readonly tag: Buffer;
  readonly authenticatedAttributes: Buffer;
}

export interface Recipient {
  /** DER of IssuerAndSerialNumber; undefined where the reader is named in another way. */
  readonly issuerAndSerial: Buffer | undefined;
  readonly encryptedKey: Buffer;
  /** How the content key was encrypted. */
  readonly algorithm: AlgorithmId;
  /** Key agreement only. */
  readonly agreement: { readonly originatorKey: Buffer; readonly ukm: Buffer | undefined } | undefined;
}

export interface AlgorithmId {
  readonly id: string;
  /** DER of the parameters; undefined where absent. */
  readonly parameters: Buffer | undefined;
}

const ENVELOPED = '1.2.840.113549.1.7.3';
const AUTH_ENVELOPED = '1.2.840.113549.1.9.16.1.23';

/** A message of 25 MB that openssl streamed has ten thousand segments; nothing larger is worth opening in memory. */
const LIMITS = { maxNodes: 1_000_000, maxContentLength: 1024 * 1024 * 1024, maxDepth: 100 };

const notSealed = (detail: string, cause?: unknown): SealpostError => new SealpostError('message-not-sealed', { detail, cause });

/** Takes a message (RFC 8551) or its DER. Throws `message-not-sealed` with the place where it is not one. */
export function parseSealed(message: Buffer): SealedStructure {
  try {
    return parse(message[0] === SEQUENCE ? message : derOf(message));
  } catch (cause) {
    // asn1js meets some malformed octets with errors of its own making.
    throw cause instanceof SealpostError ? cause : notSealed('malformed ASN.1', cause);
  }
}

function parse(der: Buffer): SealedStructure {
  const parsed = asn1js.fromBER(der, LIMITS);
  if (parsed.offset === -1) throw notSealed(`not ASN.1: ${parsed.result.error}`);
  const [type, wrapped] = children(parsed.result, 'ContentInfo');
  const id = objectId(type);
  if (id !== ENVELOPED && id !== AUTH_ENVELOPED) throw notSealed(`content type ${id}`);
  const [envelope] = children(wrapped, 'content');
  return readEnvelope(envelope, id === AUTH_ENVELOPED);
}

/** The root entity's base64 body (RFC 8551 §3.2); only its own header says what it is. */
function derOf(message: Buffer): Buffer {
  const text = message.toString('latin1');
  const end = /\r?\n\r?\n/.exec(text);
  if (end === null) throw notSealed('no empty line ends a header');
  const header = text.slice(0, end.index).replace(/\r?\n[ \t]+/g, ' ');
  if (!/^content-type:\s*application\/(?:x-)?pkcs7-mime\b/im.test(header))
    throw notSealed('its Content-Type is not application/pkcs7-mime');
  return Buffer.from(text.slice(end.index).replace(/[^A-Za-z0-9+/=]+/g, ''), 'base64');
}

function readEnvelope(envelope: Block | undefined, authenticated: boolean): SealedStructure {
  // version, [0] originatorInfo?, recipientInfos, encryptedContentInfo, then attributes and mac
  const parts = children(envelope, 'envelope');
  const setAt = parts.findIndex((part) => part.idBlock.tagClass === UNIVERSAL && part.idBlock.tagNumber === 17);
  const recipients = children(parts[setAt], 'recipientInfos').flatMap(readRecipient);
  const [, algorithm, content] = children(parts[setAt + 1], 'encryptedContentInfo');
  const { id, parameters } = algorithmId(algorithm);
  if (parameters === undefined) throw notSealed('the content cipher has no parameters');
  const behind = parts.slice(setAt + 2);
  const attributes = behind.find((part) => part.idBlock.tagClass === CONTEXT && part.idBlock.tagNumber === 1);
  const mac = behind.find((part) => part.idBlock.tagClass === UNIVERSAL);
  return {
    authenticated,
    recipients,
    cipherId: id,
    iv: readIv(parameters),
    ciphertext: content === undefined ? Buffer.alloc(0) : octetsOf(content),
    tag: authenticated && mac !== undefined ? octetsOf(mac) : Buffer.alloc(0),
    // RFC 5083 §2.2: authenticated as a SET OF, though sent as [1].
    authenticatedAttributes:
      attributes === undefined ? Buffer.alloc(0) : Buffer.concat([Buffer.from([SET]), derBytes(attributes).subarray(1)]),
  };
}

/** CBC: the OCTET STRING itself; GCM: the first element of GCMParameters (RFC 5084 §3.2). */
function readIv(parameters: Buffer): Buffer {
  const block = asn1js.fromBER(parameters).result;
  return octetsOf(block.idBlock.tagNumber === 16 ? children(block, 'cipher parameters')[0] : block);
}

function readRecipient(info: Block): Recipient[] {
  if (info.idBlock.tagClass === UNIVERSAL) {
    const [, rid, algorithm, encryptedKey] = children(info, 'KeyTransRecipientInfo');
    return [
      {
        issuerAndSerial: issuerAndSerial(rid),
        encryptedKey: octetsOf(encryptedKey),
        algorithm: algorithmId(algorithm),
        agreement: undefined,
      },
    ];
  }
  if (info.idBlock.tagNumber !== 1) return []; // kekri, pwri, ori: readers without a certificate
  const parts = children(info, 'KeyAgreeRecipientInfo');
  const tagged = (n: number): Block | undefined => parts.find((part) => part.idBlock.tagClass === CONTEXT && part.idBlock.tagNumber === n);
  const plain = parts.filter((part) => part.idBlock.tagClass === UNIVERSAL);
  const [originator] = children(tagged(0), 'originator');
  const originatorKey = children(originator, 'originator key')[1];
  const ukm = tagged(1) === undefined ? undefined : octetsOf(children(tagged(1), 'ukm')[0]);
  if (!(originatorKey instanceof asn1js.BitString)) return []; // static-static, where the originator has a certificate
  const agreement = { originatorKey: Buffer.from(originatorKey.valueBlock.valueHexView), ukm };
  return children(plain[2], 'recipientEncryptedKeys').map((entry) => {
    const [rid, encryptedKey] = children(entry, 'RecipientEncryptedKey');
    return { issuerAndSerial: issuerAndSerial(rid), encryptedKey: octetsOf(encryptedKey), algorithm: algorithmId(plain[1]), agreement };
  });
}

const issuerAndSerial = (rid: Block | undefined): Buffer | undefined =>
  rid instanceof asn1js.Sequence && rid.idBlock.tagClass === UNIVERSAL ? derBytes(rid) : undefined;

type Block = asn1js.BaseBlock;
const UNIVERSAL = 1;
const CONTEXT = 3;

function children(block: Block | undefined, what: string): Block[] {
  if (block instanceof asn1js.Constructed || block instanceof asn1js.Sequence || block instanceof asn1js.Set) return block.valueBlock.value;
  throw notSealed(`no ${what}`);
}

/** The content of an OCTET STRING, implicitly tagged or not, in one piece or in segments. */
function octetsOf(block: Block | undefined): Buffer {
  if (block instanceof asn1js.OctetString) {
    return block.idBlock.isConstructed ? Buffer.concat(block.valueBlock.value.map(octetsOf)) : Buffer.from(block.valueBlock.valueHexView);
  }
  if (block instanceof asn1js.Primitive) return Buffer.from(block.valueBlock.valueHexView);
  if (block instanceof asn1js.Constructed) return Buffer.concat(block.valueBlock.value.map(octetsOf));
  throw notSealed('octets are missing');
}

const derBytes = (block: Block): Buffer => Buffer.from(block.valueBeforeDecodeView);

function objectId(block: Block | undefined): string {
  if (block instanceof asn1js.ObjectIdentifier) return block.valueBlock.toString();
  throw notSealed('an object identifier is missing');
}

/** Of an AlgorithmIdentifier: its OID and the DER of its parameters. */
export function algorithmId(block: Block | undefined): AlgorithmId {
  const [id, parameters] = children(block, 'algorithm');
  return { id: objectId(id), parameters: parameters === undefined ? undefined : derBytes(parameters) };
}
