/**
 * Tables as spreadsheets write them: RFC 4180, with `;` or tabs where the header has them, as Excel writes in half of Europe. Rows come
 * one by one. What is wrong with a row is said with its line, and reading goes on at the next line, so that a quote that was never
 * closed costs one row and not the rest of the file.
 */
import { isUtf8 } from 'node:buffer';

export type CsvEntry =
  | { readonly kind: 'row'; readonly line: number; readonly fields: readonly string[] }
  | { readonly kind: 'fault'; readonly line: number; readonly fault: string };

/** Characters of one field, and fields of one row: what is longer lacks a quote. */
const MAX_FIELD = 1024;
const MAX_FIELDS = 64;

const separators = [',', ';', '\t'] as const;
/** What Excel writes, and reads, to say which separator follows. */
const SEPARATOR_LINE = /^sep=([,;\t])\r?\n/i;

/** Text of a table, without its byte order mark. */
export type CsvText = { readonly kind: 'text'; readonly text: string } | { readonly kind: 'fault'; readonly fault: string };

export function decodeCsv(octets: Buffer): CsvText {
  if (isUtf8(octets)) return { kind: 'text', text: octets.toString('utf8').replace(/^\ufeff/, '') };
  const [first, second] = octets;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff))
    return { kind: 'fault', fault: `it is UTF-16; ${SAVE_AS}` };
  let line = 1;
  for (let at = 0; ; line++) {
    const end = octets.indexOf(0x0a, at);
    if (end < 0 || !isUtf8(octets.subarray(at, end))) return { kind: 'fault', fault: `line ${line} is not UTF-8; ${SAVE_AS}` };
    at = end + 1;
  }
}

const SAVE_AS = 'save it as "CSV UTF-8"';

/** Empty lines are left out. Lines count from 1. */
export function* readCsv(text: string): Generator<CsvEntry> {
  const told = SEPARATOR_LINE.exec(text);
  let at = told?.[0].length ?? 0;
  let line = told === null ? 1 : 2;
  const separator = told?.[1] ?? commonest(text.slice(at, lineEnd(text, at)));
  while (at < text.length) {
    const record = readRecord(text, at, separator);
    const end = record.kind === 'row' ? record.end : lineEnd(text, at);
    const next = end + (text.startsWith('\r\n', end) ? 2 : 1);
    if (record.kind === 'fault') yield { kind: 'fault', line, fault: record.fault };
    else if (record.fields.length > 1 || record.fields[0] !== '') yield { kind: 'row', line, fields: record.fields };
    line += linesIn(text.slice(at, next));
    at = next;
  }
}

type Record =
  | { readonly kind: 'row'; readonly fields: readonly string[]; readonly end: number }
  | { readonly kind: 'fault'; readonly fault: string };

const fault = (text: string): Record & { readonly kind: 'fault' } => ({ kind: 'fault', fault: text });

/** `end`: where its line end stands, or the text ends. */
function readRecord(text: string, start: number, separator: string): Record {
  const fields: string[] = [];
  for (let at = start; ; at++) {
    const field = text[at] === '"' ? readQuoted(text, at) : readPlain(text, at, separator);
    if ('fault' in field) return field;
    fields.push(field.value);
    if (fields.length > MAX_FIELDS) return fault(`more than ${MAX_FIELDS} fields`);
    at = field.end;
    if (isLineEnd(text[at])) return { kind: 'row', fields, end: at };
    if (text[at] !== separator) return fault('text behind a closing quote');
  }
}

interface Field {
  readonly value: string;
  readonly end: number;
}

function readPlain(text: string, start: number, separator: string): Field | ReturnType<typeof fault> {
  let end = start;
  while (!isLineEnd(text[end]) && text[end] !== separator) {
    if (text[end] === '"') return fault('a quote within a field: the whole field wants quotes, and each quote in it twice');
    if (end++ - start > MAX_FIELD) return tooLong();
  }
  return { value: text.slice(start, end), end };
}

function readQuoted(text: string, start: number): Field | ReturnType<typeof fault> {
  const within = text.slice(start + 1, start + 2 + MAX_FIELD);
  for (let end = within.indexOf('"'); end >= 0; end = within.indexOf('"', end + 2)) {
    if (within[end + 1] !== '"') return { value: within.slice(0, end).replaceAll('""', '"'), end: start + 2 + end };
  }
  return start + 2 + MAX_FIELD > text.length ? fault('a quote is not closed') : tooLong();
}

const tooLong = (): ReturnType<typeof fault> => fault(`a field of more than ${MAX_FIELD} characters: is a quote not closed?`);

const isLineEnd = (character: string | undefined): boolean => character === undefined || character === '\n' || character === '\r';

function lineEnd(text: string, from: number): number {
  let end = from;
  while (!isLineEnd(text[end])) end++;
  return end;
}

const linesIn = (text: string): number => text.match(/\r\n|[\r\n]/g)?.length ?? 0;

/** The separator that a header has most of; names of columns hold none. */
function commonest(header: string): string {
  const counts = separators.map((one) => header.split(one).length);
  return separators[counts.indexOf(Math.max(...counts))] ?? ',';
}
