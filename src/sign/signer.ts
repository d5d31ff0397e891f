/**
 * Sign, then seal (RFC 8551 §3.5): the interface. An entity streams through, and what comes out is an entity again, which is then sealed
 * like any other. Nothing of it is held but what a step needs, so memory does not grow with the message.
 */
import type { Mailbox } from '../message/envelope.ts';
import type { SignPolicy } from '../message/sign-policy.ts';

/** The message that is signed: what stands under its signature beside its own octets, and whose name it bears. */
export interface SignedAbout {
  readonly queueId: string;
  /** Ms since the epoch. */
  readonly at: number;
  /** What the Date field says, in ms; undefined where that is no time. */
  readonly date: number | undefined;
  /** The one mailbox that From shows to this reader; undefined where it is not one. No octet of the signature comes from it. */
  readonly author: Mailbox | undefined;
  readonly randomBytes: (octets: number) => Buffer;
}

/** One entity on its way through a signature: start, write…, end, each once and in this order. CRLF line ends in, CRLF line ends out. */
export interface EntitySigner {
  /** SHA-256 of the certificate that it signs with, in hex. */
  readonly fingerprint: string;
  /** `header`: the header of the inner entity with its empty line. */
  start(header: Buffer): Promise<readonly Buffer[]>;
  write(body: Buffer): Promise<readonly Buffer[]>;
  end(): Promise<readonly Buffer[]>;
}

/** The identities of the site by their names. Throws `identity-unusable` where one cannot sign (any more), or not for this author. */
export interface Signers {
  begin(policy: SignPolicy, about: SignedAbout): EntitySigner;
}
