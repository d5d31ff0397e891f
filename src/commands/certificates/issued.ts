/** What `certs issue` says of what it did. */
import { escapeUnprintable } from '../../audit.ts';
import type { Terminal } from '../terminal.ts';
import { printableJson } from './account.ts';
import type { Outcome } from './issuing.ts';
import { keyText } from './key-text.ts';
import { shown } from './paths.ts';

/** One person; also the form of `--json`, whose names therefore stay. */
export interface IssuedRow {
  /** Of the table; null where there is none. */
  readonly line: number | null;
  readonly address: string;
  readonly state: Outcome['kind'];
  /** Why it was skipped or refused. */
  readonly reason: string | null;
  readonly made: {
    readonly fingerprint: string;
    readonly serial: string;
    readonly key: string;
    readonly not_after: string;
    readonly certificate: string;
    readonly p12: string;
    readonly password_file: string;
    readonly page: string;
  } | null;
}

/** `outcome`: text where the row could not be read. */
export function rowOf(outcome: Outcome | string, row: Pick<IssuedRow, 'line' | 'address'>): IssuedRow {
  if (typeof outcome === 'string') return { ...row, state: 'refused', reason: outcome, made: null };
  if (outcome.kind === 'refused') return { ...row, state: 'refused', reason: outcome.error.message, made: null };
  if (outcome.kind === 'skipped') return { ...row, state: 'skipped', reason: outcome.reason, made: null };
  const { kind: state, certificate, kit, file } = outcome;
  const { fingerprint, serial, notAfter } = certificate;
  const files = { certificate: file, p12: kit.p12, password_file: kit.password, page: kit.page };
  const made = { fingerprint, serial, key: keyText(certificate), not_after: notAfter.toISOString(), ...files };
  return { ...row, state, reason: null, made };
}

interface Telling {
  readonly out: string;
  readonly json?: true;
}

const handOver = (which: 'the' | 'each'): readonly string[] => [
  `next: hand ${which} .p12 and its page to the reader, and the password by another way, such as the telephone.`,
  'Then delete the files here: who has them reads that mail.',
];

export function tellIssued(row: IssuedRow, { json }: Telling, terminal: Terminal): void {
  const { address, state, made } = row;
  if (json === true || made === null) return void terminal.stdout.write(printableJson(row));
  const fact = (name: string, path: string): string => `  ${name.padEnd(13)}${shown(path, terminal)}`;
  const lines = [
    `${state}: ${address}, ${made.key}, valid until ${made.not_after.slice(0, 10)}`,
    `${fact('certificate', made.certificate)}  (in use within seconds)`,
    fact('private key', made.p12),
    fact('password', made.password_file),
    fact('instructions', made.page),
    '',
    ...handOver('the'),
  ];
  terminal.stdout.write(`${lines.map(escapeUnprintable).join('\n')}\n`);
}

/** Characters of what stands in a table that are shown of it. */
const MAX_SHOWN = 80;

export function tellRoster(rows: readonly IssuedRow[], { out, json }: Telling, terminal: Terminal): void {
  const complain = ({ line, address, reason }: IssuedRow): void => {
    const who = address === '' ? '' : ` ${address.slice(0, MAX_SHOWN)}:`;
    terminal.stderr.write(`${escapeUnprintable(`sealpost: line ${line}:${who} ${reason}`)}\n`);
  };
  for (const row of rows.filter(({ state }) => state === 'refused')) complain(row);
  if (json === true) return void terminal.stdout.write(printableJson(rows));
  const count = (state: IssuedRow['state']): number => rows.filter((row) => row.state === state).length;
  const [issued, finished, skipped, refused] = [count('issued'), count('finished'), count('skipped'), count('refused')];
  const lines = [
    `issued: ${issued} of ${rows.length} rows`,
    ...(finished === 0 ? [] : [`finished: ${finished} that an earlier run had begun`]),
    ...(skipped === 0 ? [] : [`left as they are: ${skipped} that have a certificate of the in-house CA already; --again makes others`]),
    ...(refused === 0 ? [] : [`refused: ${refused}`]),
    ...(issued + finished === 0 ? [] : [`  .p12, .password and .html of each in ${out}`, '', ...handOver('each')]),
  ];
  terminal.stdout.write(`${lines.map(escapeUnprintable).join('\n')}\n`);
}
