/**
 * Exit statuses as <sysexits.h> names them, since callers of sendmail look them up there. EX_TEMPFAIL (75) is not among them and
 * never will be: PHP's mail() takes it for success, because sendmail has queued by then. Here nothing is queued unless it is 0.
 */
import type { ErrorCode, SealpostError } from '../../errors.ts';

export const EX_OK = 0;
export const EX_USAGE = 64;
export const EX_DATAERR = 65;
export const EX_NOINPUT = 66;
export const EX_NOUSER = 67;
export const EX_UNAVAILABLE = 69;
export const EX_SOFTWARE = 70;
export const EX_NOPERM = 77;
export const EX_CONFIG = 78;

const byCode: Partial<Readonly<Record<ErrorCode, number>>> = {
  usage: EX_USAGE,
  'address-invalid': EX_DATAERR,
  'sender-invalid': EX_DATAERR,
  'recipient-missing': EX_DATAERR,
  'header-too-big': EX_DATAERR,
  'header-malformed': EX_DATAERR,
  'message-has-nul': EX_DATAERR,
  'message-incomplete': EX_NOINPUT,
  'relay-unreachable': EX_UNAVAILABLE,
  'config-invalid': EX_CONFIG,
  'file-unreadable': EX_CONFIG,
};

export const exitOf = (error: SealpostError): number => byCode[error.code] ?? EX_SOFTWARE;
