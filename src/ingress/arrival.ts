/**
 * One message between 354 and its verdict: its octets as they come, the pace they come at, and the room that is kept for them.
 */
import type { Readable } from 'node:stream';
import { buffersPassed } from '../message/dead-buffers.ts';
import { asSealpostError, SealpostError } from '../errors.ts';
import type { Envelope } from '../message/envelope.ts';
import type { InFlight, Reservation } from './in-flight.ts';
import { makeIncoming, type Drained, type Incoming } from './incoming.ts';
import { makeLineEndCheck } from './line-ends.ts';
import { Pace, type Floor } from './pace.ts';
import type { Reception } from './reception.ts';

export type Verdict =
  | { readonly kind: 'queued'; readonly id: string }
  | { readonly kind: 'taken'; readonly text: string }
  | { readonly kind: 'refused'; readonly error: SealpostError };

export interface ArrivalOptions {
  /** Octets of one message. */
  readonly messageBytes: number;
  /** Octets the client said it will send. */
  readonly declared: number;
  readonly floor: Floor;
  readonly inFlight: InFlight;
  /** Whether line ends are mended rather than refused. */
  readonly trusted: boolean;
  readonly elapsed: () => number;
}

/**
 * A refused message is read on to its final dot, since clients look for a reply only there; beyond this many times the
 * message limit the reply comes at once and the session ends.
 */
const DRAIN_FACTOR = 4;
/** Milliseconds of waiting for a client after which what it declared is no longer kept free for it. */
const RESERVED_MS = 30_000;

export class Arrival {
  readonly pace: Pace;
  readonly #stream: Readable;
  readonly #incoming: Incoming;
  readonly #reservation: Reservation;
  readonly #messageBytes: number;

  /** Throws `too-busy` before `open` begins the message. Whoever makes one releases it. */
  constructor({ messageBytes, declared, floor, inFlight, trusted, elapsed }: ArrivalOptions, open: () => Readable) {
    const reservation = inFlight.reserve(declared);
    const pace = new Pace(floor);
    const checkLineEnds = trusted ? undefined : makeLineEndCheck();
    this.#reservation = reservation;
    this.pace = pace;
    this.#messageBytes = messageBytes;
    this.#stream = open();
    this.#incoming = makeIncoming(this.#stream, {
      limit: messageBytes,
      waits: () => pace.waits(elapsed()),
      came: (octets) => pace.came(octets, elapsed()),
      inspect: (chunk) => {
        checkLineEnds?.(chunk);
        reservation.came(chunk.length);
        buffersPassed(chunk.length);
      },
    });
  }

  octets(): number {
    return this.#incoming.octets();
  }

  /** What came of handing the message on. A message that was not read whole is refused, even where its taker says otherwise. */
  async offer(reception: Reception, envelope: Envelope): Promise<Verdict> {
    const incoming = this.#incoming;
    try {
      const taken = await reception.accept(envelope, incoming.source);
      const fault =
        incoming.fault() ?? (incoming.ended() ? undefined : new SealpostError('internal', { detail: 'the message was not read' }));
      if (fault !== undefined) return { kind: 'refused', error: fault };
      return typeof taken === 'string' ? { kind: 'queued', id: taken } : { kind: 'taken', text: taken.text };
    } catch (thrown) {
      return { kind: 'refused', error: incoming.fault() ?? asSealpostError(thrown) };
    } finally {
      // Stored, or nothing of it is kept: it is out of the way, though a refused one may still be read to its dot.
      this.release();
    }
  }

  drain(): Promise<Drained> {
    return this.#incoming.drain(DRAIN_FACTOR * this.#messageBytes);
  }

  /** Looks at the clock. */
  hurry(elapsed: number): void {
    if (this.pace.waited(elapsed) >= RESERVED_MS) this.#reservation.lapse();
  }

  /** Nobody waits for the rest of it any more: who reads it finds it incomplete. */
  abandon(): void {
    this.#stream.destroy();
  }

  release(): void {
    this.#reservation.release();
  }
}
