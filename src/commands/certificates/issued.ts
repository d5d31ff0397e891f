/** What `certs issue` says of what it did. */
import { escapeUnprintable } from '../../audit.ts';
import type { Terminal } from '../terminal.ts';
import { printableJson } from './account.ts';
import type { Outcome } from './issuing.ts';
import { keyText } from './key-text.ts';
import { type CertificatePaths, shown } from './paths.ts';

/** One person; also the form of `--json`, whose names therefore stay. */
export interface IssuedRow {
  /** Of the table; null where there is none. */
  readonly line: number | null;
  readonly address: string;
  /** In the words of `certs add`. */
  readonly outcome: 'issued' | 'finished' | 'already-there' | 'refused';
  /** Why there is no new one. */
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
  if (typeof outcome === 'string') return { ...row, outcome: 'refused', reason: outcome, made: null };
  if (outcome.kind === 'refused') return { ...row, outcome: 'refused', reason: outcome.error.message, made: null };
  if (outcome.kind === 'skipped') return { ...row, outcome: 'already-there', reason: outcome.reason, made: null };
  const { kind, certificate, kit, file } = outcome;
  const { fingerprint, serial, notAfter } = certificate;
  const files = { certificate: file, p12: kit.p12, password_file: kit.password, page: kit.page };
  const made = { fingerprint, serial, key: keyText(certificate), not_after: notAfter.toISOString(), ...files };
  return { ...row, outcome: kind, reason: null, made };
}

/** What cannot be mended afterwards is said before certificates are made, once a run. */
export function noteBeforehand({ crlUrl, operator, operatorGuessed }: CertificatePaths, { stderr }: Terminal): void {
  const note = (text: string): void => void stderr.write(`${escapeUnprintable(`sealpost: note: ${text}`)}\n`);
  if (operatorGuessed)
    note(`the pages send readers to ${operator}, which sealpost init guessed: write a mailbox that somebody reads under operator first`);
  if (crlUrl === undefined)
    note('certificates.authority.crl.url is not set: what is issued now names no list of the revoked to others, and carries no policy');
}

interface Telling {
  readonly json?: true;
  /** certificates.pin */
  readonly pinned: boolean;
}

const handOver = (which: 'the' | 'each', pinned: boolean): readonly string[] => [
  `next: hand ${which} .p12 and its page to the reader, and the password by another way, such as the telephone.`,
  'Then delete the files here: who has them reads that mail.',
  ...(pinned
    ? ['certificates.pin is on: where mail to the address was sealed to another one, this waits until sealpost certs approve ADDRESS.']
    : []),
];

export function tellIssued(row: IssuedRow, { json, pinned }: Telling, terminal: Terminal): void {
  const { address, outcome, made } = row;
  if (json === true || made === null) return void terminal.stdout.write(printableJson(row));
  const fact = (name: string, path: string): string => `  ${name.padEnd(13)}${shown(path, terminal)}`;
  const lines = [
    `${outcome}: ${address}, ${made.key}, valid until ${made.not_after.slice(0, 10)}`,
    `${fact('certificate', made.certificate)}${pinned ? '' : '  (in use within seconds)'}`,
    fact('private key', made.p12),
    fact('password', made.password_file),
    fact('instructions', made.page),
    '',
    ...handOver('the', pinned),
  ];
  terminal.stdout.write(`${lines.map(escapeUnprintable).join('\n')}\n`);
}

/** Characters of what stands in a table that are shown of it. */
const MAX_SHOWN = 80;

/** `out`: where the files are, absolute. */
export function tellRoster(
  rows: readonly IssuedRow[],
  { out, json, pinned }: Telling & { readonly out: string },
  terminal: Terminal,
): void {
  const complain = ({ line, address, reason }: IssuedRow): void => {
    const who = address === '' ? '' : ` ${address.slice(0, MAX_SHOWN)}:`;
    terminal.stderr.write(`${escapeUnprintable(`sealpost: line ${line}:${who} ${reason}`)}\n`);
  };
  for (const row of rows.filter(({ outcome }) => outcome === 'refused')) complain(row);
  const count = (outcome: IssuedRow['outcome']): number => rows.filter((row) => row.outcome === outcome).length;
  const [issued, finished, there, refused] = [count('issued'), count('finished'), count('already-there'), count('refused')];
  if (json === true) return void terminal.stdout.write(printableJson({ results: rows, issued, finished, already_there: there, refused }));
  const lines = [
    `issued: ${issued} of ${rows.length} rows`,
    ...(finished === 0 ? [] : [`finished: ${finished} that an earlier run had begun`]),
    ...(there === 0 ? [] : [`left as they are: ${there} that have a certificate of the in-house CA already; --again makes others`]),
    ...(refused === 0 ? [] : [`refused: ${refused}`]),
    ...(issued + finished === 0 ? [] : [`  .p12, .password and .html of each in ${shown(out, terminal)}`, '', ...handOver('each', pinned)]),
  ];
  terminal.stdout.write(`${lines.map(escapeUnprintable).join('\n')}\n`);
}
