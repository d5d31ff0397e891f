import type { Reply } from '../errors.ts';

/** RFC 5321 §4.5.3.1.5: 512 octets a reply line with code and CRLF; enough room is left for those and the status. */
const MAX_TEXT = 400;
/** RFC 5321 §4.5.3.1.2. */
const MAX_HELO = 255;

/**
 * Hostile text on one line of printable ASCII, every other character as `?`: text of a reply may hold what a client sent,
 * and a CR, LF, ESC or bidi mark in it would split the reply or lie to whoever reads the log (A33).
 */
function printable(text: string, length: number): string {
  return text.slice(0, length).replace(/[^\x20-\x7e]/gu, '?');
}

/** `4.3.0 temporary failure, …`: what stands behind the code. */
export function replyText({ status, text }: Reply): string {
  return `${status} ${printable(text, MAX_TEXT)}`;
}

/** The HELO/EHLO name as Client keeps it. */
export function heloName(text: string): string {
  return printable(text, MAX_HELO);
}
