/** The classes of replies of upstreams, and what a row of their table (class-table.ts) says. */

export const replyClasses = [
  'delivered', // the upstream has it
  'refused', // this message, or this recipient, for good
  'temporary', // this message, for now
  'greylisted', // this message, until it is tried again a little later
  'throttled', // too much in this time, or at once: any message would hear it
  'host-trouble', // the upstream's own trouble
  'session-over', // this session has had enough; a new one will do
  'wants-of-relay', // login or TLS: the configuration of the relay or of the upstream
  'not-relayed', // the upstream takes no mail for this recipient from this relay; another one may
  'blocked', // the upstream refuses this relay for its address, its account or its reputation
] as const;

export type ReplyClass = (typeof replyClasses)[number];

export interface ClassRow {
  /** Three characters; `x` is any digit. */
  readonly code: string;
  /** Enhanced status (RFC 3463); `x` is any number. Left out: any, or none. */
  readonly status?: string;
  /**
   * One of these stands in the host's own words (spoken.ts), whatever its case. They count only where there is no status, or one
   * of `openStatuses` or `besides`; where the row has a status, with that. Plain search, so linear.
   */
  readonly words?: readonly string[];
  readonly besides?: readonly string[];
  readonly class: ReplyClass;
  /** As upstreams say it, with addresses that belong to nobody. */
  readonly examples: readonly string[];
}
