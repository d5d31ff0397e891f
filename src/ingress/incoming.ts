/**
 * The octets of one DATA as they come in. Three things can end them, and only one is the end of the message: the final dot.
 * A client that leaves and a message over the limit are thrown, so that a truncated message can never look whole.
 */
import type { Readable } from 'node:stream';
import { asSealpostError, SealpostError } from '../errors.ts';
import { tooBig } from './command.ts';

/** How draining ended: at the final dot, with the client gone, or at the bound. */
export type Drained = 'ended' | 'left' | 'bound-passed';

export interface Incoming {
  /** To be read once. Backpressure reaches the client's socket: nothing is read ahead but the stream's own buffer. */
  readonly source: AsyncIterable<Buffer>;
  /** Octets handed out so far. */
  octets(): number;
  /** True once the final dot was reached. */
  ended(): boolean;
  /** What `source` threw, if it did. */
  fault(): SealpostError | undefined;
  /** Reads on and drops everything, at most `bound` octets more, so that a reply can follow the final dot. */
  drain(bound: number): Promise<Drained>;
}

/** Who looks on while a message comes in. */
export interface Watch {
  /** Octets of one message. */
  readonly limit: number;
  /** The client's octets are awaited from now on. */
  readonly waits: () => void;
  /** So many came, or none: the message is over, or its client gone. */
  readonly came: (octets: number) => void;
  /** Looks at each chunk of a message that is still wanted; what it throws refuses the message. */
  readonly inspect: (chunk: Buffer) => void;
}

/**
 * `stream` is smtp-server's data stream. Its dots are unstuffed behind a bare LF too, as scripts that write
 * LF stuff them there; line ends, NUL and everything else are as sent.
 */
export function makeIncoming(stream: Readable, { limit, waits, came, inspect }: Watch): Incoming {
  // One iterator for source and drain: whoever stops reading halfway must not leave the rest to nobody.
  const chunks: AsyncIterator<Buffer> = stream.iterator({ destroyOnReturn: false });
  let octets = 0;
  let ended = false;
  let fault: SealpostError | undefined;

  const fail = (error: SealpostError): never => {
    fault = error;
    throw error;
  };

  const read = async (): Promise<IteratorResult<Buffer>> => {
    waits();
    let octets = 0;
    try {
      const step = await chunks.next();
      if (step.done !== true) octets = step.value.length;
      return step;
    } finally {
      came(octets);
    }
  };

  const next = async (): Promise<IteratorResult<Buffer, undefined>> => {
    if (fault !== undefined) throw fault;
    if (ended) return { done: true, value: undefined };
    const step = await read().catch((cause: unknown) => fail(new SealpostError('message-incomplete', { cause })));
    if (step.done === true) {
      if (!stream.readableEnded) fail(new SealpostError('message-incomplete'));
      ended = true;
      return { done: true, value: undefined };
    }
    octets += step.value.length;
    if (octets > limit) fail(tooBig(limit));
    try {
      inspect(step.value);
    } catch (thrown) {
      fail(asSealpostError(thrown));
    }
    return { done: false, value: step.value };
  };

  const drain = async (bound: number): Promise<Drained> => {
    let dropped = 0;
    try {
      for (;;) {
        const step = await read();
        if (step.done === true) return stream.readableEnded ? 'ended' : 'left';
        dropped += step.value.length;
        if (dropped > bound) return 'bound-passed';
      }
    } catch {
      return 'left';
    }
  };

  return {
    source: { [Symbol.asyncIterator]: () => ({ next }) },
    octets: () => octets,
    ended: () => ended,
    fault: () => fault,
    drain,
  };
}
