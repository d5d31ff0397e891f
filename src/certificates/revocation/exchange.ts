/**
 * One HTTP exchange with a server that a stranger's certificate named (A24): an answer of 200 with a body that is no longer than
 * asked for, begun soon, at no less than a floor rate, within a time. No redirects, no cookies, no proxy, no connection kept, nothing unpacked.
 */
import { request as httpRequest, type IncomingMessage, Agent as HttpAgent, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { isIPv6, type LookupFunction } from 'node:net';
import type { FetchRequest } from './revocation.ts';

export interface Exchange {
  readonly request: FetchRequest;
  readonly url: URL;
  /** Judged before; nothing else is connected to, whatever DNS says by then. */
  readonly addresses: readonly string[];
  /** Roots in PEM for https; Node's own where undefined. */
  readonly ca: string | undefined;
  readonly pace: Pace;
}

export interface Pace {
  /** ms until the answer begins: whoever says nothing holds a place that others wait for. */
  readonly silence: number;
  /** Octets a second that are borne at least, once `grace` is over. */
  readonly floor: number;
  /** ms */
  readonly grace: number;
}

/** It was reached, and what it answers is of no use: that tells of this document and not of its server. */
export class AnswerFault extends Error {}

const OK = 200;
const MAX_HEADER_OCTETS = 8192;
const CHECKS_MS = 250;
/** Where the server does not say how much comes. */
const FIRST_OCTETS = 64 * 1024;

/** Throws an Error that says why; holds nothing of the answer. */
export async function exchange({ request, url, addresses, ca, pace }: Exchange, signal: AbortSignal): Promise<Buffer> {
  const { body } = request;
  const options: RequestOptions = {
    method: body === undefined ? 'GET' : 'POST',
    // What is unpacked may be a thousand times as long as what came.
    headers: { 'Accept-Encoding': 'identity', 'User-Agent': 'sealpost', ...(body && { 'Content-Type': body.type }) },
    lookup: lookupOf(addresses),
    maxHeaderSize: MAX_HEADER_OCTETS,
    signal,
  };
  const sent =
    url.protocol === 'https:'
      ? httpsRequest(url, { ...options, agent: new HttpsAgent({ keepAlive: false }), ...(ca !== undefined && { ca }) })
      : httpRequest(url, { ...options, agent: new HttpAgent({ keepAlive: false }) });
  const { promise: begun, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  sent.once('response', resolve);
  // Without anybody who listens for it, an upgrade ends the connection without a word.
  sent.once('upgrade', () => reject(new AnswerFault('it answers 101')));
  // What fails once the answer has begun is told by the answer.
  sent.on('error', reject);
  // Before a fault is known nobody waits for it.
  begun.catch(() => {});
  const silent = setTimeout(() => sent.destroy(new Error('it does not answer')), pace.silence);
  try {
    sent.end(body?.octets);
    const answer = await begun;
    clearTimeout(silent);
    const fault = answerFault(answer, request.maxBytes);
    if (fault !== undefined) throw new AnswerFault(fault);
    return await bodyOf(answer, request.maxBytes, pace);
  } finally {
    clearTimeout(silent);
    sent.destroy();
  }
}

function answerFault({ statusCode = 0, headers }: IncomingMessage, maxBytes: number): string | undefined {
  if (statusCode >= 300 && statusCode < 400) return 'it answers with a redirect, which is not followed';
  if (statusCode !== OK) return `it answers ${statusCode}`;
  if ((headers['content-encoding'] ?? 'identity') !== 'identity') return 'it answers with a content encoding, which is not taken';
  return Number(headers['content-length'] ?? 0) > maxBytes ? tooLong(maxBytes) : undefined;
}

const tooLong = (maxBytes: number): string => `it answers with more than ${maxBytes} octets`;

/** One buffer, not a list of pieces: a large list would stand in memory twice while they are joined. */
async function bodyOf(answer: IncomingMessage, maxBytes: number, { floor, grace }: Pace): Promise<Buffer> {
  const declared = Number(answer.headers['content-length'] ?? NaN);
  let octets = Buffer.allocUnsafeSlow(Number.isNaN(declared) ? Math.min(FIRST_OCTETS, maxBytes) : declared);
  let length = 0;
  const begun = performance.now();
  const watch = setInterval(() => {
    const late = performance.now() - begun - grace;
    if (late > 0 && length < (late / 1000) * floor) answer.destroy(new Error(`it sends less than ${floor} octets a second`));
  }, CHECKS_MS);
  try {
    for await (const piece of answer as AsyncIterable<Buffer>) {
      if (length + piece.length > maxBytes) throw new AnswerFault(tooLong(maxBytes));
      if (length + piece.length > octets.length) {
        const larger = Buffer.allocUnsafeSlow(Math.min(maxBytes, Math.max(octets.length * 2, length + piece.length)));
        octets.copy(larger, 0, 0, length);
        octets = larger;
      }
      piece.copy(octets, length);
      length += piece.length;
      release(piece);
    }
    if (!answer.complete) throw new Error('its answer breaks off');
    return octets.subarray(0, length);
  } finally {
    clearInterval(watch);
  }
}

/**
 * Frees the octets of a piece that has been copied, and that has its memory to itself. A collection finds them later: by then a
 * large list would have stood in memory twice all the same.
 */
function release({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}

/** In place of DNS, which could answer otherwise now than when the addresses were judged. */
const lookupOf =
  (addresses: readonly string[]): LookupFunction =>
  (_hostname, options, callback) => {
    const all = addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }));
    const [first] = all;
    if (first === undefined) return callback(new Error('no address'), '');
    if (options.all === true) return callback(null, all);
    return callback(null, first.address, first.family);
  };
