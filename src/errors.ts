/**
 * One error type and one table. Whoever meets a failure names its code; the table says what an SMTP client is told, whether
 * trying again can help, and what the operator can do. docs/errors.md lists every row; a test holds it to this table.
 *
 * A foreign error is wrapped where the foreign library was called, with `cause`. What reaches a reply without a code is
 * `internal`: 451, never a bounce, never the text of a foreign exception (P5).
 */
import { messageErrors } from './errors/message.ts';
import { operatorErrors } from './errors/operator.ts';
import { policyErrors } from './errors/policy.ts';
import { queueErrors } from './errors/queue.ts';
import { sessionErrors } from './errors/session.ts';
import { upstreamErrors } from './errors/upstream.ts';

/** The parts of an SMTP reply: RFC 5321 §4.2 code, RFC 3463 enhanced status, one line of text. */
export interface Reply {
  readonly code: number;
  readonly status: string;
  readonly text: string;
}

/** Every code with its row; the rows stand in src/errors, a file for each part of the path. */
export const errorTable = {
  ...sessionErrors,
  ...messageErrors,
  ...policyErrors,
  ...queueErrors,
  ...upstreamErrors,
  ...operatorErrors,
} as const;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorOptions {
  /** What exactly and where: an address, a path with line, a count. Shown to clients too, so never content or secrets. */
  readonly detail?: string;
  /** Takes the place of the table's hint where the place of failure knows better. */
  readonly hint?: string;
  readonly cause?: unknown;
}

export class SealpostError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly hint: string;

  constructor(code: ErrorCode, options: ErrorOptions = {}) {
    const entry = errorTable[code];
    super(options.detail === undefined ? entry.text : `${entry.text}: ${options.detail}`, { cause: options.cause });
    this.name = 'SealpostError';
    this.code = code;
    this.detail = options.detail;
    this.hint = options.hint ?? entry.hint;
  }

  /** True where trying again can help (4yz). */
  get temporary(): boolean {
    return errorTable[this.code].code < 500;
  }

  get reply(): Reply {
    const { code, status } = errorTable[this.code];
    return { code, status, text: this.message };
  }
}

/** Any thrown value as the error the table knows; what has no code is `internal`, with the value as cause. */
export function asSealpostError(thrown: unknown): SealpostError {
  return thrown instanceof SealpostError ? thrown : new SealpostError('internal', { cause: thrown });
}
