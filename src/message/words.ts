/** Encoded words (RFC 2047): text outside ASCII in a field that must be ASCII. */

/** RFC 2047 §2: an encoded word has at most 75 characters; `=?UTF-8?B?` and `?=` take 12, four base64 characters hold three octets. */
const OCTETS_PER_WORD = 45;

/** `text` as encoded words, each whole in itself (no UTF-8 sequence is cut, §5). Controls, which would be lines to a reader, become blanks. */
export function encodeWords(text: string): string[] {
  const words: string[] = [];
  let word = '';
  let octets = 0;
  // for…of walks code points, so a surrogate pair stays together.
  for (const character of text.replace(/\p{Cc}+/gu, ' ').toWellFormed()) {
    const size = Buffer.byteLength(character);
    if (octets + size > OCTETS_PER_WORD) {
      words.push(word);
      word = '';
      octets = 0;
    }
    word += character;
    octets += size;
  }
  words.push(word);
  return words.map((part) => `=?UTF-8?B?${Buffer.from(part).toString('base64')}?=`);
}
