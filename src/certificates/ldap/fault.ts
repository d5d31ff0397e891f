/** Why a directory server gives no answer. None of it is a fact about the recipient, so all of it is temporary (P5). */
import { type ErrorOptions, SealpostError } from '../../errors.ts';

/** `detail` names servers and codes, never the login, the address that is looked up, or what the server wrote. */
export function unavailable(detail: string, options: Pick<ErrorOptions, 'hint' | 'cause'> = {}): SealpostError {
  return new SealpostError('lookup-unavailable', { detail, ...options });
}

/**
 * One answer is more than is taken, and will be: whoever writes the entry decides that, so it is the fault of this one search (P6). It says
 * nothing about the server, the next server would send the same, and asking again soon would only cost the same again.
 */
export class AnswerRefused extends SealpostError {
  constructor(detail: string, hint?: string) {
    super('lookup-unavailable', { detail, ...(hint === undefined ? {} : { hint }) });
  }
}

/** The reason of an aborted signal, or of anything that was thrown, as an error of ours. */
export const asUnavailable = (thrown: unknown, detail: string): SealpostError =>
  thrown instanceof SealpostError ? thrown : unavailable(detail, { cause: thrown });
