/**
 * What a sealed message must be from its first octet to its last (RFC 5652 §6.1, RFC 5083 §2.1), read as it streams past. It is
 * stricter than readers of mail are: what is refused here is sealed again, and costs nothing but that.
 */
import type { Container, Head, Reading } from './ber.ts';
import { BerReader, fault, ROOT } from './ber.ts';
import { looksReadable } from './plausible.ts';
import { algorithmOf, oidOf, parametersOf, type Readers, RECIPIENT_OCTETS } from './readers.ts';

const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const OID = 0x06;
const OCTET_STRING = 0x04;
/** [n], constructed; `CONTENT` is [0] of a primitive. */
const explicit = (tag: number): number => 0xa0 | tag;
const CONTENT = 0x80;

const ENVELOPED = '1.2.840.113549.1.7.3';
const AUTH_ENVELOPED = '1.2.840.113549.1.9.16.1.23';
interface Cipher {
  readonly authenticated: boolean;
  readonly block: number;
  /** Of its parameters: an octet string, or a SEQUENCE of one and the length of the code. */
  readonly nonce: { readonly least: number; readonly most: number; readonly form: 'octets' | 'parameters' };
}

/** What else stands under application/pkcs7-mime, and is no seal. */
const others: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.7.1': 'data that is not encrypted',
  '1.2.840.113549.1.7.2': 'signed data, which is not encrypted',
  '1.2.840.113549.1.7.5': 'a digest, which is not encrypted',
  '1.2.840.113549.1.7.6': 'data under a key that nobody is given',
  '1.2.840.113549.1.9.16.1.2': 'authenticated data, which is not encrypted',
  '1.2.840.113549.1.9.16.1.9': 'compressed data, which is not encrypted',
};

/** What may be said to be in it: data, or one of the structures above. */
const contentTypes: ReadonlySet<string> = new Set([ENVELOPED, AUTH_ENVELOPED, ...Object.keys(others)]);

/** RFC 3565 §4.1, RFC 3370 §5.1. */
const cbc = (block: number): Cipher => ({ authenticated: false, block, nonce: { least: block, most: block, form: 'octets' } });
/** RFC 5084 §3.2: 12 octets are recommended. */
const gcm: Cipher = { authenticated: true, block: 1, nonce: { least: 12, most: 16, form: 'parameters' } };
/** RFC 5084 §3.1. */
const ccm: Cipher = { authenticated: true, block: 1, nonce: { least: 7, most: 13, form: 'parameters' } };

/** Ciphers that hide what they encrypt, by the structure that they belong in; a block is what their ciphertext is a multiple of. */
const ciphers: ReadonlyMap<string, Cipher> = new Map([
  ['2.16.840.1.101.3.4.1.2', cbc(16)], // AES-128-CBC
  ['2.16.840.1.101.3.4.1.22', cbc(16)],
  ['2.16.840.1.101.3.4.1.42', cbc(16)],
  ['1.2.840.113549.3.7', cbc(8)], // des-EDE3-CBC
  ['2.16.840.1.101.3.4.1.6', gcm], // AES-128-GCM
  ['2.16.840.1.101.3.4.1.26', gcm],
  ['2.16.840.1.101.3.4.1.46', gcm],
  ['2.16.840.1.101.3.4.1.7', ccm], // AES-128-CCM
  ['2.16.840.1.101.3.4.1.27', ccm],
  ['2.16.840.1.101.3.4.1.47', ccm],
  // ChaCha20-Poly1305 (RFC 8103 §1)
  ['1.2.840.113549.1.9.16.3.18', { authenticated: true, block: 1, nonce: { least: 12, most: 12, form: 'octets' } }],
]);

/** Of types, versions and algorithms with their parameters: none takes a third of it. */
const SMALL = 128;
/** With its head; all versions are below 6. */
const VERSION_OCTETS = 3;
/** Of all RecipientInfos. */
const MOST_RECIPIENT_OCTETS = 2 * 1024 * 1024;
/** A stream of 25 MB in pieces of 128 octets; each piece is work. */
const MOST_PIECES = 200_000;
/** Of the ciphertext, which are looked at together. */
const WINDOW = 4096;
/** RFC 5084 §3.1: the shortest tag of CCM has 4 octets, none is longer than 16. */
const TAG_OCTETS = { least: 4, most: 16 };

/** Throws Fault, and what the DER reader throws, with the reason. Readers are told of as they are met. */
export function* readEnveloped(readers: Readers): Reading<void> {
  const ber = new BerReader();
  const info = yield* ber.enter(SEQUENCE, ROOT);
  const type = oidOf(yield* small(ber, OID, info));
  if (type !== ENVELOPED && type !== AUTH_ENVELOPED) throw fault(others[type] ?? 'content of a kind that is no seal');
  const authenticated = type === AUTH_ENVELOPED;
  const wrapped = yield* ber.enter(explicit(0), info);
  const enveloped = yield* ber.enter(SEQUENCE, wrapped);
  if ((yield* small(ber, INTEGER, enveloped)).length !== VERSION_OCTETS) throw fault('a version that CMS does not know');
  yield* readRecipients(ber, enveloped, readers);
  yield* readContent(ber, enveloped, authenticated);
  if (authenticated) {
    const { length } = yield* readMac(ber, enveloped);
    if (length < TAG_OCTETS.least || length > TAG_OCTETS.most) throw fault('an authentication code of an impossible length');
  }
  // Attributes behind the content are not encrypted.
  if ((yield* ber.next(enveloped)) !== undefined) throw fault('attributes in clear');
  yield* ber.leave(wrapped);
  yield* ber.leave(info);
}

function* small(ber: BerReader, octet: number, within: Container): Reading<Buffer> {
  const head = yield* ber.some(within);
  if (head.octet !== octet) throw fault('a part of another kind than CMS wants');
  return yield* ber.whole(head, within, SMALL);
}

function* readRecipients(ber: BerReader, within: Container, readers: Readers): Reading<void> {
  const head = yield* ber.some(within);
  if (head.octet === explicit(0)) throw fault('certificates of whoever sealed it, in clear');
  if (head.octet !== SET) throw fault('a part of another kind than CMS wants');
  const set = ber.inside(head, within);
  let octets = 0;
  for (let part = yield* ber.next(set); part !== undefined; part = yield* ber.next(set)) {
    const info = yield* ber.whole(part, set, RECIPIENT_OCTETS);
    octets += info.length;
    if (octets > MOST_RECIPIENT_OCTETS) throw fault('too many readers');
    readers.add(info);
  }
  if (readers.count === 0) throw fault('no reader');
}

/** RFC 5652 §6.1 EncryptedContentInfo. */
function* readContent(ber: BerReader, within: Container, authenticated: boolean): Reading<void> {
  const info = yield* ber.enter(SEQUENCE, within);
  if (!contentTypes.has(oidOf(yield* small(ber, OID, info)))) throw fault('a content of a kind that mail does not have');
  const algorithm = yield* small(ber, SEQUENCE, info);
  const cipher = ciphers.get(algorithmOf(algorithm));
  if (cipher === undefined) throw fault('a cipher that is not known, or too weak');
  assertNonce(algorithm, cipher);
  if (cipher.authenticated !== authenticated) throw fault('a cipher that does not belong there');
  const head = yield* ber.next(info);
  if (head === undefined) throw fault('no ciphertext');
  const ciphertext = new Ciphertext();
  if (head.octet === CONTENT) yield* ciphertext.piece(ber, head, info);
  else if (head.octet === explicit(0)) yield* ciphertext.pieces(ber, ber.inside(head, info));
  else throw fault('a part of another kind than CMS wants');
  ciphertext.judge();
  if (ciphertext.length === 0) throw fault('no ciphertext');
  if (ciphertext.length % cipher.block !== 0) throw fault('a ciphertext that no cipher of its kind makes');
  yield* ber.leave(info);
}

/** Parameters are in clear: nothing may stand there but a nonce. */
function assertNonce(algorithm: Buffer, { nonce: { least, most, form } }: Cipher): void {
  const parameters = parametersOf(algorithm);
  const [nonce, codeLength, ...more] = form === 'octets' ? [parameters] : (parameters?.children ?? []);
  const isNonce = nonce?.bytes[0] === OCTET_STRING && nonce.content.length >= least && nonce.content.length <= most;
  const isCode = codeLength === undefined || (codeLength.bytes[0] === INTEGER && codeLength.content.length === 1);
  const isForm = form === 'octets' || parameters?.bytes[0] === SEQUENCE;
  if (!isNonce || !isCode || !isForm || more.length > 0) throw fault('a cipher whose parameters are not of its form');
}

class Ciphertext {
  length = 0;
  readonly #window = Buffer.alloc(WINDOW);
  #filled = 0;

  *pieces(ber: BerReader, within: Container): Reading<void> {
    let count = 0;
    for (let piece = yield* ber.next(within); piece !== undefined; piece = yield* ber.next(within)) {
      if (piece.octet !== OCTET_STRING) throw fault('a ciphertext in pieces of another kind');
      if (++count > MOST_PIECES) throw fault('a ciphertext in too many pieces');
      yield* this.piece(ber, piece, within);
    }
  }

  *piece(ber: BerReader, { length }: Head, within: Container): Reading<void> {
    if (length === undefined) throw fault('a part of another kind than CMS wants');
    this.length += length;
    for (let left = length; left > 0;) {
      const octets = yield* ber.octets(Math.min(left, WINDOW - this.#filled), within);
      octets.copy(this.#window, this.#filled);
      this.#filled += octets.length;
      left -= octets.length;
      if (this.#filled === WINDOW) this.judge();
    }
  }

  /** Nobody can tell ciphertext from noise, but text from both. What was looked at is forgotten. */
  judge(): void {
    const sample = this.#window.subarray(0, this.#filled);
    this.#filled = 0;
    if (looksReadable(sample)) throw fault('a ciphertext that is none: it can be read');
  }
}

/** AuthEnvelopedData: what stands in front of the code is authenticated and not encrypted. */
function* readMac(ber: BerReader, within: Container): Reading<{ readonly length: number }> {
  const head = yield* ber.some(within);
  if (head.octet === explicit(1)) throw fault('attributes in clear');
  if (head.octet !== OCTET_STRING || head.length === undefined) throw fault('no authentication code');
  yield* ber.whole(head, within, SMALL);
  return { length: head.length };
}
