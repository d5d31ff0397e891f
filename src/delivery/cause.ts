/**
 * Why an attempt came to nothing, in our own words: what a notice may say (A18). The upstream's text is never among them, since it
 * may quote what it was sent. Pure.
 */
import type { SealpostError } from '../errors.ts';
import type { ReplyClass } from './classes.ts';
import { classOf } from './classify.ts';
import { isUpstreamFault, type Result } from './result.ts';

interface Words {
  /** Behind `Why: `. */
  readonly why: string;
  /** What the reader of the notice can do, where it failed for good. */
  readonly mend: string;
}

const askOperator = 'Ask whoever looks after the relay, and name the queue id.';

export const causes = {
  'address-unknown': {
    why: 'the mailbox is not known there',
    mend: 'Check the address: is it spelt right, is it still in use? Then send again.',
  },
  'domain-unknown': { why: 'no mail server is known for that domain', mend: 'Check what stands behind the @, then send again.' },
  'mailbox-closed': { why: 'the mailbox takes no mail', mend: 'Reach the recipient in another way, or ask for another address.' },
  'mailbox-full': { why: 'the mailbox is full', mend: 'Let the recipient make room, then send again.' },
  'too-big': { why: 'the message is too big', mend: 'Send less at once. Sealing makes a message about two fifths larger.' },
  'sender-refused': { why: 'the sender address is not taken', mend: askOperator },
  smtputf8: {
    why: 'an address outside ASCII cannot be carried that far',
    mend: 'Use an address in ASCII, where the recipient has one.',
  },
  content: { why: 'the form of the message is not taken', mend: askOperator },
  policy: { why: 'the rules of the receiving side refuse it', mend: askOperator },
  rule: { why: 'a rule of the relay refuses it', mend: askOperator },
  certificate: {
    why: 'the relay has no usable certificate of the recipient, and mail in clear is not allowed',
    mend: 'Let the recipient or whoever looks after the relay add one, then send again.',
  },
  loop: { why: 'the message went in a circle', mend: askOperator },
  refused: { why: 'the receiving side refuses it', mend: askOperator },
  later: { why: 'the receiving side put it off', mend: askOperator },
  barred: { why: 'the mail server behind the relay does not take mail from it, or cannot be trusted', mend: askOperator },
  unreachable: { why: 'the mail server behind the relay cannot be reached', mend: askOperator },
  relay: { why: 'the relay could not send it', mend: askOperator },
  'held-by-rule': { why: 'a rule of the relay holds it', mend: askOperator },
  'no-look-up': { why: 'a source of certificates does not answer, or what it says cannot be used now', mend: askOperator },
  none: { why: 'all is well', mend: '' },
} as const satisfies Record<string, Words>;

export type Cause = keyof typeof causes;

/** By enhanced status (RFC 3463, RFC 7504 and RFC 7505 for 1.10), the class left out; the first that fits. Behind each, what is answered so. */
const byStatus: readonly (readonly [RegExp, Cause])[] = [
  [/^1\.(?:2|10)$/, 'domain-unknown'], // 550 5.1.10 domain does not accept mail (null MX)
  [/^1\.[78]$/, 'sender-refused'], // 550 5.1.8 sender address rejected: domain not found
  [/^1\./, 'address-unknown'], // 550 5.1.1 user unknown
  [/^2\.1$/, 'mailbox-closed'], // 550 5.2.1 mailbox disabled
  [/^2\.2$/, 'mailbox-full'], // 452 4.2.2 mailbox full
  [/^(?:2\.3|3\.4)$/, 'too-big'], // 552 5.3.4 message size exceeds fixed limit
  [/^4\.6$/, 'loop'], // 554 5.4.6 too many hops
  [/^4\.4$/, 'domain-unknown'], // 550 5.4.4 unable to route
  [/^6\.7$/, 'smtputf8'], // 553 5.6.7 SMTPUTF8 is required
  [/^6\./, 'content'], // 554 5.6.0 message content rejected
  [/^7\./, 'policy'], // 554 5.7.1 relay access denied
];

export interface Why {
  readonly cause: Cause;
  /** RFC 3463. */
  readonly status: string;
}

export function whyOf(result: Result): Why {
  switch (result.kind) {
    case 'delivered':
      // RFC 3463 §3.2: relayed to a host that does not tell of delivery.
      return { cause: 'none', status: '2.1.9' };
    case 'unsuited':
      // What is not private enough is about the relay and its upstream, not about the recipient.
      return { cause: result.status.startsWith('4.7.') ? 'barred' : (statusCause(result.status) ?? 'refused'), status: result.status };
    case 'failed':
      return { cause: failureCause(result.cause), status: result.cause.reply.status };
    case 'rejected': {
      const { code, status = `${code >= 500 ? 5 : 4}.0.0` } = result.reply;
      return { cause: classCause[classOf(result) ?? 'temporary'] ?? statusCause(status) ?? (code >= 500 ? 'refused' : 'later'), status };
    }
  }
}

/** Why the relay itself refuses a recipient of a message that it takes for others. */
export function whyRefused({ code, reply }: SealpostError): Why {
  const cause: Cause =
    code === 'certificate-missing' ? 'certificate' : code === 'policy-refused' ? 'rule' : (statusCause(reply.status) ?? 'refused');
  return { cause, status: reply.status };
}

/** Where the class of a reply says more than its status; the status of a host that speaks of the relay is not about the recipient. */
const classCause: Readonly<Partial<Record<ReplyClass, Cause>>> = {
  greylisted: 'later',
  throttled: 'later',
  'host-trouble': 'later',
  'session-over': 'later',
  'wants-of-relay': 'barred',
  'not-relayed': 'barred',
  blocked: 'barred',
};

function failureCause(cause: SealpostError): Cause {
  if (cause.code === 'upstream-paused') return 'later';
  if (!isUpstreamFault(cause)) return 'relay';
  return cause.reply.status.startsWith('4.7.') ? 'barred' : 'unreachable';
}

const statusCause = (status: string): Cause | undefined =>
  byStatus.find(([pattern]) => pattern.test(status.slice(status.indexOf('.') + 1)))?.[1];
