/**
 * Fetching what a certificate names: lists and answers about revocation. The URL is a stranger's, so a guard stands before it (A24):
 * http and https only; every address that the name has must be public, or in a network that the operator lists; the address that
 * was judged is the one that is connected to; on public addresses only ports 80 and 443, where CAs are and little else.
 *
 * Whoever is dead costs one look-up its time and not each: after a failure a server is left alone for a while that doubles. The same
 * document is fetched once for all who ask meanwhile, and the number of fetches is bounded, in all and for one server.
 */
import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { judgeAddress, parseFetchNetworks } from './addresses.ts';
import { AnswerFault, exchange, type Pace } from './exchange.ts';
import { makeFailures } from './failures.ts';
import { heeding } from '../time-box.ts';
import { makeSeats } from './seats.ts';
import type { FetchDocument, FetchRequest } from './revocation.ts';

/** All addresses of a name; rejects where it has none or DNS does not answer. */
export type ResolveHost = (host: string, signal: AbortSignal) => Promise<readonly string[]>;

export interface FetchOptions {
  /** `certificates.trust.fetch_networks`: networks that may be fetched from though they are not public. */
  readonly networks: readonly string[];
  readonly resolve: ResolveHost;
  /** ms of a clock that nobody sets; performance.now() where undefined. */
  readonly uptime?: () => number;
  /** Roots in PEM for https; Node's own where undefined. */
  readonly ca?: string;
  readonly pace?: Pace;
}

/** Not fetched whenever it is asked for: the URL itself is refused. */
export class FetchRefused extends Error {}

/** A list of 64 MiB takes two minutes at this rate and somewhat more; a drip is cut off after the grace. */
const usualPace: Pace = { silence: 10_000, floor: 32 * 1024, grace: 5000 };
const BASE_MS = 10_000;
const LONGEST_MS = 120_000;
const OCTETS_PER_MS = 64;
const MAX_FETCHES = 8;
const MAX_FETCHES_OF_HOST = 2;
/** For the certificates of one CA. */
const MAX_FETCHES_OF_CA = 4;
const MAX_WAITING = 200;
const MAX_URL = 2048;
const usualPorts: ReadonlySet<string> = new Set(['', '80', '443']);

interface Running {
  readonly answer: Promise<Buffer>;
  readonly stop: AbortController;
  waiting: number;
}

export function makeFetch({ networks, resolve, uptime = () => performance.now(), ca, pace = usualPace }: FetchOptions): FetchDocument {
  const allowed = parseFetchNetworks(networks);
  const seats = makeSeats({ total: MAX_FETCHES, ofKey: MAX_FETCHES_OF_HOST, ofGroup: MAX_FETCHES_OF_CA, waiting: MAX_WAITING });
  const failures = makeFailures(uptime);
  const running = new Map<string, Running>();

  const judged = async (url: URL, signal: AbortSignal): Promise<readonly string[]> => {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const literal = isIP(host) !== 0;
    const addresses = literal ? [host] : await resolve(host, signal);
    if (addresses.length === 0) throw new Error('its name has no address');
    for (const address of addresses) {
      const verdict = judgeAddress(address, allowed);
      const wrong =
        verdict === 'refused'
          ? 'its address is not public; where it is yours, list its network in fetch_networks'
          : verdict === 'public' && !usualPorts.has(url.port)
            ? 'ports other than 80 and 443 are for networks in fetch_networks'
            : undefined;
      // DNS may say something else tomorrow, an address may not.
      if (wrong !== undefined) throw literal ? new FetchRefused(wrong) : new Error(wrong);
    }
    return addresses;
  };

  const fetchNow = async (request: FetchRequest, url: URL, signal: AbortSignal): Promise<Buffer> => {
    const time = Math.min(BASE_MS + Math.ceil(request.maxBytes / OCTETS_PER_MS), LONGEST_MS);
    return heeding(signal, time, async (either) => {
      const addresses = await within(judged(url, either), either);
      return within(exchange({ request, url, addresses, ca, pace }, either), either);
    });
  };

  const attempt = async (request: FetchRequest, url: URL, stop: AbortSignal): Promise<Buffer> => {
    const free = await seats.take(url.origin, stop, request.of);
    try {
      const octets = await fetchNow(request, url, stop);
      failures.forget(url);
      return octets;
    } catch (error) {
      // Nobody waited any more: that says nothing about the server.
      if (stop.aborted || error instanceof FetchRefused) throw error;
      const why = `${url.host} was asked in vain: ${reasonOf(error)}`;
      failures.note(url, error instanceof AnswerFault ? 'document' : 'server', why);
      throw new Error(why, { cause: error });
    } finally {
      free();
    }
  };

  return async (request, signal) => {
    const url = parseFetchUrl(request.url);
    const key = keyOf(request);
    let shared = running.get(key);
    if (shared === undefined) {
      const failed = failures.recent(url);
      if (failed !== undefined) throw new Error(failed);
      signal.throwIfAborted();
      const stop = new AbortController();
      shared = { answer: attempt(request, url, stop.signal), stop, waiting: 0 };
      running.set(key, shared);
    }
    shared.waiting++;
    try {
      return await within(shared.answer, signal);
    } finally {
      shared.waiting--;
      // Answered, or nobody waits any more: whoever asks next asks anew.
      if (running.get(key) === shared && (shared.waiting === 0 || !signal.aborted)) running.delete(key);
      if (shared.waiting === 0) shared.stop.abort(new Error('nobody waits for it any more'));
    }
  };
}

/** Throws FetchRefused where nobody ever fetches this. */
export function parseFetchUrl(text: string): URL {
  if (text.length > MAX_URL) throw new FetchRefused('its URL is too long');
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) throw new FetchRefused('its URL is none');
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new FetchRefused(`${url.protocol} URLs are not fetched`);
  if (url.username !== '' || url.password !== '') throw new FetchRefused('its URL holds a login');
  return url;
}

const keyOf = ({ url, body, maxBytes }: FetchRequest): string =>
  `${maxBytes} ${url} ${body === undefined ? '' : createHash('sha256').update(body.octets).digest('hex')}`;

/** Rejects with the reason of `signal` as soon as that is aborted; what it waited for goes on or stops by itself. */
async function within<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(signal.reason);
  answer.catch(() => {});
  signal.throwIfAborted();
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await Promise.race([answer, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** One line for people, of our own words or of the system's, never of the answer's. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'it failed';
  if (error.name === 'TimeoutError') return 'it takes too long';
  if ('code' in error && typeof error.code === 'string' && error.code !== 'ABORT_ERR') return error.code;
  return error.message;
}
