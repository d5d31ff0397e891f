/**
 * Sign, then seal (RFC 8551 §3.5): the interface. An entity streams through, and what comes out is an entity again, which is then sealed
 * like any other. Nothing of it is held but what a step needs, so memory does not grow with the message.
 */
import type { SignPolicy } from '../message/sign-policy.ts';

/** What stands under the signature of one message beside its own octets, so that a copy that is sent again can be told. */
export interface SignedAbout {
  readonly queueId: string;
  /** Ms since the epoch. */
  readonly at: number;
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

/** The identities of the site by their names. Throws `identity-unusable` where one cannot sign (any more). */
export interface Signers {
  begin(policy: SignPolicy, about: SignedAbout): EntitySigner;
}
