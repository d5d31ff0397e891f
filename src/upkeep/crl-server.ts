/**
 * The lists of the in-house CA over HTTP (RFC 5280 §4.2.1.13, RFC 2585): GET and HEAD of exactly their paths, and nothing else. What
 * is served is public and signed, so anybody may ask; http-server.ts keeps it from harming the mail.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { type HttpServer, openHttpServer } from '../http-server.ts';
import { makeCrlFile, type CrlFileState, type ServedCrl } from './crl-file.ts';

export interface CrlServerOptions {
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  /** Absolute files by the path that they are asked for: `/in-house.crl`. */
  readonly lists: ReadonlyMap<string, string>;
  /** ms since the epoch */
  readonly now: () => number;
  readonly log: Logger;
}

/** As RFC 2585 §4.1 registers it. */
const TYPE = 'application/pkix-crl';
const RETRY_SECONDS = 60;

/** Throws `listen-failed`. */
export async function serveLists({ host, port, lists, now, log }: CrlServerOptions): Promise<HttpServer> {
  const files = new Map([...lists].map(([path, file]) => [path, makeCrlFile(file)]));
  const told = new Map<string, string>();
  /** Once for each change: whoever asks every second fills no log. */
  const tell = (path: string, state: CrlFileState): void => {
    const why = state.kind === 'none' ? state.why : '';
    if ((told.get(path) ?? '') === why) return;
    told.set(path, why);
    if (state.kind === 'none') log.error({ list: path, why }, 'a revocation list is asked for and cannot be served');
    else log.info({ list: path }, 'a revocation list is served again');
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method, url = '' } = request;
    const file = files.get(url);
    if (file === undefined) return end(response, 404);
    if (method !== 'GET' && method !== 'HEAD') return end(response, 405, { allow: 'GET, HEAD' });
    const state = await file.state(now());
    tell(url, state);
    if (state.kind === 'none') return end(response, 503, { 'retry-after': RETRY_SECONDS });
    sendList(request, response, state.list, now());
  };

  return openHttpServer({
    host,
    port,
    answer: (request, response) => {
      answer(request, response).catch((error: unknown) => {
        log.error({ err: error }, 'a revocation list was not served');
        response.destroy();
      });
    },
    onError: (error) => log.error({ err: error }, 'the listener for revocation lists failed'),
  });
}

function sendList({ headers }: IncomingMessage, response: ServerResponse, list: ServedCrl, now: number): void {
  const { bytes, etag, modified, nextUpdate } = list;
  const about = {
    etag,
    'last-modified': new Date(modified).toUTCString(),
    'cache-control': `public, max-age=${Math.max(0, Math.floor((nextUpdate - now) / 1000))}`,
  };
  if (isKnown(headers['if-none-match'], headers['if-modified-since'], list)) return end(response, 304, about);
  response.writeHead(200, { ...about, 'content-type': TYPE, 'content-length': bytes.length, connection: 'close' });
  // With HEAD the octets stay here.
  response.end(bytes);
}

/** RFC 9110 §13.2.2: the tag counts before the time. */
function isKnown(tags: string | undefined, since: string | undefined, { etag, modified }: ServedCrl): boolean {
  if (tags !== undefined) {
    const named = tags.split(',').map((tag) => tag.trim().replace(/^W\//, ''));
    return named.includes('*') || named.includes(etag);
  }
  return since !== undefined && Date.parse(since) >= modified;
}

function end(response: ServerResponse, status: number, headers: Readonly<Record<string, string | number>> = {}): void {
  response.writeHead(status, { ...headers, ...(status === 304 ? {} : { 'content-length': 0 }), connection: 'close' });
  response.end();
}
