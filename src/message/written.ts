/** Fields as they may stand in an outer header: ASCII, lines of at most 998 octets, folded. */
import { encodeWords } from './words.ts';

/** RFC 5322 §2.1.1, octets without CRLF. */
const LINE_LIMIT = 998;
const FOLD_AT = 76;

/** True where a field may stand outside as it came: printable ASCII, folded by CRLF and blank, no line over-long or blank. */
export function isClean(octets: Buffer): boolean {
  const text = octets.toString('latin1');
  if (!/^(?:[\x20-\x7e\t]+\r\n)+$/.test(text)) return false;
  return text
    .slice(0, -2)
    .split('\r\n')
    .every((line, index) => line.length <= LINE_LIMIT && (index === 0 || line.trim() !== ''));
}

export function subjectLine(text: string): string {
  const plain = /^[\x20-\x7e]*$/.test(text) && text.length < LINE_LIMIT - 'Subject: '.length;
  return plain ? `Subject: ${text}\r\n` : `Subject: ${encodeWords(text).join('\r\n ')}\r\n`;
}

/** The parts of a value on lines of about 76 characters; undefined where one part alone makes an over-long line. */
export function fold(name: string, parts: readonly string[], separator: string): string | undefined {
  const pieces = parts.filter((part) => part !== '').map((part, index, all) => (index < all.length - 1 ? part + separator : part));
  let out = `${name}:`;
  let column = out.length;
  for (const [index, piece] of pieces.entries()) {
    const fits = index === 0 || column + piece.length < FOLD_AT;
    out += fits ? ` ${piece}` : `\r\n ${piece}`;
    column = fits ? column + piece.length + 1 : piece.length + 1;
  }
  return out.split('\r\n').every((line) => Buffer.byteLength(line) <= LINE_LIMIT) ? `${out}\r\n` : undefined;
}
