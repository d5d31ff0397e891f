/**
 * A notice as a message (RFC 3464, in the multipart/report of RFC 6522), composed from its facts while it is sent: ASCII, CRLF,
 * and the same octets each time. UTF-8 addresses stand in it in the seven-bit form of RFC 6533 §3; only a reader whose own
 * address is UTF-8 has a To field that is not ASCII. Pure.
 */
import { causes } from './cause.ts';
import type { NoticeFacts } from './facts.ts';

export interface Reader {
  /** The queue id of the notice itself. */
  readonly queueId: string;
  readonly recipient: string;
}

export function composeNotice(facts: NoticeFacts, { queueId, recipient }: Reader): Buffer {
  const boundary = `=_${queueId}`;
  const header = [
    `Date: ${date(facts.writtenAt)}`,
    `From: "Mail delivery" <mailer-daemon@${facts.reporter}>`,
    `To: <${recipient}>`,
    `Subject: ${subjects[facts.kind]} [${facts.queueId}]`,
    `Message-ID: <${queueId}@${facts.reporter}>`,
    'Auto-Submitted: auto-replied',
    'MIME-Version: 1.0',
    `Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="${boundary}"`,
  ];
  const parts = [
    part('text/plain; charset=us-ascii', forPeople(facts)),
    part('message/delivery-status', [...perMessage(facts), '', ...perRecipient(facts)]),
    part('text/rfc822-headers', original(facts)),
  ];
  const body = [...parts.flatMap((lines) => [`--${boundary}`, ...lines]), `--${boundary}--`];
  return Buffer.from([...header, '', ...body, ''].join('\r\n'));
}

const subjects = {
  failed: 'Mail could not be delivered',
  delayed: 'Mail is delayed',
  relayed: 'Mail was handed on',
  held: 'Mail is held',
} as const satisfies Record<NoticeFacts['kind'], string>;

const part = (type: string, lines: readonly string[]): string[] => [`Content-Type: ${type}`, '', ...lines, ''];

function forPeople(facts: NoticeFacts): string[] {
  return [
    `This is the mail relay ${facts.reporter}.`,
    '',
    ...story(facts),
    '',
    `The message was taken in on ${date(facts.acceptedAt)} under`,
    `the queue id ${facts.queueId}. Nothing of what it says stands in this notice.`,
  ];
}

function story(facts: NoticeFacts): string[] {
  const { why, mend } = causes[facts.cause];
  const recipient = `    ${ascii(facts.recipient)}`;
  switch (facts.kind) {
    case 'failed':
      return [
        'A message could not be delivered, and no more will be tried. It was for',
        '',
        recipient,
        '',
        ...(facts.expired ? [facts.heldSince === undefined ? TRIED : HELD, ''] : []),
        `Why: ${why} (status ${facts.status}).`,
        ...byRule(facts),
        `What to do: ${mend}`,
      ];
    case 'delayed':
      return [
        'A message is not delivered yet. It is for',
        '',
        recipient,
        '',
        `Why: ${why} (status ${facts.status}).`,
        'What to do: nothing. It will be tried again,',
        `until ${date(facts.retryUntil ?? facts.writtenAt)}.`,
      ];
    case 'relayed':
      return [
        'A message was handed on to a mail server that does not tell whether it is',
        'delivered. You asked to be told. It was for',
        '',
        recipient,
        '',
        'What to do: nothing.',
      ];
    case 'held':
      return [...heldStory(facts), '', `Why: ${why}.`, ...byRule(facts), ...toRelease(facts)];
  }
}

const TRIED = 'It was tried for too long. What the last attempt met:';
const HELD = 'It was held for too long. What it was held for:';

/** Longer names are made to be in the way. */
const MAX_RULE = 200;

const byRule = ({ rule }: NoticeFacts): string[] => (rule === undefined ? [] : [`Rule: ${ascii(rule.slice(0, MAX_RULE))}`]);

function heldStory({ recipient, alsoHeld = 0 }: NoticeFacts): string[] {
  return [
    'A message is held: it was not sent, and waits under the seal of the relay. It is for',
    '',
    `    ${ascii(recipient)}`,
    ...(alsoHeld === 0 ? [] : ['', `Held since the last notice of this kind, without one of their own: ${alsoHeld} more.`]),
  ];
}

/** What comes before the command. A directory that is down wants no new certificate, and what a rule holds goes by nobody's word but yours. */
function firstStep(cause: NoticeFacts['cause']): string[] {
  const byItself = ['Where it has the hold key, the relay then sends the message by itself; else', 'release it with the key:'];
  if (cause === 'held-by-rule') return ['What to do: decide whether it may go out. It does so by your word alone:'];
  if (cause === 'no-look-up')
    return [
      'What to do: the log of the relay, and sealpost certs lookup ADDRESS, say which source does not',
      'answer, or whether a changed certificate waits for approval. Mend that; no new certificate is needed.',
      ...byItself,
    ];
  return ['What to do: let the relay know a usable certificate of the recipient.', ...byItself];
}

/** The queue id is one of ours; nothing else of the line comes from outside. */
function toRelease({ queueId, heldSince, retryUntil, writtenAt, cause }: NoticeFacts): string[] {
  return [
    `Held since ${date(heldSince ?? writtenAt)},`,
    ...(retryUntil === null ? [] : [`and until ${date(retryUntil)}, when it counts as failed.`]),
    '',
    ...firstStep(cause),
    '',
    `    sealpost queue release ${queueId} --key FILE`,
    '',
    'All that is held: sealpost queue list --held',
  ];
}

/** RFC 3464 §2.2. */
function perMessage({ reporter, envid, acceptedAt, queueId }: NoticeFacts): string[] {
  return [
    ...(envid === null ? [] : [`Original-Envelope-Id: ${decodeXtext(envid)}`]),
    `Reporting-MTA: dns; ${reporter}`,
    `Arrival-Date: ${date(acceptedAt)}`,
    `X-Sealpost-Queue-Id: ${queueId}`,
  ];
}

/** RFC 3464 §2.3. */
function perRecipient(facts: NoticeFacts): string[] {
  const { kind, recipient, orcpt, status, cause, attemptedAt, retryUntil } = facts;
  return [
    ...(orcpt === null ? [] : [`Original-Recipient: ${originalRecipient(orcpt)}`]),
    `Final-Recipient: ${/^[\x00-\x7f]*$/.test(recipient) ? 'rfc822' : 'utf-8'}; ${ascii(recipient)}`,
    // RFC 3464 §2.3.3 has no word for it: not delivered yet, and nothing failed.
    `Action: ${kind === 'held' ? 'delayed' : kind}`,
    `Status: ${status}`,
    ...(kind === 'relayed' ? [] : [`Diagnostic-Code: x-sealpost; ${causes[cause].why}`]),
    ...(kind === 'held' ? [] : [`Last-Attempt-Date: ${date(attemptedAt)}`]),
    ...(retryUntil === null ? [] : [`Will-Retry-Until: ${date(retryUntil)}`]),
  ];
}

const original = (facts: NoticeFacts): string[] => [
  ...(facts.date === null ? [] : [`Date: ${facts.date}`]),
  ...(facts.messageId === null ? [] : [`Message-ID: ${facts.messageId}`]),
];

/** RFC 3461 §4.2: the type as it was sent, the address decoded. */
function originalRecipient(orcpt: string): string {
  const at = orcpt.indexOf(';');
  return `${orcpt.slice(0, at)}; ${decodeXtext(orcpt.slice(at + 1))}`;
}

/** RFC 3461 §4. What does not decode to printable ASCII was not let in. */
const decodeXtext = (text: string): string =>
  text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

/** RFC 6533 §3, utf-8-addr-xtext. */
const ascii = (address: string): string =>
  /^[\x20-\x7e]*$/.test(address)
    ? address
    : Array.from(address, (point) => (/^[\x21-\x7e]$/.test(point) && !/[\\+=]/.test(point) ? point : escaped(point))).join('');

const escaped = (point: string): string => `\\x{${(point.codePointAt(0) ?? 0).toString(16).toUpperCase()}}`;

/** RFC 5322 §3.3, in UTC. */
const date = (ms: number): string => new Date(ms).toUTCString().replace('GMT', '+0000');
