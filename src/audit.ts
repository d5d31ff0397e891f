/**
 * What the audit log says: one JSON line an event, each naming the hash of the line before it (45 CFR 164.312(b)).
 * Events are written in the same queue transaction as the change they tell of (P7); the queue's one writer numbers, times and
 * chains them. Never a Subject, a header value, body, file name or secret: attributes are addresses, ids, hashes, replies.
 *
 * A line is one JSON object, `seq` and `time` first, `prev` last, where `prev` is the SHA-256 of the line before it without its
 * line feed. Whoever changes, drops or moves a line breaks every `prev` behind it. What the chain alone cannot show, a tail
 * cut off, shows against the head that the queue database records. Whoever rewrites file and database together is noticed by
 * checkpoints that are kept elsewhere (audit/checkpoint.ts), and by nothing else. The file is one of several: audit/segments.ts.
 */
import { createHash } from 'node:crypto';
import { SealpostError } from './errors.ts';

export const auditEventNames = [
  'accepted', // a message is durable in the queue; the 250 follows
  'sealed', // one recipient's message: rule, certificate, algorithms; for a group one event for each member
  'passed', // one recipient's message goes on as it came, by a rule
  'archived', // a copy for the archive; its `sealed` or `held` stands beside it
  'skipped', // a member of a group has no usable certificate; the message was sealed to the others
  'held', // one recipient's message is sealed to the hold certificate of the site, and waits: by which rule, and why
  'released', // held mail was decided on again and sealed to its reader: by whom, and whether it was encrypted anew
  'delivered', // an upstream took it
  'deferred', // an attempt failed for now
  'bounced', // it failed for good
  'notice', // a notice is in the queue: of what, about which message, to whom
  'ambiguous', // an upstream may have taken it, and it will be sent again
  'damaged', // a stored item does not fit its checksum; set aside
  'removed', // a named operator took it out
  'retried', // a named operator asked for an attempt now
  'certificate-changed', // a known address has another certificate: mail was sealed to it, or it waits for approval
  'certificate-unlisted', // one more would wait for approval than are kept of one address; told once a day
  'certificate-approved', // a named operator let one be used that waited
  'certificate-forgotten', // a named operator took one out of what is known of an address
  'certificate-issued', // the in-house CA signed one, by a named operator
  'certificate-renewed', // the in-house CA signed one in the place of another
  'certificate-revoked', // a named operator revoked one of the in-house CA, for a reason
  'crl-written', // a list of the in-house CA got its number
  'certificate-harvested', // a signed mail brought one; it waits for approval, or a rule took it
  'certificate-rejected', // a named operator dropped a harvested one that waited
  'expiry-told', // a reader was told that their certificate ends
  'summary-sent', // the operator was sent a summary of certificates
  'certificate-tried', // a code went out under seal, by a named operator, to see whether the reader can open it
  'certificate-confirmed', // the reader told the code to a named operator
  'config-loaded', // the relay started with this configuration: the hash of its file, and which keys the environment set
  'rules-loaded', // from here on these rules decide: how many, and the hash over their files
  'audit-pruned', // segments of this log that were older than is to be kept are deleted: which lines
  'rules-kept', // rules were changed and are faulty; those from before go on
  'started',
  'stopped',
] as const;

export type AuditEventName = (typeof auditEventNames)[number];

/** An event before it has its number, time and chain. Attribute names are snake_case; values are JSON scalars. */
export interface AuditEvent {
  readonly event: AuditEventName;
  readonly queue_id?: string;
  readonly recipient?: string;
  readonly [attribute: string]: string | number | boolean | null | undefined;
}

/** How far the chain has come: the last line's number and hash, and the octets of all lines up to and with it, of every segment. */
export interface AuditHead {
  readonly seq: number;
  /** Lower-case hex SHA-256 of the last line without its line feed. */
  readonly hash: string;
  readonly bytes: number;
}

/** Before the first line. */
export const EMPTY_HEAD: AuditHead = Object.freeze({ seq: 0, hash: '0'.repeat(64), bytes: 0 });

/** Longest attribute value, in UTF-16 code units: an upstream's reply has at most 512 octets a line (RFC 5321 §4.5.3.1.5). */
const MAX_VALUE = 1024;
const MAX_ATTRIBUTES = 64;
/** Above anything chainLine makes (every code unit escaped); what is longer was not written here. */
export const MAX_LINE = 512 * 1024;
const ATTRIBUTE = /^[a-z][a-z0-9_]{0,62}$/;
const RESERVED: ReadonlySet<string> = new Set(['seq', 'time', 'prev']);
/** What would move, hide or reorder the text around it on a terminal: controls, format and bidi characters, separators (A33). */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu;

/** Hostile text as printable text: `\\u202e` for what must not reach a terminal; JSON reads it back as it was. */
export function escapeUnprintable(text: string): string {
  return text.replace(UNPRINTABLE, (found) =>
    found
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** One event as the line behind `head`, and the head after it. `at`: ms since the epoch. */
export function chainLine(head: AuditHead, event: AuditEvent, at: number): { readonly line: Buffer; readonly head: AuditHead } {
  const seq = head.seq + 1;
  const members: [string, unknown][] = [
    ['seq', seq],
    ['time', new Date(at).toISOString()],
    ['event', event.event],
  ];
  for (const [name, value] of Object.entries(event)) {
    if (name === 'event' || value === undefined) continue;
    if (!ATTRIBUTE.test(name) || RESERVED.has(name))
      throw new SealpostError('internal', { detail: 'an audit attribute with an impossible name' });
    members.push([name, typeof value === 'string' ? cut(value) : value]);
  }
  if (members.length > MAX_ATTRIBUTES) throw new SealpostError('internal', { detail: 'an audit event with too many attributes' });
  members.push(['prev', head.hash]);
  const line = Buffer.from(`${escapeUnprintable(JSON.stringify(Object.fromEntries(members)))}\n`);
  return { line, head: { seq, hash: hashLine(line.subarray(0, -1)), bytes: head.bytes + line.length } };
}

const cut = (value: string): string => (value.length <= MAX_VALUE ? value : `${value.slice(0, MAX_VALUE)}…`);

const hashLine = (line: Buffer): string => createHash('sha256').update(line).digest('hex');

/** A line as far as the chain cares. */
export interface AuditLink {
  readonly seq: number;
  readonly prev: string;
  /** Of this line. */
  readonly hash: string;
}

/** Undefined where it is no line of a log. `line` comes without its line feed. */
export function readLink(line: Buffer): AuditLink | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line.toString());
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('seq' in value) || !('prev' in value)) return undefined;
  const { seq, prev } = value;
  if (typeof seq !== 'number' || typeof prev !== 'string') return undefined;
  return { seq, prev, hash: hashLine(line) };
}
