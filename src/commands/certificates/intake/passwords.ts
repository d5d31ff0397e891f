/** Passwords of PKCS#12 files: from a file, or asked for where somebody sits at the terminal; never from the command line. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { SealpostError } from '../../../errors.ts';
import { escapeUnprintable } from '../../../audit.ts';
import type { Terminal } from '../../terminal.ts';
import { askHidden } from '../../users/password.ts';

export interface Passwords {
  /** To be tried in this order; the empty one is among them, which many exports of certificates have. */
  known(): readonly string[];
  /** Undefined where nobody can be asked. */
  ask(file: string): Promise<string | undefined>;
  /** It opened a file, and may open the next. */
  keep(password: string): void;
  /** Why a file stays locked. */
  readonly fault: string;
}

/** Each costs up to a second and more for each file. */
const MAX_PASSWORDS = 16;
const MAX_OCTETS = 64 * 1024;

/** `file` has one a line. `stdinTaken`: certificates come from there. */
export function openPasswords(file: string | undefined, stdinTaken: boolean, terminal: Terminal): Passwords {
  const known = file === undefined ? [''] : ['', ...readPasswords(resolve(terminal.cwd, file))];
  return {
    known: () => known,
    ask: async (locked) => {
      if (file !== undefined || stdinTaken) return undefined;
      return askHidden(`password of ${escapeUnprintable(locked)}: `, terminal);
    },
    keep: (password) => {
      if (known.length <= MAX_PASSWORDS) known.push(password);
    },
    fault: file === undefined ? 'it needs a password: --password-file FILE' : 'no password of the file opens it, or it is damaged',
  };
}

function readPasswords(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: escapeUnprintable(file), cause });
  }
  const lines = text.split(/\r?\n/).filter((line) => line !== '');
  const usage = (detail: string): SealpostError =>
    new SealpostError('usage', { detail: `--password-file: ${detail}`, hint: 'one password a line' });
  if (lines.length === 0) throw usage('the file is empty');
  if (lines.length > MAX_PASSWORDS || text.length > MAX_OCTETS) throw usage(`more than ${MAX_PASSWORDS} passwords`);
  return lines;
}
