/**
 * The outer header block: what stays readable on the way, because upstreams and mail clients need it. It is an allow-list; every
 * other field moves inside the seal (scripts put personal data in X- fields). Always ASCII with lines of at most 998 octets,
 * whatever the upstream can do; only a local part outside ASCII stays raw, and marks the message SMTPUTF8.
 */
import { SealpostError } from '../errors.ts';
import type { Envelope, Mailbox } from './envelope.ts';
import { parseAddressList, writeMailbox } from './addresses.ts';
import { type Field, fieldText } from './header.ts';
import { encodeWords } from './words.ts';

type Kind = 'address' | 'identifier' | 'token' | 'subject' | 'received';

/** The allow-list; `List-*` comes on top of it. */
const kinds: Readonly<Record<string, Kind>> = {
  from: 'address',
  sender: 'address',
  'reply-to': 'address',
  to: 'address',
  cc: 'address',
  date: 'token',
  'message-id': 'identifier',
  'in-reply-to': 'identifier',
  references: 'identifier',
  subject: 'subject',
  'auto-submitted': 'token',
  precedence: 'token',
  importance: 'token',
  received: 'received',
};

/** RFC 5322 §2.1.1, octets without CRLF. */
const LINE_LIMIT = 998;
const FOLD_AT = 76;

export function isOuter(key: string): boolean {
  return kindOf(key) !== undefined;
}

function kindOf(key: string): Kind | undefined {
  if (Object.hasOwn(kinds, key)) return kinds[key];
  // RFC 2369, RFC 2919 and RFC 8058 name them in letters; whatever else a script calls List-… is its own and stays inside.
  return /^list-[a-z]{1,20}(?:-[a-z]{1,20})?$/.test(key) ? 'token' : undefined;
}

/** Octets of listed fields in one message. Each recipient's copy holds them, so they are what a message may multiply by. */
const MAX_OUTER = 64 * 1024;

export interface OuterOptions {
  readonly envelope: Envelope;
  readonly queueId: string;
  readonly hostname: string;
  readonly now: Date;
}

export interface OuterBlock {
  /**
   * Complete fields, each ended by CRLF, without MIME fields and without the empty line; `text` takes the place of the Subject,
   * undefined keeps the original one.
   */
  withSubject(text: string | undefined): Buffer;
  /** A mailbox in it has a local part outside ASCII. */
  readonly needsSmtputf8: boolean;
  /** Keys of allow-listed fields that could not be shown whole: they stand inside as well, so that nothing is lost. */
  readonly alsoInside: ReadonlySet<string>;
  /** Names of the fields that were made or mended, for the log. */
  readonly mended: readonly string[];
}

/** Makes the outer block of one message. `fields` is its whole top header block. Pure. Throws `header-too-big`. */
export function outerBlock(fields: readonly Field[], options: OuterOptions): OuterBlock {
  assertBounded(fields);
  const block = new Block();
  const lines = [receivedLine(options)];
  let subject: { readonly line: string; readonly at: number } | undefined;
  const seen = new Set<string>();
  for (const field of joinRecipients(fields, block)) {
    const kind = kindOf(field.key);
    if (kind === undefined) continue;
    const single = kind !== 'received' && !field.key.startsWith('list-');
    const line = single && seen.has(field.key) ? undefined : block.show(kind, field);
    if (line === undefined) {
      block.mended.add(field.name);
      // A Received may name a Bcc recipient (`for <…>`), and the inside is shared by all readers (A16).
      if (kind !== 'received') block.alsoInside.add(field.key);
      continue;
    }
    seen.add(field.key);
    if (kind === 'subject') subject = { line, at: lines.length };
    else lines.push(line);
  }
  for (const [key, line] of missingFields(options)) {
    if (seen.has(key)) continue;
    block.mended.add(line.slice(0, line.indexOf(':')));
    lines.push(line);
  }
  const needsSmtputf8 = block.needsSmtputf8 || (!seen.has('from') && options.envelope.sender?.needsSmtputf8 === true);
  return {
    withSubject(text) {
      if (text !== undefined) return Buffer.from([...lines, subjectLine(text)].join(''));
      return Buffer.from((subject === undefined ? lines : lines.toSpliced(subject.at, 0, subject.line)).join(''));
    },
    needsSmtputf8,
    alsoInside: block.alsoInside,
    mended: [...block.mended],
  };
}

function assertBounded(fields: readonly Field[]): void {
  const octets = fields.reduce((sum, field) => sum + (isOuter(field.key) ? field.octets.length : 0), 0);
  if (octets > MAX_OUTER) throw new SealpostError('header-too-big', { detail: `more than ${MAX_OUTER} octets of it would stay readable` });
}

/** Fields a script left out, each with its key (RFC 5322 §3.6 wants Date and From; upstreams refuse mail without Message-ID). */
function* missingFields({ envelope, queueId, hostname, now }: OuterOptions): Generator<[string, string]> {
  const from: Mailbox['address'] = envelope.sender?.address ?? `MAILER-DAEMON@${hostname}`;
  yield ['from', `From: ${from}\r\n`];
  yield ['date', `Date: ${rfc5322Date(now)}\r\n`];
  yield ['message-id', `Message-ID: <${queueId}@${hostname}>\r\n`];
}

/** What is gathered while the fields are shown. */
class Block {
  needsSmtputf8 = false;
  readonly alsoInside = new Set<string>();
  readonly mended = new Set<string>();

  /** The field as it may stand outside, ended by CRLF; undefined where it cannot. */
  show(kind: Kind, field: Field): string | undefined {
    if (kind === 'received') return showReceived(field);
    // The blank that RFC 5322 §4.5 once allowed in front of the colon is no field to many hosts.
    if (isClean(field.octets)) return field.octets.toString('latin1').replace(/^([^:\s]+)[ \t]+:/, '$1:');
    this.mended.add(field.name);
    if (kind === 'subject') return subjectLine(fieldText(field));
    if (kind === 'address') return this.#showAddresses(field);
    const text = fieldText(field);
    return /^[\x20-\x7e\t]+$/.test(text) ? fold(field.name, text.split(/[ \t]+/), '') : undefined;
  }

  #showAddresses(field: Field): string | undefined {
    const list = parseAddressList(fieldText(field));
    if (list.faults > 0) this.alsoInside.add(field.key);
    if (list.mailboxes.length === 0) return undefined;
    if (list.mailboxes.some(({ mailbox }) => mailbox.needsSmtputf8)) this.needsSmtputf8 = true;
    return fold(field.name, list.mailboxes.map(writeMailbox), ',');
  }
}

/** Several To or Cc fields, as PHP scripts write them, joined into the first: RFC 5322 §3.6 has one, and upstreams refuse the second. */
function* joinRecipients(fields: readonly Field[], block: Block): Generator<Field> {
  const joined = new Set<string>();
  for (const field of fields) {
    if (field.key !== 'to' && field.key !== 'cc') {
      yield field;
    } else if (!joined.has(field.key)) {
      joined.add(field.key);
      const same = fields.filter((other) => other.key === field.key);
      if (same.length > 1) block.mended.add(field.name);
      yield same.length === 1 ? field : { ...field, octets: joinValues(field.name, same) };
    }
  }
}

function joinValues(name: string, fields: readonly Field[]): Buffer {
  const values = fields.map((field) => field.octets.subarray(field.octets.indexOf(':') + 1, -CRLF.length));
  const parts = values.flatMap((value, index) => (index === 0 ? [value] : [Buffer.from(',\r\n'), startWithBlank(value)]));
  return Buffer.concat([Buffer.from(`${name}:`), ...parts, CRLF]);
}

const CRLF = Buffer.from('\r\n');

function startWithBlank(value: Buffer): Buffer {
  return value[0] === 0x20 || value[0] === 0x09 ? value : Buffer.concat([Buffer.from(' '), value]);
}

/** True where a field may stand outside as it came: printable ASCII, folded by CRLF and blank, no line over-long or blank. */
function isClean(octets: Buffer): boolean {
  const text = octets.toString('latin1');
  if (!/^(?:[\x20-\x7e\t]+\r\n)+$/.test(text)) return false;
  return text
    .slice(0, -2)
    .split('\r\n')
    .every((line, index) => line.length <= LINE_LIMIT && (index === 0 || line.trim() !== ''));
}

function subjectLine(text: string): string {
  const plain = /^[\x20-\x7e]*$/.test(text) && text.length < LINE_LIMIT - 'Subject: '.length;
  return plain ? `Subject: ${text}\r\n` : `Subject: ${encodeWords(text).join('\r\n ')}\r\n`;
}

/** The parts of a value on lines of about 76 characters; undefined where one part alone makes an over-long line. */
function fold(name: string, parts: readonly string[], separator: string): string | undefined {
  const pieces = parts.filter((part) => part !== '').map((part, index, all) => (index < all.length - 1 ? part + separator : part));
  let out = `${name}:`;
  let column = out.length;
  for (const [index, piece] of pieces.entries()) {
    const fits = index === 0 || column + piece.length < FOLD_AT;
    out += fits ? ` ${piece}` : `\r\n ${piece}`;
    column = fits ? column + piece.length + 1 : piece.length + 1;
  }
  return out.split('\r\n').every((line) => Buffer.byteLength(line) <= LINE_LIMIT) ? `${out}\r\n` : undefined;
}

/**
 * A Received of an earlier hop without its `for` clause. Where an address is left in it all the same it is not shown: it may name
 * one recipient to the others (A16).
 */
function showReceived(field: Field): string | undefined {
  if (!isClean(field.octets)) return undefined;
  const text = fieldText(field).replace(/\bfor\s+[^;]*(?=;|$)/i, '');
  return text.includes('@') ? undefined : fold(field.name, text.split(/\s+/), '');
}

/** Our own trace field (RFC 5321 §4.4), without `for`: it would name one recipient to the others. */
function receivedLine({ envelope, queueId, hostname, now }: OuterOptions): string {
  const { address, helo } = envelope.client;
  const from = /^[A-Za-z0-9.:[\]_-]{1,255}$/.test(helo) ? helo : 'unknown';
  const literal = address.includes(':') ? `[IPv6:${address}]` : `[${address}]`;
  return `Received: from ${from} (${literal})\r\n\tby ${hostname} with ${envelope.protocol} id ${queueId};\r\n\t${rfc5322Date(now)}\r\n`;
}

/** RFC 5322 §3.3, in UTC. */
export function rfc5322Date(date: Date): string {
  return date.toUTCString().replace('GMT', '+0000');
}
