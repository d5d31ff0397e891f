/** What stands under a signature beside the message: which message it is and when it was taken, so that a copy that is sent again is seen. */

import type { SignedAbout } from './signer.ts';

/** Outside it would be read by everybody on the way, and could be changed. */
export const STAMP = 'X-Sealpost-Id';

/** The header of the entity with the stamp in front. `at` in ms. */
export const signedHeader = (header: Buffer, queueId: string, at: number): Buffer =>
  Buffer.concat([Buffer.from(`${STAMP}: ${queueId}; ${new Date(at).toISOString()}\r\n`), header]);

/**
 * RFC 2045 §6.4: what a multipart says of itself must not be less than what its parts need. Undefined where the entity says nothing, or
 * is encoded.
 */
export const labelOf = (header: Buffer): string | undefined =>
  /^content-transfer-encoding[ \t]*:\s*"?(8bit|binary)\b/im.exec(header.toString('latin1'))?.[1]?.toLowerCase();

/** Thunderbird calls a signature invalid whose time is an hour or more away from Date; scripts count minutes, and mail waits on its way. */
const NEAR_MS = 50 * 60_000;

/**
 * The time in ms to be written as signingTime. None where Date says another, or nothing that is a time: it is optional (RFC 8551 §2.5), and
 * the stamp tells the time all the same.
 */
export const signingTimeOf = ({ at, date }: Pick<SignedAbout, 'at' | 'date'>): number | undefined =>
  date !== undefined && Math.abs(at - date) <= NEAR_MS ? at : undefined;
