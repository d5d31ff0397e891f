/**
 * Asking a DNS resolver on this machine. One question, one socket: a random ID, a port that the kernel draws, and a connected
 * socket, which takes nothing from another address. What fits no question of ours is passed over, not believed (A27). An answer
 * that is too big for a datagram comes by TCP. Silence is asked once more; everything else that goes wrong is told at once.
 */
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { SealpostError } from '../../errors.ts';
import { heeding } from '../time-box.ts';
import { isAnswerTo, isTruncated, readResponse, writeQuery } from './wire.ts';
import type { DnsResponse } from './wire.ts';

export interface Resolver {
  /** `127.0.0.1`, `127.0.0.1:5353`, `[::1]:5353`. */
  readonly name: string;
  /** Throws `lookup-unavailable` where there is no answer that can be read, and where `signal` is aborted first. */
  ask(name: string, type: number, signal: AbortSignal): Promise<DnsResponse>;
}

export interface ResolverOptions {
  /** An IP address of this machine's loopback. */
  readonly address: string;
  readonly port: number;
  readonly randomBytes: (size: number) => Buffer;
  /** ms until a question is asked a second time. */
  readonly firstWait?: number;
}

/** A datagram on loopback is lost when buffers are full; a resolver that has to ask around takes longer, and goes on meanwhile. */
const FIRST_WAIT_MS = 3_000;
/** Datagrams that answer something else, for one question; beyond it somebody is guessing. */
const MAX_STRAYS = 64;
const LONGEST_MESSAGE = 65_535;
const DNS_PORT = 53;

export function makeResolver({ address, port, randomBytes, firstWait = FIRST_WAIT_MS }: ResolverOptions): Resolver {
  const name = showPlace(address, port);
  const unavailable = (detail: string, cause?: unknown): SealpostError =>
    new SealpostError('lookup-unavailable', {
      detail: `the resolver ${name} ${detail}`,
      hint: `is it running? dig @${address} -p ${port} . SOA`,
      cause,
    });

  /** The octets of the answer, or undefined where none came within `wait`. */
  const attempt = async (query: Buffer, signal: AbortSignal, wait: number): Promise<Buffer | undefined> => {
    let late = false;
    try {
      const answer = await heeding(signal, wait, (either) => {
        either.addEventListener('abort', () => (late = true), { once: true });
        return overUdp({ address, port }, query, either);
      });
      return isTruncated(answer) ? await overTcp({ address, port }, query, signal) : answer;
    } catch (cause) {
      if (signal.aborted) throw unavailable('does not answer in time', cause);
      if (late) return undefined;
      throw cause instanceof SealpostError ? cause : unavailable('cannot be asked', cause);
    }
  };

  return {
    name,
    ask: async (question, type, signal) => {
      for (const wait of [firstWait, Infinity]) {
        // Another ID and port each time: who guesses begins anew.
        const query = writeQuery({ id: randomBytes(2).readUInt16BE(), name: question, type });
        const answer = await attempt(query, signal, wait);
        if (answer !== undefined) return readResponse(query, answer);
      }
      throw unavailable('does not answer in time', signal.reason);
    },
  };
}

function showPlace(address: string, port: number): string {
  const host = isIPv6(address) ? `[${address}]` : address;
  return port === DNS_PORT ? address : `${host}:${port}`;
}

interface Place {
  readonly address: string;
  readonly port: number;
}

async function overUdp({ address, port }: Place, query: Buffer, signal: AbortSignal): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const giveUp = (): void => reject(signal.reason);
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  let strays = 0;
  socket.on('error', reject);
  socket.on('message', (octets) => {
    if (isAnswerTo(query, octets)) resolve(octets);
    else if (++strays > MAX_STRAYS) reject(new Error('too many datagrams that answer something else'));
  });
  signal.addEventListener('abort', giveUp);
  if (signal.aborted) giveUp();
  socket.connect(port, address, () => socket.send(query));
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', giveUp);
    socket.close();
  }
}

/** RFC 7766: two octets of length before each message. */
async function overTcp({ address, port }: Place, query: Buffer, signal: AbortSignal): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const giveUp = (): void => reject(signal.reason);
  const socket = connect({ host: address, port });
  const read = Buffer.alloc(2 + LONGEST_MESSAGE);
  let length = 0;
  const frame = Buffer.alloc(2);
  frame.writeUInt16BE(query.length);
  socket.on('error', reject);
  socket.on('close', () => reject(new Error('the connection ended before the answer')));
  socket.on('data', (octets: Buffer) => {
    length += octets.copy(read, length);
    const end = length < 2 ? Infinity : 2 + read.readUInt16BE(0);
    if (length < end) return;
    const answer = read.subarray(2, end);
    if (isAnswerTo(query, answer) && !isTruncated(answer)) resolve(answer);
    else reject(new Error('an answer to something else'));
  });
  signal.addEventListener('abort', giveUp);
  if (signal.aborted) giveUp();
  socket.write(Buffer.concat([frame, query]));
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', giveUp);
    socket.destroy();
  }
}
