/**
 * LDAP messages over one socket: many requests under way, each answered under its own id (RFC 4511 §4.1.1.1).
 *
 * What a server may cost is bounded here. One message is held until it is whole, and no more than MAX_MESSAGE of it. What is
 * answered to nobody, such as the rest of a search that was given up, is dropped unread, and too much of it ends the connection.
 * So does everything that is not LDAP. An end fails all requests under way, each with the reason.
 */
import type { Socket } from 'node:net';
import { asUnavailable, unavailable } from './fault.ts';
import { abandonRequest, type Answer, endOfMessage, readMessage } from './message.ts';

/** Octets. A whole entry with a hundred certificates takes a fifth of it. */
const MAX_MESSAGE = 1024 * 1024;
/** Octets that are answered to nobody. */
const MAX_UNASKED = 8 * 1024 * 1024;
const CLOSED_HINT = 'does the port want ldaps://, or is another program on it?';
/** RFC 4511 §4.1.1: messageID is at most 2^31-1, and 0 is the server's own. */
const LAST_ID = 2 ** 31 - 1;

/** Called for each answer, with the octets it took; a result ends the request. What it throws ends the connection. */
export type Take<Result> = (answer: Answer, octets: number) => Result | undefined;

export interface Channel {
  /**
   * Throws `lookup-unavailable`; once `signal` is aborted its reason, where that is ours, and the server is told to stop. Only for
   * operations that can be abandoned does the channel live on then.
   */
  ask<Result>(write: (id: number) => Buffer, take: Take<Result>, signal: AbortSignal): Promise<Result>;
  readonly open: boolean;
  readonly underWay: number;
  /** performance.now() of the last octets that came. */
  readonly heard: number;
  /** The socket without listeners of this channel, which is of no use any more. Throws where the server said more than was asked. */
  release(): Socket;
  /** Fails what is under way. */
  close(fault?: Error): void;
}

interface Request {
  readonly take: (answer: Answer, octets: number) => void;
  readonly fail: (fault: unknown) => void;
}

export function makeChannel(socket: Socket): Channel {
  const requests = new Map<number, Request>();
  let held: Buffer = Buffer.alloc(0);
  let lastId = 0;
  let unasked = 0;
  let heard = performance.now();
  let open = true;

  const nextId = (): number => {
    do lastId = lastId === LAST_ID ? 1 : lastId + 1;
    while (requests.has(lastId));
    return lastId;
  };
  const close = (fault: unknown = unavailable('the connection was closed')): void => {
    open = false;
    socket.destroy();
    held = Buffer.alloc(0);
    for (const { fail } of requests.values()) fail(fault);
  };
  const give = (bytes: Buffer): void => {
    // A copy: an entry is kept for longer than what came with it.
    const message = readMessage(Buffer.from(bytes));
    const request = requests.get(message.id);
    if (request !== undefined) return request.take(message.answer(), bytes.length);
    // RFC 4511 §4.4.1: a notice of disconnection is the only thing a server says unasked.
    if (message.id === 0) throw unavailable('the directory server ended the connection');
    unasked += bytes.length;
    if (unasked > MAX_UNASKED) throw unavailable('the directory server sends what nobody asked for');
  };
  const onData = (chunk: Buffer): void => {
    heard = performance.now();
    held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    try {
      let at = 0;
      for (let end = endOfMessage(held, at); end !== undefined; end = endOfMessage(held, at)) {
        if (end - at > MAX_MESSAGE) throw unavailable(`a message of the directory server is longer than ${MAX_MESSAGE} octets`);
        if (end > held.length) break;
        give(held.subarray(at, end));
        // What was given may have closed or released the channel.
        if (!open) return;
        at = end;
      }
      // A copy, so that a few octets do not keep a whole chunk.
      if (at > 0) held = Buffer.from(held.subarray(at));
    } catch (fault) {
      close(asUnavailable(fault, 'an answer of the directory server could not be read'));
    }
  };
  const onEnd = (): void => close(unavailable('the directory server closed the connection', { hint: CLOSED_HINT }));
  socket.on('data', onData);
  socket.once('end', onEnd);
  socket.once('close', onEnd);

  return {
    ask: (write, take, signal) =>
      new Promise((resolve, reject) => {
        if (!open) return reject(unavailable('the connection was closed'));
        const id = nextId();
        const settle = (): void => {
          requests.delete(id);
          signal.removeEventListener('abort', abort);
        };
        const fail = (fault: unknown): void => {
          settle();
          reject(fault);
        };
        const abort = (): void => {
          fail(asUnavailable(signal.reason, 'no answer in time'));
          if (open) socket.write(abandonRequest(nextId(), id));
        };
        if (signal.aborted) return reject(asUnavailable(signal.reason, 'no answer in time'));
        signal.addEventListener('abort', abort);
        requests.set(id, {
          fail,
          take: (answer, octets) => {
            const result = take(answer, octets);
            if (result === undefined) return;
            settle();
            resolve(result);
          },
        });
        socket.write(write(id));
      }),
    get open() {
      return open;
    },
    get underWay() {
      return requests.size;
    },
    get heard() {
      return heard;
    },
    release: () => {
      // What came in clear behind the word that begins TLS could be anybody's (CVE-2011-0411, for LDAP).
      if (held.length > 0 || unasked > 0 || requests.size > 0) throw unavailable('the directory server said more than STARTTLS allows');
      open = false;
      socket.off('data', onData).off('end', onEnd).off('close', onEnd);
      return socket;
    },
    close,
  };
}
