/**
 * A message from outside the trusted networks must have proper line ends: a bare CR or LF that we mend, or pass on, could make two
 * messages of it at some other server (A1, SMTP smuggling). Trusted scripts are known to write bare LF, and are mended instead.
 */
import { SealpostError } from '../errors.ts';

const CR = 0x0d;
const LF = 0x0a;

/** Looks at a message chunk by chunk; throws `bare-line-end` or `message-has-nul` at the first fault. */
export function makeLineEndCheck(): (chunk: Buffer) => void {
  let openCR = false;
  return (chunk) => {
    if (chunk.length === 0) return;
    if (chunk.includes(0)) throw new SealpostError('message-has-nul');
    for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, at + 1)) {
      const before = at === 0 ? openCR : chunk[at - 1] === CR;
      if (!before) throw bare('LF');
    }
    if (openCR && chunk[0] !== LF) throw bare('CR');
    for (let at = chunk.indexOf(CR); at >= 0; at = chunk.indexOf(CR, at + 1)) {
      if (at + 1 < chunk.length && chunk[at + 1] !== LF) throw bare('CR');
    }
    openCR = chunk.at(-1) === CR;
  };
}

const BARE_DOT = Buffer.from('\n.\n');

/** True where `octets`, the last that came, are LF.LF: no end of a message, though some scripts believe it is. */
export const endsWithBareDot = (octets: Buffer | false): boolean => octets !== false && octets.subarray(-BARE_DOT.length).equals(BARE_DOT);

const bare = (which: 'CR' | 'LF'): SealpostError => new SealpostError('bare-line-end', { detail: `a bare ${which}` });
