/**
 * Whether a message, once it is sealed, still fits what the upstreams take (RFC 1870 §6). It is told before the 250, since a message
 * that no upstream takes would only come back later, to a script that is not there any more.
 */
import { SealpostError } from '../errors.ts';
import { wireSize } from './wire.ts';

/** Octets of an outer header, the structures around the ciphertext and what a seal adds inside: more than nearly all messages need. */
const USUAL_OVERHEAD = 8 * 1024;

/** Throws `sealed-too-big` where a message of `octets`, of which at most `header` are its header, cannot come to fit. */
export function assertMayFit(octets: number, header: number, largest: number | undefined): void {
  // Every octet of the body is sealed; fields of the header may be dropped.
  assertFits(wireSize(0, Math.max(0, octets - header)), largest);
}

/** The same of a message that may pass as it is. */
export function assertMayPass(octets: number, header: number, largest: number | undefined): void {
  if (largest === undefined || octets - header <= largest) return;
  throw new SealpostError('message-too-big', { detail: `the upstream takes ${largest} octets` });
}

/** `sealed`: octets on the wire, exact or the least that they can be; `largest`: what an upstream takes, undefined for everything. */
export function assertFits(sealed: number, largest: number | undefined): void {
  if (largest === undefined || sealed <= largest) return;
  const sendable = usuallyFits(largest);
  const detail = sendable > 0 ? `messages of ${sendable} octets fit` : `the upstream takes ${largest} octets`;
  throw new SealpostError('sealed-too-big', { detail });
}

/** Octets that a client may send for a sealed message of at most `largest`: 57 of them make a line of 78. */
export function usuallyFits(largest: number): number {
  return Math.max(0, Math.floor((largest - USUAL_OVERHEAD) / 78) * 57);
}
