/** The people that `certs issue --csv` makes certificates for: a table with a header, each row one person or the reason why not. */
import { type KeyChoice, keyChoices, MAX_DAYS } from '../../certificates/authority/issue.ts';
import { MAX_COMMON_NAME } from '../../certificates/authority/x509.ts';
import { decodeCsv, readCsv } from '../../document/csv.ts';
import { SealpostError } from '../../errors.ts';
import { type Mailbox, mailboxKey, parseMailbox } from '../../message/envelope.ts';

export interface Person {
  readonly mailbox: Mailbox;
  /** Undefined where the address stands for it. */
  readonly name: string | undefined;
  readonly key: KeyChoice;
  readonly days: number;
}

/** `written`: what stands in the column of addresses, for people; it may be anything. */
export type RosterRow = { readonly line: number; readonly written: string } & (
  | { readonly kind: 'person'; readonly person: Person }
  | { readonly kind: 'fault'; readonly fault: string }
);

const columns = ['address', 'name', 'key', 'days'] as const;
type Column = (typeof columns)[number];

/** What tables of staff call it. */
const ADDRESS_HEADINGS: ReadonlySet<string> = new Set(['email', 'e-mail', 'mail']);

const MAX_ROWS = 100_000;
const HEADER_HINT = `the first line names the columns: ${columns.join(',')}; all but the address may be left out`;

/** `place` names the table in errors. Throws `file-unreadable` where it is no such table; a bad row is a fault of that row. */
export function readRoster(octets: Buffer, place: string, usual: Pick<Person, 'key' | 'days'>): readonly RosterRow[] {
  const wrong = (detail: string, hint: string): SealpostError =>
    new SealpostError('file-unreadable', { detail: `${place}: ${detail}`, hint });
  const decoded = decodeCsv(octets);
  if (decoded.kind === 'fault') throw wrong(decoded.fault, 'a table of people is text in UTF-8');
  let order: readonly Column[] | undefined;
  const seen = new Map<string, number>();
  const rows: RosterRow[] = [];
  for (const entry of readCsv(decoded.text)) {
    if (order === undefined) {
      const header = entry.kind === 'row' ? readHeader(entry.fields) : entry.fault;
      if (typeof header === 'string') throw wrong(header, HEADER_HINT);
      order = header;
      continue;
    }
    // Excel goes on with rows of separators below what was ever filled in.
    if (entry.kind === 'row' && entry.fields.every((field) => field.trim() === '')) continue;
    if (rows.length >= MAX_ROWS) throw wrong(`more than ${MAX_ROWS} rows`, 'divide it');
    rows.push(entry.kind === 'fault' ? { ...entry, written: '' } : readRow(entry, order, { usual, seen }));
  }
  if (order === undefined) throw wrong('it is empty', HEADER_HINT);
  return rows;
}

/** The columns in their order, or what is wrong with the header. */
function readHeader(fields: readonly string[]): readonly Column[] | string {
  const order: Column[] = [];
  for (const field of fields) {
    const heading = field.trim().toLowerCase();
    const column = ADDRESS_HEADINGS.has(heading) ? 'address' : columns.find((one) => one === heading);
    if (column === undefined) return `its header names ${JSON.stringify(field.slice(0, MAX_SHOWN))}, which is no column`;
    if (order.includes(column)) return `its header names ${column} twice`;
    order.push(column);
  }
  return order.includes('address') ? order : 'its header names no address';
}

const MAX_SHOWN = 40;

function readRow(
  { line, fields }: { readonly line: number; readonly fields: readonly string[] },
  order: readonly Column[],
  { usual, seen }: { readonly usual: Pick<Person, 'key' | 'days'>; readonly seen: Map<string, number> },
): RosterRow {
  const at = (column: Column): string => fields[order.indexOf(column)]?.trim() ?? '';
  const written = at('address');
  const fault = (text: string): RosterRow => ({ line, written, kind: 'fault', fault: text });
  if (fields.length !== order.length) return fault(`${fields.length} fields where the header has ${order.length}`);
  const verdict = parseMailbox(written);
  if (verdict.kind === 'fault') return fault(`the address: ${verdict.fault}`);
  const name = at('name');
  const wrongName = name === '' ? undefined : nameFault(name);
  if (wrongName !== undefined) return fault(`the name ${wrongName}`);
  const key = at('key') === '' ? usual.key : keyChoices.find((one) => one === at('key').toLowerCase());
  if (key === undefined) return fault(`the key is none of ${keyChoices.join(', ')}`);
  const days = at('days') === '' ? usual.days : readDays(at('days'));
  if (days === undefined) return fault(`the days are not a whole number from 1 to ${MAX_DAYS}`);
  const { mailbox } = verdict;
  const before = seen.get(mailboxKey(mailbox));
  if (before !== undefined) return fault(`the address stands in line ${before} already`);
  seen.set(mailboxKey(mailbox), line);
  return { line, written, kind: 'person', person: { mailbox, name: name === '' ? undefined : name, key, days } };
}

export function readDays(text: string): number | undefined {
  const days = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return days >= 1 && days <= MAX_DAYS ? days : undefined;
}

/** What would stand in a certificate and on screens as another name than it is (A21). */
const DECEPTIVE = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u;

/** Why a name is no name of a person; undefined where it may be one. A certificate holds it whole or not at all. */
export function nameFault(name: string): string | undefined {
  if (name.trim() === '') return 'is blank';
  if (DECEPTIVE.test(name)) return 'holds a control character, or one that shows as nothing or turns the order of letters';
  if (Array.from(name).length > MAX_COMMON_NAME) return `is longer than ${MAX_COMMON_NAME} characters`;
  return undefined;
}
