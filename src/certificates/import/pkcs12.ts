/** The public part of a PKCS#12: its certificates. Private keys in it are counted and never opened. */
import { SealpostError } from '../../errors.ts';
import { ROUNDS_USED_UP, type Rounds, WRONG_PASSPHRASE, readPfx } from '../pkcs12/pfx.ts';
import type { PfxContents } from '../pkcs12/pfx.ts';

export type Pkcs12Certificates =
  | { readonly kind: 'read'; readonly certificates: readonly Buffer[]; readonly keys: number }
  | { readonly kind: 'locked' }
  /** It might be opened by a password that was not tried any more. */
  | { readonly kind: 'costly' }
  | { readonly kind: 'unreadable'; readonly fault: string };

/**
 * By the first of the passwords that opens it. `rounds`: of this file, whoever asks how often. `turn` is called before each attempt, which
 * may take seconds; where it answers false nothing more is tried.
 */
export async function pkcs12Certificates(
  bytes: Buffer,
  passwords: readonly string[],
  rounds: Rounds,
  turn: () => Promise<boolean>,
): Promise<Pkcs12Certificates> {
  for (const password of passwords) {
    if (!(await turn())) break;
    const opened = attempt(bytes, password, rounds);
    if (opened.kind !== 'locked') return opened;
  }
  return { kind: 'locked' };
}

function attempt(bytes: Buffer, password: string, rounds: Rounds): Pkcs12Certificates {
  let contents: PfxContents;
  try {
    contents = readPfx(bytes, password, 'certificates', rounds);
  } catch (error) {
    if (!(error instanceof SealpostError)) throw error;
    if (error.detail === WRONG_PASSPHRASE) return { kind: 'locked' };
    return error.detail === ROUNDS_USED_UP ? { kind: 'costly' } : { kind: 'unreadable', fault: error.detail ?? error.message };
  }
  return { kind: 'read', certificates: contents.certificates, keys: contents.keys.length };
}
