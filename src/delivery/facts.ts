/**
 * What a notice is made of, as the queue keeps it: facts, never content (A18). Of the original message these are its queue id,
 * Date and Message-ID alone.
 */
import { z } from 'zod';
import { SealpostError } from '../errors.ts';
import type { Lease, NewMessage } from '../queue/queue.ts';
import { causes, whyOf, whyRefused, type Cause } from './cause.ts';
import type { Conclusion } from './conclude.ts';
import type { Result } from './result.ts';

const time = z.int().nonnegative();
const isCause = (value: unknown): value is Cause => typeof value === 'string' && Object.hasOwn(causes, value);

const schema = z.strictObject({
  kind: z.enum(['failed', 'delayed', 'relayed', 'held']),
  /** The relay's name when the notice was written. */
  reporter: z.string(),
  /** Times are ms since the epoch. */
  writtenAt: time,
  queueId: z.string(),
  acceptedAt: time,
  /** Of the original message, as its outer header has them; null where they cannot be shown. */
  date: z.string().nullable(),
  messageId: z.string().nullable(),
  /** As they were sent, xtext left in them. */
  envid: z.string().nullable(),
  orcpt: z.string().nullable(),
  recipient: z.string(),
  /** RFC 3463. */
  status: z.string(),
  cause: z.custom<Cause>(isCause),
  /** Given up for its age; the cause is what the last attempt met. */
  expired: z.boolean(),
  attemptedAt: time,
  /** Of a delay, and of what is held. */
  retryUntil: time.nullable(),
  /** The rule that decided it; left out where it was an attempt. */
  rule: z.string().optional(),
  /** Of what is held, or was until it was given up. */
  heldSince: time.optional(),
  /** Recipients who are held without a notice of their own: of the same message, and since the notice before. */
  alsoHeld: z.int().nonnegative().optional(),
});

export type NoticeFacts = z.output<typeof schema>;

export const writeFacts = (facts: NoticeFacts): string => JSON.stringify(facts);

/** Throws `queue-item-damaged` where they are none. */
export function readFacts(text: string): NoticeFacts {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new SealpostError('queue-item-damaged', { detail: 'the facts of a notice cannot be read', cause });
  }
}

/** Of one attempt, at `now`, by the relay called `hostname`, which tries for `maxAge` ms. */
export function factsOf(
  kind: NoticeFacts['kind'],
  lease: Lease,
  result: Result,
  { expired }: Conclusion,
  { hostname, now, maxAge }: { readonly hostname: string; readonly now: () => number; readonly maxAge: number },
): NoticeFacts {
  const { cause, status } = whyOf(result);
  const at = now();
  return {
    kind,
    reporter: hostname,
    writtenAt: at,
    queueId: lease.queueId,
    acceptedAt: lease.acceptedAt,
    ...identityOf(lease),
    envid: lease.envid,
    orcpt: lease.orcpt,
    recipient: lease.recipient,
    status: statusOf(kind, expired, status),
    cause,
    expired,
    attemptedAt: at,
    retryUntil: kind === 'delayed' ? lease.waitsSince + maxAge : null,
  };
}

/** Of a recipient that the relay refuses while it takes the message for others. */
export function factsOfRefusal(
  message: Pick<NewMessage, 'id' | 'acceptedAt' | 'envid'> & Pick<Lease, 'header'>,
  { recipient, orcpt, error }: Pick<Lease, 'recipient' | 'orcpt'> & { readonly error: SealpostError },
  { hostname, now }: { readonly hostname: string; readonly now: () => number },
): NoticeFacts {
  const at = now();
  return {
    kind: 'failed',
    reporter: hostname,
    writtenAt: at,
    queueId: message.id,
    acceptedAt: message.acceptedAt,
    ...identityOf(message),
    envid: message.envid,
    orcpt,
    recipient,
    ...whyRefused(error),
    expired: false,
    attemptedAt: at,
    retryUntil: null,
  };
}

/** RFC 3463 §3.5: 4.4.7 is a delivery time that expired. What is only late has no status of the class 5. */
function statusOf(kind: NoticeFacts['kind'], expired: boolean, status: string): string {
  if (expired) return '4.4.7';
  return kind === 'delayed' && !status.startsWith('4') ? '4.0.0' : status;
}

/** Longer ones are made to be in the way. */
const MAX_SHOWN = 500;

/** Date and Message-ID of the stored outer header. */
export function identityOf({ header }: Pick<Lease, 'header'>): Pick<NoticeFacts, 'date' | 'messageId'> {
  const fields = header.toString('latin1').split(/\r\n(?![ \t])/);
  const read = (name: string): string | null => {
    const field = fields.find((line) => line.slice(0, name.length + 1).toLowerCase() === `${name}:`);
    const value =
      field
        ?.slice(name.length + 1)
        .replace(/\r\n/g, '')
        .trim() ?? '';
    return /^[\x20-\x7e]+$/.test(value) && value.length <= MAX_SHOWN ? value : null;
  };
  return { date: read('date'), messageId: read('message-id') };
}
