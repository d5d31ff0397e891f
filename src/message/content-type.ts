/**
 * Content-Type as RFC 2045 §5.1 writes it: read strictly, since what two programs read differently here is how a signature comes to
 * stand beside another text than the one it was made over. What is not plain is no answer.
 */

export interface ContentType {
  /** Lower case: `multipart/signed`. */
  readonly type: string;
  /** Names in lower case. A parameter in pieces or with a charset (RFC 2231) stands under its name as written: `boundary*0`. */
  readonly parameters: ReadonlyMap<string, string>;
}

const TOKEN = /[^\x00-\x20\x7f-\uffff()<>@,;:\\"/[\]?=]+/y;
const BLANK = /[ \t]*/y;
/** Of one field; a real one has three. */
const MAX_PARAMETERS = 32;

/** `text`: the value of the field, unfolded. Undefined where it is not as the RFC writes it; comments are not taken. */
export function parseContentType(text: string): ContentType | undefined {
  const reader = new Reader(text.trim());
  const [main, slash, sub] = [reader.match(TOKEN), reader.literal('/'), reader.match(TOKEN)];
  if (main === undefined || !slash || sub === undefined) return undefined;
  const parameters = new Map<string, string>();
  while (!reader.ended()) {
    reader.match(BLANK);
    if (!reader.literal(';')) return undefined;
    reader.match(BLANK);
    if (reader.ended()) break; // many programs leave the last semicolon
    const name = reader.match(TOKEN)?.toLowerCase();
    reader.match(BLANK);
    if (name === undefined || !reader.literal('=')) return undefined;
    reader.match(BLANK);
    const value = reader.quoted() ?? reader.match(TOKEN);
    // Twice the same name would let each reader choose its own.
    if (value === undefined || parameters.has(name) || parameters.size >= MAX_PARAMETERS) return undefined;
    parameters.set(name, value);
    reader.match(BLANK);
  }
  return { type: `${main}/${sub}`.toLowerCase(), parameters };
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  ended(): boolean {
    return this.#at >= this.#text.length;
  }

  match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined) return undefined;
    this.#at += found.length;
    return found;
  }

  literal(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  /** A quoted-string without its quotes; where none stands here, or it is not closed, nothing is read. */
  quoted(): string | undefined {
    if (this.#text[this.#at] !== '"') return undefined;
    let value = '';
    for (let at = this.#at + 1; at < this.#text.length; at++) {
      const character = this.#text[at] ?? '';
      if (character === '"') {
        this.#at = at + 1;
        return value;
      }
      value += character === '\\' ? (this.#text[++at] ?? '') : character;
    }
    return undefined;
  }
}
