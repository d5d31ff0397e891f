/**
 * LDAP messages over one socket: many requests under way, each answered under its own id (RFC 4511 §4.1.1.1).
 *
 * What a server may cost is bounded here. One message is held until it is whole, and no more than MAX_MESSAGE of it. A longer one is
 * the fault of whoever wrote that entry, and costs the one request it answers: the others go on, since its octets are passed over. What
 * is answered to nobody, such as the rest of a search that was given up, is dropped unread. Where either is too much, the connection
 * is `spent`: it ends, and what else was under way may be asked again. Everything that is not LDAP ends it too. An end fails all
 * requests under way, each with the reason.
 */
import type { Socket } from 'node:net';
import { AnswerRefused, asUnavailable, unavailable } from './fault.ts';
import { abandonRequest, type Answer, endOfMessage, idOfMessage, readMessage } from './message.ts';

/** Octets. A whole entry with a hundred certificates takes a fifth of it. */
const MAX_MESSAGE = 1024 * 1024;
/** Octets of one longer message that are passed over; the others wait for as long. */
const MAX_PASSED = 16 * 1024 * 1024;
/** Octets that are answered to nobody. */
const MAX_UNASKED = 8 * 1024 * 1024;
const TIDY = 'take certificates that mail does not use out of the entry, or name fewer attributes in certificate_attributes';
const CLOSED_HINT = 'does the port want ldaps://, or is another program on it?';
/** RFC 4511 §4.1.1: messageID is at most 2^31-1, and 0 is the server's own. */
const LAST_ID = 2 ** 31 - 1;

/** Called for each answer, with the octets it took; a result ends the request. `AnswerRefused` fails it; what else it throws ends the connection. */
export type Take<Result> = (answer: Answer, octets: number) => Result | undefined;

export interface Channel {
  /**
   * Throws `lookup-unavailable`; once `signal` is aborted its reason, where that is ours, and the server is told to stop. Only for
   * operations that can be abandoned does the channel live on then.
   */
  ask<Result>(write: (id: number) => Buffer, take: Take<Result>, signal: AbortSignal): Promise<Result>;
  readonly open: boolean;
  /** Closed on account of other requests than those that failed with it. */
  readonly spent: boolean;
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
  let spent = false;
  /** Octets still to come of a message that is passed over. */
  let passing = 0;

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
    if (request !== undefined) {
      try {
        return request.take(message.answer(), bytes.length);
      } catch (fault) {
        if (!(fault instanceof AnswerRefused)) throw fault;
        return refuse(message.id, request, fault);
      }
    }
    // RFC 4511 §4.4.1: a notice of disconnection is the only thing a server says unasked.
    if (message.id === 0) throw unavailable('the directory server ended the connection');
    drop(bytes.length);
  };
  const drop = (octets: number): void => {
    unasked += octets;
    if (unasked <= MAX_UNASKED) return;
    spent = true;
    throw unavailable('the directory server sends what nobody asked for');
  };
  /** Fails one request; the server need not send the rest. */
  const refuse = (id: number, request: Request, fault: AnswerRefused): void => {
    request.fail(fault);
    if (open) socket.write(abandonRequest(nextId(), id));
  };
  /** A message of `octets` that is not held, whatever is in it. */
  const passOver = (id: number, octets: number): void => {
    const request = requests.get(id);
    if (request === undefined) drop(octets);
    else refuse(id, request, new AnswerRefused(`a message of the directory server is longer than ${MAX_MESSAGE} octets`, TIDY));
    if (octets <= MAX_PASSED) return;
    spent = true;
    throw unavailable(`a message of the directory server is longer than ${MAX_PASSED} octets`);
  };
  const onData = (chunk: Buffer): void => {
    heard = performance.now();
    const passed = Math.min(passing, chunk.length);
    passing -= passed;
    if (passed === chunk.length) return;
    const rest = chunk.subarray(passed);
    held = held.length === 0 ? rest : Buffer.concat([held, rest]);
    try {
      let at = 0;
      for (let end = endOfMessage(held, at); end !== undefined; end = endOfMessage(held, at)) {
        if (end - at > MAX_MESSAGE) {
          const id = idOfMessage(held, at);
          if (id === undefined) break;
          passOver(id, end - at);
          passing = Math.max(0, end - held.length);
          at = Math.min(end, held.length);
          continue;
        }
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
    get spent() {
      return spent;
    },
    get underWay() {
      return requests.size;
    },
    get heard() {
      return heard;
    },
    release: () => {
      // What came in clear behind the word that begins TLS could be anybody's (CVE-2011-0411, for LDAP).
      if (held.length > 0 || passing > 0 || unasked > 0 || requests.size > 0)
        throw unavailable('the directory server said more than STARTTLS allows');
      open = false;
      socket.off('data', onData).off('end', onEnd).off('close', onEnd);
      return socket;
    },
    close,
  };
}
