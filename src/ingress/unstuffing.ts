/**
 * The octets of a message out of what follows DATA (RFC 5321 §4.5.2). CRLF.CRLF, and nothing else, ends it (A1); the first of two
 * dots that begin a line is taken away, behind a bare LF too, as scripts that write LF stuff them there.
 *
 * In the place of smtp-server's, which takes a turn of the event loop for every such line: a message of nothing else kept all
 * other clients waiting for half a minute. Here a chunk is two searches, one copy at most, one write.
 */
import { SMTPStream } from 'smtp-server/lib/smtp-stream';

const CR = 0x0d;
const LF = 0x0a;
const DOT = 0x2e;
const END = Buffer.from('\r\n.\r\n');
const STUFFED = Buffer.from('\n..');
/** Octets that are held back, since what follows decides what they are: all of the end but its last. */
const HELD = END.length - 1;

export class SmtpParser extends SMTPStream {
  /** What ends with the connection and not with a line end is no command: smtp-server would run it. */
  override _flushData(): void {}

  override _feedDataStream(chunk: Buffer, done: (error?: Error | null) => void): void {
    const held = this._lastBytes;
    let octets = held === false || held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    this._lastBytes = false;
    if (this._atDataStart && octets[0] === DOT) {
      if (octets[1] === CR && octets[2] === LF) return this._endDataMode(false, octets.subarray(3), done);
      if (octets[1] === DOT) {
        octets = octets.subarray(1);
        this._atDataStart = false;
      }
    }
    const end = octets.indexOf(END);
    if (end >= 0) {
      const dot = end + 2;
      const { clean } = unstuff(octets.subarray(0, dot));
      this._countDataBytes(clean.length);
      return this._endDataMode(clean, octets.subarray(dot + 3), done);
    }
    const { clean, done: judged } = unstuff(octets);
    // What was judged is not held: it would be judged again without the LF in front of it.
    const tail = Math.min(HELD, octets.length - judged);
    this._lastBytes = octets.subarray(octets.length - tail);
    this.#emit(clean.subarray(0, clean.length - tail), done);
  }

  /** Waits for whoever reads the message: what it does not take stays with the client (P6). */
  #emit(octets: Buffer, done: () => void): void {
    const stream = this._dataStream;
    if (octets.length === 0 || stream === null) return done();
    this._countDataBytes(octets.length);
    if (!stream.writable || stream.write(octets) || stream.destroyed) return done();
    const proceed = (): void => {
      stream.removeListener('drain', proceed);
      // A stream that is destroyed never drains.
      stream.removeListener('close', proceed);
      done();
    };
    stream.once('drain', proceed);
    stream.once('close', proceed);
  }
}

/** `clean`: the octets without the stuffed dots. `done`: how far they are settled, whatever follows. */
function unstuff(octets: Buffer): { readonly clean: Buffer; readonly done: number } {
  const first = octets.indexOf(STUFFED);
  if (first < 0) return { clean: octets, done: 0 };
  const clean = Buffer.allocUnsafe(octets.length);
  let length = octets.copy(clean, 0, 0, first + 1);
  let done = 0;
  let previous = LF;
  for (let at = first + 1; at < octets.length; at++) {
    const octet = octets[at] ?? 0;
    if (octet === DOT && previous === LF && octets[at + 1] === DOT) done = at + 1;
    else clean[length++] = octet;
    previous = octet;
  }
  return { clean: clean.subarray(0, length), done };
}
