/** The public part of a PKCS#12: its certificates. Private keys in it are counted and never opened. */
import { SealpostError } from '../../errors.ts';
import { WRONG_PASSPHRASE, readPfx } from '../pkcs12/pfx.ts';
import type { PfxContents } from '../pkcs12/pfx.ts';

export type Pkcs12Certificates =
  | { readonly kind: 'read'; readonly certificates: readonly Buffer[]; readonly keys: number }
  | { readonly kind: 'locked' }
  | { readonly kind: 'unreadable'; readonly fault: string };

/** By the first of the passwords that opens it. */
export function pkcs12Certificates(bytes: Buffer, passwords: readonly string[]): Pkcs12Certificates {
  for (const password of passwords) {
    const opened = attempt(bytes, password);
    if (opened.kind !== 'locked') return opened;
  }
  return { kind: 'locked' };
}

function attempt(bytes: Buffer, password: string): Pkcs12Certificates {
  let contents: PfxContents;
  try {
    contents = readPfx(bytes, password, 'certificates');
  } catch (error) {
    if (!(error instanceof SealpostError)) throw error;
    return error.detail === WRONG_PASSPHRASE ? { kind: 'locked' } : { kind: 'unreadable', fault: error.detail ?? error.message };
  }
  return { kind: 'read', certificates: contents.certificates, keys: contents.keys.length };
}
