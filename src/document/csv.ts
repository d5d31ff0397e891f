/**
 * Tables as spreadsheets write them: RFC 4180, with `;` or tabs where the header has them, as Excel writes in half of Europe. One line
 * is one row: no table of ours has line ends within a field, and a quote that was never closed costs its row and not the rest of the
 * file. What is wrong with a row is said with its line.
 */
import { isUtf8 } from 'node:buffer';

export type CsvEntry =
  | { readonly kind: 'row'; readonly line: number; readonly fields: readonly string[] }
  | { readonly kind: 'fault'; readonly line: number; readonly fault: string };

/** Characters of one field, and fields of one row. */
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
  let separator = told?.[1];
  let number = told === null ? 0 : 1;
  for (const line of linesOf(text.slice(told?.[0].length))) {
    number++;
    if (line === '') continue;
    separator ??= commonest(line);
    const record = readRecord(line, separator);
    yield record.kind === 'row' ? { kind: 'row', line: number, fields: record.fields } : { ...record, line: number };
  }
}

function* linesOf(text: string): Generator<string> {
  const end = /\r\n|[\r\n]|$/g;
  for (let at = 0; ;) {
    end.lastIndex = at;
    const found = end.exec(text);
    yield text.slice(at, found?.index);
    if (found === null || found[0] === '') return;
    at = end.lastIndex;
  }
}

type Record = { readonly kind: 'row'; readonly fields: readonly string[] } | { readonly kind: 'fault'; readonly fault: string };

const fault = (text: string): Record & { readonly kind: 'fault' } => ({ kind: 'fault', fault: text });

function readRecord(line: string, separator: string): Record {
  const fields: string[] = [];
  for (let at = 0; ; at++) {
    const field = line[at] === '"' ? readQuoted(line, at) : readPlain(line, at, separator);
    if ('fault' in field) return field;
    fields.push(field.value);
    if (fields.length > MAX_FIELDS) return fault(`more than ${MAX_FIELDS} fields`);
    at = field.end;
    if (at === line.length) return { kind: 'row', fields };
    if (line[at] !== separator) return fault('text behind a closing quote');
  }
}

interface Field {
  readonly value: string;
  readonly end: number;
}

function readPlain(line: string, start: number, separator: string): Field | ReturnType<typeof fault> {
  const next = line.indexOf(separator, start);
  const end = next < 0 ? line.length : next;
  const value = line.slice(start, end);
  if (value.includes('"')) return fault('a quote within a field: the whole field wants quotes, and each quote in it twice');
  return value.length > MAX_FIELD ? tooLong() : { value, end };
}

function readQuoted(line: string, start: number): Field | ReturnType<typeof fault> {
  for (let end = line.indexOf('"', start + 1); end >= 0; end = line.indexOf('"', end + 2)) {
    if (line[end + 1] === '"') continue;
    const value = line.slice(start + 1, end).replaceAll('""', '"');
    return value.length > MAX_FIELD ? tooLong() : { value, end: end + 1 };
  }
  return fault('a quote is not closed in its line');
}

const tooLong = (): ReturnType<typeof fault> => fault(`a field of more than ${MAX_FIELD} characters`);

/** The separator that a header has most of; names of columns hold none. */
function commonest(header: string): string {
  const counts = separators.map((one) => header.split(one).length);
  return separators[counts.indexOf(Math.max(...counts))] ?? ',';
}
