/** What stands under a signature beside the message: which message it is and when it was taken, so that a copy that is sent again is seen. */

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
  /^content-transfer-encoding[ \t]*:\s*(8bit|binary)\b/im.exec(header.toString('latin1'))?.[1]?.toLowerCase();
