/** What stands behind a condition: one pattern, a list of them, or a file with one a line. */
import type { Judgement } from '../document/schema.ts';

/** One line of a list file that holds an entry. */
export interface ListLine {
  readonly text: string;
  /** `/etc/sealpost/policies/lists/patients.txt:12` */
  readonly place: string;
}

export type List = { readonly kind: 'list'; readonly lines: readonly ListLine[] } | { readonly kind: 'fault'; readonly fault: string };

/** The list of a name as a rule file writes it. */
export type Lists = (name: string) => List;

/** Entries in their order, each with where it stands for a fault; `said`: how a list in a file is named in explanations. */
export interface Entries {
  readonly entries: readonly { readonly text: string; readonly at: { readonly at?: readonly number[]; readonly place?: string } }[];
  readonly said?: string;
}

export function readEntries(written: unknown, lists: Lists, example: string): Judgement<Entries> {
  const mend = `${example}, a list of such, or { file: lists/some.txt }`;
  if (typeof written === 'string') return { kind: 'value', value: { entries: [{ text: written, at: {} }] } };
  if (Array.isArray(written)) {
    const list: readonly unknown[] = written;
    if (list.length === 0)
      return { kind: 'wrong', wrong: 'an empty list matches nothing', mend: 'take the key out to match all, or name one' };
    const entries: { text: string; at: { at: number[] } }[] = [];
    for (const [index, text] of list.entries()) {
      if (typeof text !== 'string') return { kind: 'wrong', wrong: 'wants text', mend, at: [index] };
      entries.push({ text, at: { at: [index] } });
    }
    return { kind: 'value', value: { entries } };
  }
  if (typeof written !== 'object' || written === null) return { kind: 'wrong', wrong: 'is neither text nor a list', mend };
  const { file, ...others } = Object.fromEntries(Object.entries(written));
  if (typeof file !== 'string' || Object.keys(others).length > 0) return { kind: 'wrong', wrong: 'wants the one key file', mend };
  const list = lists(file);
  if (list.kind === 'fault') return { kind: 'wrong', wrong: list.fault, mend: 'a file beside the rules, one entry a line', at: ['file'] };
  return { kind: 'value', value: { entries: list.lines.map(({ text, place }) => ({ text, at: { place } })), said: file } };
}

/** Holds each entry to `read`; the first that is wrong is told, with its place. */
export function readEach<T>({ entries }: Entries, read: (text: string) => Judgement<T>): Judgement<T[]> {
  const values: T[] = [];
  for (const { text, at } of entries) {
    const judged = read(text);
    if (judged.kind === 'wrong') return { ...judged, ...at };
    values.push(judged.value);
  }
  return { kind: 'value', value: values };
}

/** A `#` in front makes a line a comment; elsewhere it may be a part of an address or a subject. */
export function listLines(file: string, text: string): ListLine[] {
  const lines = text.replace(/^\ufeff/, '').split(/\r\n|\r|\n/);
  return lines.flatMap((line, index) => {
    const entry = line.trim();
    return entry === '' || entry.startsWith('#') ? [] : [{ text: entry, place: `${file}:${index + 1}` }];
  });
}
