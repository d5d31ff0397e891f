/** What `certs renew` says of what it did. */
import { escapeUnprintable } from '../../audit.ts';
import type { Terminal } from '../terminal.ts';
import { shown } from './paths.ts';

/** One certificate; also the form of `--json`, whose names therefore stay. */
export interface Renewed {
  readonly address: string;
  readonly key: string;
  readonly renews: { readonly fingerprint: string; readonly serial: string; readonly key: string; readonly not_after: string };
  /** Null in a dry run. */
  readonly made: {
    readonly fingerprint: string;
    readonly serial: string;
    readonly not_after: string;
    readonly certificate: string;
    readonly p12: string;
    readonly password_file: string;
    readonly page: string;
  } | null;
}

export interface Refused {
  readonly what: string;
  readonly reason: string;
}

interface Telling {
  readonly json?: true;
  readonly dryRun?: true;
  /** certificates.pin */
  readonly pinned: boolean;
}

export function tellRenewed(
  { done, refused }: { readonly done: readonly Renewed[]; readonly refused: readonly Refused[] },
  { json, dryRun, pinned }: Telling,
  terminal: Terminal,
): void {
  const complain = (text: string): void => void terminal.stderr.write(`${escapeUnprintable(`sealpost: ${text}`)}\n`);
  for (const { what, reason } of refused) complain(`${what} was not renewed: ${reason}`);
  for (const { address, key, renews } of done) {
    if (isRsa(key) === isRsa(renews.key)) continue;
    complain(`${address}: the old key is ${renews.key}, the new one ${key}: mail names one type, so the old one opens nothing from now on`);
  }
  if (json === true) {
    terminal.stdout.write(`${escapeUnprintable(JSON.stringify({ dry_run: dryRun === true, renewed: done, refused }))}\n`);
    return;
  }
  if (done.length === 0 && refused.length === 0) complain('none of the in-house CA ends within that time');
  for (const one of done) terminal.stdout.write(`${linesOf(one, terminal).map(escapeUnprintable).join('\n')}\n`);
  if (done.length === 0 || dryRun === true) return;
  terminal.stdout.write(`\n${next(pinned).join('\n')}\n`);
}

export const isRsa = (key: string): boolean => key.toLowerCase().startsWith('rsa');

function linesOf({ address, key, renews, made }: Renewed, terminal: Terminal): string[] {
  const old = `the old one until ${renews.not_after.slice(0, 10)}`;
  if (made === null) return [`would renew: ${address}, ${key}, ${old}`];
  const fact = (name: string, path: string): string => `  ${name.padEnd(13)}${shown(path, terminal)}`;
  return [
    `renewed: ${address}, ${key}, valid until ${made.not_after.slice(0, 10)}, ${old}`,
    `${fact('certificate', made.certificate)}  (in use within seconds, beside the old one while that is valid)`,
    fact('private key', made.p12),
    fact('password', made.password_file),
    fact('instructions', made.page),
  ];
}

const next = (pinned: boolean): readonly string[] => [
  'next: hand the .p12 and the page to the reader, and the password by another way, such as the telephone; they keep the old one.',
  'Then delete the files here: who has them reads that mail.',
  ...(pinned ? ['certificates.pin is on: the new one waits until sealpost certs approve ADDRESS, the old one is used meanwhile.'] : []),
];
