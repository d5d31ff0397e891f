/**
 * The inner entity: what is sealed, and what the reader sees once it is open (RFC 8551 §3.1). Every field that is neither on the
 * outer allow-list nor dropped keeps its place and its octets; behind the empty line comes the body with CRLF line ends.
 */
import { isAscii } from 'node:buffer';
import { SealpostError } from '../errors.ts';
import { type Field, fieldText, type Message } from './header.ts';
import { isOuter } from './outer.ts';

/**
 * Fields that stand nowhere any more. All readers share the inside, so what names a Bcc recipient may not be there (P8); the
 * signatures of earlier hops no longer fit the message.
 */
const dropped: ReadonlySet<string> = new Set([
  'return-path',
  'delivered-to',
  'x-original-to',
  'envelope-to',
  'x-envelope-to',
  'x-rcpt-to',
  'x-receiver',
  'x-envelope-recipient',
  'x-delivered-to',
  'x-forwarded-to',
  'x-original-recipient',
  'original-recipient',
  'apparently-to',
  'x-apparently-to',
  'dkim-signature',
]);

/** `Bcc`, and whatever keeps one: `Resent-Bcc`, `X-Original-Bcc`. */
const BCC = /(?:^|-)bcc$/;

/** `X-Sealpost-…` of others would pass for ours (A11). */
export const isDropped = (key: string): boolean =>
  dropped.has(key) || BCC.test(key) || key.startsWith('arc-') || key.startsWith('x-sealpost-');

/** RFC 5321 §6.3 wants a large number; real paths stay under twenty. */
const MAX_HOPS = 50;

/** Throws `mail-loop` where the message passed more than MAX_HOPS relays. */
export function assertNoLoop(fields: readonly Field[]): void {
  const hops = fields.filter((field) => field.key === 'received').length;
  if (hops > MAX_HOPS) throw new SealpostError('mail-loop', { detail: `${hops} Received fields` });
}

export interface InsideOptions {
  /** Keys of outer fields that are not shown outside, or not whole. */
  readonly alsoInside: ReadonlySet<string>;
}

/** The header of the inner entity with its empty line; the body follows as it is. Pure. */
export function innerHeader(message: Message, { alsoInside }: InsideOptions): Buffer {
  const kept = message.fields.filter((field) => {
    if (isDropped(field.key)) return false;
    return !isOuter(field.key) || alsoInside.has(field.key);
  });
  const fields = onlyOne(onlyOne(kept, 'content-type', isContentType), 'content-transfer-encoding', () => true);
  return Buffer.concat([...fields.map((field) => field.octets), ...labels(fields, message), CRLF]);
}

const CRLF = Buffer.from('\r\n');

/** RFC 2045 §5.1: type and subtype are tokens. */
function isContentType(field: Field): boolean {
  return /^[!#$%&'*+.^_`{|}~0-9A-Za-z-]+\/[!#$%&'*+.^_`{|}~0-9A-Za-z-]+[ \t]*(?:;|\(|$)/.test(fieldText(field));
}

/** Of several fields of one name the first valid one: readers disagree which of two they believe. */
function onlyOne(fields: readonly Field[], key: string, valid: (field: Field) => boolean): readonly Field[] {
  const same = fields.filter((field) => field.key === key);
  if (same.length < 2) return fields;
  const chosen = same.find(valid) ?? same[0];
  return fields.filter((field) => field.key !== key || field === chosen);
}

/** A body with 8-bit octets and no Content-Type would be US-ASCII to a reader (RFC 2045 §5.2): it is said what it is. */
function labels(fields: readonly Field[], message: Message): Buffer[] {
  const has = (key: string): boolean => fields.some((field) => field.key === key);
  if (has('content-type') || isAscii(message.lookAhead)) return [];
  const charset = isUtf8(message.lookAhead, message.whole) ? 'utf-8' : 'windows-1252';
  const lines = [`Content-Type: text/plain; charset=${charset}\r\n`];
  if (!has('content-transfer-encoding')) lines.push('Content-Transfer-Encoding: 8bit\r\n');
  return lines.map((line) => Buffer.from(line));
}

/** `whole` false: a sequence that the end of the look-ahead cuts is no fault. */
function isUtf8(octets: Buffer, whole: boolean): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(octets, { stream: !whole });
    return true;
  } catch {
    return false;
  }
}
