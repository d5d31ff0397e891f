/** Why something is unavailable, for the log. */
import { SealpostError } from '../errors.ts';

/**
 * The same without its place in the code, where that tells nobody anything: a list that is stale, a folder that is empty, a server that
 * is silent. Other classes of errors, such as TypeError, are faults of the program, and keep it.
 */
export function unplaced(cause: unknown): unknown {
  if (!(cause instanceof Error) || cause instanceof SealpostError || cause.name !== 'Error') return cause;
  const bare = Object.assign(new Error(cause.message, cause.cause === undefined ? {} : { cause: unplaced(cause.cause) }), cause);
  bare.stack = '';
  return bare;
}
