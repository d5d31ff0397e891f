/**
 * Line ends as RFC 8551 §3.1.1 wants them inside an entity: CRLF and nothing else. Legacy scripts send bare LF (PHP's mail()
 * does); the cipher must not preserve what the next hop would have mended, or a signature could never fit.
 */
import { SealpostError } from '../errors.ts';

const CR = 0x0d;
const LF = 0x0a;
const NUL = 0x00;

/**
 * `source` with every bare CR and bare LF made CRLF, chunk by chunk in constant memory. Chunks without a fault pass as they
 * are. `onFault` is told of each chunk that had one. Throws `message-has-nul` at the first NUL (RFC 5321 §4.5.2 forbids it; readers cut
 * the text there).
 */
export async function* canonicalLines(source: AsyncIterable<Buffer>, onFault: () => void = () => {}): AsyncGenerator<Buffer> {
  let openCR = false; // the last chunk ended in a CR whose LF may follow
  for await (const chunk of source) {
    if (chunk.length === 0) continue;
    const faults = countFaults(chunk, openCR);
    if (faults > 0) onFault();
    yield faults === 0 ? chunk : mend(chunk, openCR, faults);
    openCR = chunk[chunk.length - 1] === CR;
  }
  if (!openCR) return;
  onFault();
  yield Buffer.from('\n');
}

/** Octets that are looked at together: most words of a mail hold no control character, and then there is nothing to look for. */
const WORD = 4;
const NO_WORDS = new Int32Array(0);
/** Stands for any octet that is neither CR nor LF. */
const TEXT = 0x20;

/** How many octets must be put in: a CR before each bare LF, an LF behind each bare CR (but a CR that ends the chunk waits). */
function countFaults(chunk: Buffer, openCR: boolean): number {
  const { words, lead } = wordsOf(chunk);
  let faults = 0;
  let previous = openCR ? CR : LF;
  let at = 0;
  let word = 0;
  for (let stop = lead; ; stop = word++ < words.length ? at + WORD : chunk.length) {
    // The octets in front of the words, then one word that is not all text at a time, then what is left.
    for (; at < stop; at++) {
      const octet = chunk[at] ?? NUL;
      if (octet === NUL) throw new SealpostError('message-has-nul');
      if ((octet === LF) !== (previous === CR)) faults++;
      previous = octet;
    }
    if (at === chunk.length) return faults;
    const from = word;
    while (word < words.length && isText(words[word] ?? 0)) word++;
    if (word === from) continue;
    if (previous === CR) faults++;
    previous = TEXT;
    at = lead + word * WORD;
  }
}

/** The chunk in words, without its first `lead` octets: words begin at multiples of their size only. */
function wordsOf(chunk: Buffer): { readonly words: Int32Array; readonly lead: number } {
  if (chunk.length < 2 * WORD) return { words: NO_WORDS, lead: chunk.length };
  const lead = -chunk.byteOffset & (WORD - 1);
  return { words: new Int32Array(chunk.buffer, chunk.byteOffset + lead, Math.floor((chunk.length - lead) / WORD)), lead };
}

/** True where all four octets are above CR. An octet that is too small sets its own top bit; those from 0x80 up are masked out. */
const isText = (word: number): boolean => ((word - 0x0e0e0e0e) & ~word & 0x80808080) === 0;

function mend(chunk: Buffer, openCR: boolean, faults: number): Buffer {
  const out = Buffer.allocUnsafe(chunk.length + faults);
  let at = 0;
  let previous = openCR ? CR : LF;
  for (const octet of chunk) {
    if (previous === CR && octet !== LF) out[at++] = LF;
    else if (octet === LF && previous !== CR) out[at++] = CR;
    out[at++] = octet;
    previous = octet;
  }
  return out;
}
