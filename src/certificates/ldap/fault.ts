/** Why a directory server gives no answer. None of it is a fact about the recipient, so all of it is temporary (P5). */
import { type ErrorOptions, SealpostError } from '../../errors.ts';

/** `detail` names servers and codes, never the login, the address that is looked up, or what the server wrote. */
export function unavailable(detail: string, options: Pick<ErrorOptions, 'hint' | 'cause'> = {}): SealpostError {
  return new SealpostError('lookup-unavailable', { detail, ...options });
}

/** The reason of an aborted signal, or of anything that was thrown, as an error of ours. */
export const asUnavailable = (thrown: unknown, detail: string): SealpostError =>
  thrown instanceof SealpostError ? thrown : unavailable(detail, { cause: thrown });
