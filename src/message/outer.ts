/**
 * The outer header block: what stays readable on the way, because upstreams and mail clients need it. It is an allow-list; every
 * other field moves inside the seal (scripts put personal data in X- fields). Always ASCII with lines of at most 998 octets,
 * whatever the upstream can do; only a local part outside ASCII stays raw, and marks the message SMTPUTF8.
 */
import { SealpostError } from '../errors.ts';
import type { Envelope, Mailbox } from './envelope.ts';
import { parseAddressList, writeMailbox } from './addresses.ts';
import { type Field, fieldText } from './header.ts';
import { arrange, type Line, type Look, originalAuthor, replacedBy, type Shown, withOwnId } from './look.ts';
import { fold, isClean, subjectLine } from './written.ts';

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
  /** The fields are an outer block that was made before: our Received is among them. */
  readonly again?: true;
}

export interface OuterBlock {
  withLook(look: Look): Shown;
  /** Keys of allow-listed fields that stand inside as well, since that look shows them not, or not whole: nothing is lost. */
  insideOf(look: Look): ReadonlySet<string>;
  /** Names of the fields that were made or mended, for the log. */
  readonly mended: readonly string[];
}

/** Makes the outer block of one message. `fields` is its whole top header block. Pure. Throws `header-too-big`. */
export function outerBlock(fields: readonly Field[], options: OuterOptions): OuterBlock {
  assertBounded(fields);
  const block = new Block();
  const lines: Line[] = options.again === true ? [] : [{ key: 'received', line: receivedLine(options) }];
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
    lines.push({ key: field.key, line });
  }
  for (const [key, line] of missingFields(options)) {
    if (seen.has(key)) continue;
    block.mended.add(line.slice(0, line.indexOf(':')));
    lines.push({ key, line });
  }
  const replyTo = seen.has('reply-to') ? undefined : originalAuthor(fields);
  const references = seen.has('message-id') ? withOwnId(lines) : undefined;
  return {
    withLook: (look) => arrange(lines, look, replyTo, references),
    insideOf: (look) => new Set([...block.alsoInside, ...replacedBy(look)]),
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
  readonly alsoInside = new Set<string>();
  readonly mended = new Set<string>();

  /** The field as it may stand outside, ended by CRLF; undefined where it cannot. */
  show(kind: Kind, field: Field): string | undefined {
    if (kind === 'received') return showReceived(field);
    // Where it names nobody it would only be in the way of one that does.
    if (field.key === 'reply-to' && !field.octets.includes('@')) return undefined;
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

/**
 * A Received of an earlier hop without its `for` clause. Where an address is left in it all the same it is not shown: it may name
 * one recipient to the others (A16).
 */
export function showReceived(field: Field): string | undefined {
  if (!isClean(field.octets)) return undefined;
  const text = fieldText(field).replace(/\bfor\s+[^;]*(?=;|$)/i, '');
  return text.includes('@') ? undefined : fold(field.name, text.split(/\s+/), '');
}

/** Our own trace field (RFC 5321 §4.4), without `for`: it would name one recipient to the others. */
export function receivedLine({ envelope, queueId, hostname, now }: OuterOptions): string {
  const { address, helo } = envelope.client;
  const from = /^[A-Za-z0-9.:[\]_-]{1,255}$/.test(helo) ? helo : 'unknown';
  const literal = address.includes(':') ? `[IPv6:${address}]` : `[${address}]`;
  return `Received: from ${from} (${literal})\r\n\tby ${hostname} with ${envelope.protocol} id ${queueId};\r\n\t${rfc5322Date(now)}\r\n`;
}

/** RFC 5322 §3.3, in UTC. */
export function rfc5322Date(date: Date): string {
  return date.toUTCString().replace('GMT', '+0000');
}
