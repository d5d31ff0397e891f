/** One row of the table of errors. */
export interface ErrorRow {
  /** RFC 5321 §4.2. */
  readonly code: number;
  /** RFC 3463. */
  readonly status: string;
  readonly text: string;
  /** What the operator can do about it: a sentence, with a command to paste where there is one. */
  readonly hint: string;
}

export const row = (code: number, status: string, text: string, hint: string): ErrorRow => ({ code, status, text, hint });
