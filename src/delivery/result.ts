/**
 * What came of a try at one upstream, as a value. The phase when something broke is always known: a reply that is lost behind
 * the dot is another thing than a connection that was never made (P4).
 */
import type { SealpostError } from '../errors.ts';
import type { UpstreamReply } from './reply.ts';
import type { TlsFacts } from './tls.ts';

/** Phases in their order; `tls` and `auth` where the configuration asks for them. `body`: between 354 and the dot; `dot`: from the first octet of the dot to its reply. */
export type Phase = 'connect' | 'tls' | 'greeting' | 'ehlo' | 'auth' | 'mail' | 'rcpt' | 'data' | 'body' | 'dot';

/** `tls`: of the session, null in clear; absent where there was no session yet. */
export type Result =
  /** `dsn`: the upstream offers DSN, so that what the sender asked to be told is its duty from here on. */
  | { readonly kind: 'delivered'; readonly reply: UpstreamReply; readonly tls: TlsFacts | null; readonly dsn: boolean }
  /** The upstream answered no. `permanent`: 5yz to this message; a host that refuses to talk at all is never permanent. */
  | {
      readonly kind: 'rejected';
      readonly permanent: boolean;
      readonly phase: Phase;
      readonly reply: UpstreamReply;
      readonly tls?: TlsFacts | null;
    }
  /** No usable answer. At `dot` the upstream may have taken the message: ambiguous. */
  | { readonly kind: 'failed'; readonly phase: Phase; readonly cause: SealpostError; readonly tls?: TlsFacts | null }
  /** This upstream cannot carry the message and was not asked; another may. `status` 4.y.z: it may be able to later. */
  | { readonly kind: 'unsuited'; readonly status: string; readonly text: string };

/** Timeouts in milliseconds. */
export interface Timeouts {
  readonly connect: number;
  readonly greeting: number;
  readonly ehlo: number;
  readonly mail: number;
  readonly rcpt: number;
  readonly data: number;
  /** For one block of the body to be taken. */
  readonly block: number;
  readonly dot: number;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;

/** RFC 5321 §4.5.3.2; the time to connect is not in the RFC: a host that answers no SYN for half a minute is down. */
export const rfcTimeouts: Timeouts = {
  connect: 30 * SECOND,
  greeting: 5 * MINUTE,
  ehlo: 5 * MINUTE,
  mail: 5 * MINUTE,
  rcpt: 5 * MINUTE,
  data: 2 * MINUTE,
  block: 3 * MINUTE,
  dot: 10 * MINUTE,
};

/** True where the upstream or the way to it failed; false where our own side did (queue, disk, shutdown, a fault in sealpost). */
export function isUpstreamFault(cause: SealpostError): boolean {
  return cause.code.startsWith('upstream-');
}

/** True where the upstream was not asked, since it is left alone for now: nothing happened, to it or to the message. */
export function isPaused(result: Result): boolean {
  return result.kind === 'failed' && result.cause.code === 'upstream-paused';
}

/** True where this upstream will never carry the message. */
export function isUnsuitedForGood(result: Result): boolean {
  return result.kind === 'unsuited' && result.status.startsWith('5.');
}
