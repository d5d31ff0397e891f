/**
 * The address fields of a header (RFC 5322 §3.4): read leniently, written strictly. Only a field that cannot stand outside as it is
 * (8-bit octets, over-long lines) comes here; one pass over the text, whatever it holds.
 */
import { encodeWords } from './words.ts';
import { type Mailbox, parseMailbox } from './envelope.ts';

export interface NamedMailbox {
  /** Decoded, without quotes; '' where there was none. */
  readonly name: string;
  readonly mailbox: Mailbox;
}

export interface AddressList {
  readonly mailboxes: readonly NamedMailbox[];
  /** Elements in which no mailbox could be read. */
  readonly faults: number;
}

/**
 * Reads the mailboxes of an address list; groups are taken apart, comments left out. `domain` completes a bare local name such as
 * `root`, which is a fault without it. Never throws.
 */
export function parseAddressList(text: string, domain?: string): AddressList {
  const mailboxes: NamedMailbox[] = [];
  let faults = 0;
  for (const element of splitElements(text)) {
    if (element.phrase.trim() === '' && element.angle === undefined) continue;
    const written = (element.angle ?? element.phrase).trim();
    const verdict = parseMailbox(domain === undefined || written === '' || written.includes('@') ? written : `${written}@${domain}`);
    if (verdict.kind === 'fault') faults++;
    else mailboxes.push({ name: element.angle === undefined ? '' : unquote(element.phrase), mailbox: verdict.mailbox });
  }
  return { mailboxes, faults };
}

interface Element {
  phrase: string;
  angle: string | undefined;
}

/** Cuts at commas, semicolons and group colons that stand outside quotes, comments, angle brackets and domain literals. */
function splitElements(text: string): Element[] {
  const elements: Element[] = [];
  let element: Element = { phrase: '', angle: undefined };
  let start = 0; // of the run of ordinary characters that is not copied yet
  let inAngle = false;
  const copy = (end: number): void => {
    const run = text.slice(start, end);
    if (inAngle) element.angle = (element.angle ?? '') + run;
    else element.phrase += run;
  };
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') {
      at = endOfQuoted(text, at);
    } else if (character === '(') {
      copy(at);
      at = endOfComment(text, at);
      start = at + 1;
    } else if (character === '<' && !inAngle) {
      copy(at);
      start = at + 1;
      inAngle = true;
    } else if (character === '>' && inAngle) {
      copy(at);
      start = at + 1;
      inAngle = false;
    } else if (!inAngle && (character === ',' || character === ';' || (character === ':' && element.angle === undefined))) {
      copy(at);
      start = at + 1;
      if (character !== ':') elements.push(element); // in front of the colon stands the name of a group
      element = { phrase: '', angle: undefined };
    }
  }
  copy(text.length);
  elements.push(element);
  return elements;
}

/** Index of the closing quote, or of the last character where it is never closed. */
function endOfQuoted(text: string, open: number): number {
  for (let at = open + 1; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '"') return at;
  }
  return text.length - 1;
}

function endOfComment(text: string, open: number): number {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '(') depth++;
    else if (text[at] === ')' && --depth === 0) return at;
  }
  return text.length - 1;
}

/** The words of a phrase without their quotes and quoted pairs. A loop, since a regular expression would go back over unclosed quotes. */
function unquote(phrase: string): string {
  let out = '';
  let quoted = false;
  for (let at = 0; at < phrase.length; at++) {
    if (phrase[at] === '"') quoted = !quoted;
    else if (quoted && phrase[at] === '\\') out += phrase[++at] ?? '';
    else out += phrase[at];
  }
  return out.replace(/\s+/g, ' ').trim();
}

/** Words that need no quotes in front of an angle bracket (RFC 5322 §3.2.5), encoded words among them. */
const PLAIN_PHRASE = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+$/;

/** One mailbox as it may stand in an outer field: ASCII, but for a local part that has no other form. */
export function writeMailbox({ name, mailbox }: NamedMailbox): string {
  if (name === '') return mailbox.address;
  return `${writePhrase(name)} <${mailbox.address}>`;
}

function writePhrase(name: string): string {
  if (PLAIN_PHRASE.test(name) && name.length < 200) return name;
  if (/^[\x20-\x7e]*$/.test(name) && name.length < 200) return `"${name.replace(/["\\]/g, '\\$&')}"`;
  return encodeWords(name).join('\r\n ');
}
