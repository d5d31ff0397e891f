/**
 * `*@clinic.example`: globs over mailboxes. A `*` stands for any run of characters on its side of the @, the empty one among
 * them, and never for the @. Matching takes time linear in the text, whatever the pattern (A32): there is no backtracking.
 */
import { foldDomain, mailboxKey, parseMailbox } from './envelope.ts';
import type { Mailbox } from './envelope.ts';
import { joinReach, NO_REACH, type Reach, reaches } from './reach.ts';

/** Made from a glob such as `*@clinic.example`; the null sender matches only where the pattern says `<>`. */
export interface AddressPattern {
  readonly source: string;
  /** The same as keys; undefined where only matching tells. */
  readonly reach?: Reach;
  matches(mailbox: Mailbox | null): boolean;
}

export type PatternVerdict =
  | { readonly kind: 'pattern'; readonly pattern: AddressPattern }
  | { readonly kind: 'fault'; readonly fault: string; readonly mend: string };

/** How a pattern says the null reverse-path (RFC 5321 §4.5.5). */
const NULL_SENDER = '<>';

/** Reads one pattern: `local@domain` with `*` on either side, or `<>` for the null sender. */
export function parsePattern(source: string): PatternVerdict {
  if (source === NULL_SENDER) return { kind: 'pattern', pattern: patternOf(source, { ...NO_REACH, nullSender: true }) };
  const at = source.lastIndexOf('@');
  if (at < 0) return fault('has no @ in it', source.includes('*') ? '"*@*" is every mailbox' : '"*@clinic.example" is a whole domain');
  const local = source.slice(0, at).normalize('NFC');
  const domain = foldDomainGlob(source.slice(at + 1));
  if (domain === undefined)
    return fault('has no domain behind the @', '"*@clinic.example" is one domain, "*@*.clinic.example" all below it');
  // A * may stand in a local part as it is (RFC 5322 atext), so the parser of mailboxes judges the rest of it.
  const judged = parseMailbox(`${local}@a.example`);
  if (judged.kind === 'fault') return fault(`can match no mailbox: ${judged.fault}`, 'an address, or parts of one with *');
  const plain = plainReach(local, domain, judged.mailbox);
  if (plain !== undefined) return { kind: 'pattern', pattern: patternOf(source, { ...NO_REACH, ...plain }) };
  // As mailboxKey compares: without case where the mailbox is ASCII, octet for octet where it is not.
  const matchesFolded = compileGlob(local.toLowerCase());
  const matchesExact = compileGlob(local);
  const matchesDomain = compileGlob(domain);
  const matches = (mailbox: Mailbox): boolean => {
    if (!matchesDomain(mailbox.domain)) return false;
    const key = mailboxKey(mailbox);
    return (mailbox.needsSmtputf8 ? matchesExact : matchesFolded)(key.slice(0, key.length - mailbox.domain.length - 1));
  };
  const other = { source, matches, ...(domain.includes('*') ? {} : { domain }) };
  return { kind: 'pattern', pattern: patternOf(source, { ...NO_REACH, others: [other] }) };
}

const patternOf = (source: string, reach: Reach): AddressPattern => ({ source, reach, matches: (mailbox) => reaches(reach, mailbox) });

/** Where a key says all of it: one mailbox, a domain, all domains below one, everyone. */
function plainReach(local: string, domain: string, mailbox: Mailbox): Partial<Reach> | undefined {
  if (!local.includes('*') && !domain.includes('*'))
    return { mailboxes: new Set([mailboxKey({ ...mailbox, domain, address: `${mailbox.localPart}@${domain}` })]) };
  if (local !== '*') return undefined;
  if (!domain.includes('*')) return { domains: new Set([domain]) };
  if (domain === '*') return { everyone: true };
  const parent = domain.slice(2);
  return domain.startsWith('*.') && !parent.includes('*') ? { below: new Set([parent]) } : undefined;
}

/** Several patterns of which one must match; `source` where their list has a name of its own. */
export function anyOf(patterns: readonly AddressPattern[], source?: string): AddressPattern {
  const said = source ?? patterns.map((pattern) => pattern.source).join(', ');
  const known = patterns.flatMap(({ reach }) => (reach === undefined ? [] : [reach]));
  if (known.length === patterns.length) return patternOf(said, joinReach(known));
  return { source: said, matches: (mailbox) => patterns.some((pattern) => pattern.matches(mailbox)) };
}

const fault = (text: string, mend: string): PatternVerdict => ({ kind: 'fault', fault: text, mend });

/** Lower-case A-labels, as mailboxes have them; a label with a * in it must be ASCII, since half a U-label has no A-label. */
function foldDomainGlob(written: string): string | undefined {
  if (!written.includes('*')) return foldDomain(written);
  const labels = written.split('.').map((label) => (label.includes('*') ? foldLabelGlob(label) : foldDomain(label)));
  return labels.every((label) => label !== undefined) ? labels.join('.') : undefined;
}

const foldLabelGlob = (label: string): string | undefined => (/^[A-Za-z0-9*-]+$/.test(label) ? label.toLowerCase() : undefined);

/**
 * `a*b*c` as a test: the text starts with a, ends with c, and between them b is found, leftmost first. Taking the leftmost is
 * safe, because what follows a * can only gain from text that is left over.
 */
export function compileGlob(glob: string): (text: string) => boolean {
  const pieces = glob.split('*');
  const first = pieces.shift() ?? '';
  const last = pieces.pop();
  if (last === undefined) return (text) => text === first;
  const finders = pieces.filter((piece) => piece !== '').map(compileFinder);
  return (text) => {
    const end = text.length - last.length;
    if (end < first.length || !text.startsWith(first) || !text.endsWith(last)) return false;
    let from = first.length;
    for (const find of finders) {
      from = find(text, from, end);
      if (from < 0) return false;
    }
    return true;
  };
}

/** Knuth, Morris and Pratt: `String.indexOf` may take length times length. Answers the index behind the piece, or -1. */
function compileFinder(piece: string): (text: string, from: number, end: number) => number {
  const fallback = fallbacks(piece);
  return (text, from, end) => {
    let matched = 0;
    for (let index = from; index < end; index++) {
      while (matched > 0 && text[index] !== piece[matched]) matched = fallback[matched - 1] ?? 0;
      if (text[index] === piece[matched]) matched++;
      if (matched === piece.length) return index + 1;
    }
    return -1;
  };
}

/** For each prefix of the piece, the length of its longest proper prefix that is also its suffix. */
function fallbacks(piece: string): readonly number[] {
  const table = [0];
  let length = 0;
  for (let index = 1; index < piece.length; index++) {
    while (length > 0 && piece[index] !== piece[length]) length = table[length - 1] ?? 0;
    if (piece[index] === piece[length]) length++;
    table.push(length);
  }
  return table;
}
