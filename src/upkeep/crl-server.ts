/**
 * The lists of the in-house CA over HTTP (RFC 5280 §4.2.1.13, RFC 2585): GET and HEAD of exactly their paths, and nothing else. What
 * is served is public and signed, so anybody may ask; what anybody may do here must not harm the mail (A29): one answer a connection,
 * short times, few connections, and where all are taken whoever has asked for nothing yet makes room.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Logger } from 'pino';
import { SealpostError } from '../errors.ts';
import { clientKey } from '../message/networks.ts';
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

export interface CrlServer {
  readonly port: number;
  /** Ends what is under way. */
  close(): Promise<void>;
}

/** As RFC 2585 §4.1 registers it. */
const TYPE = 'application/pkix-crl';
const MAX_CONNECTIONS = 256;
const MAX_OF_ADDRESS = 64;
const MAX_HEADER = 8 * 1024;
const HEADER_MS = 5000;
/** Without an octet in either direction. */
const SILENCE_MS = 10_000;
/** For one connection: 100,000 entries, some 4 MB, at 64 KiB a second. */
const LONGEST_MS = 60_000;
const RETRY_SECONDS = 60;

/** Throws `listen-failed`. */
export async function serveLists({ host, port, lists, now, log }: CrlServerOptions): Promise<CrlServer> {
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

  const options = { maxHeaderSize: MAX_HEADER, headersTimeout: HEADER_MS, requestTimeout: HEADER_MS, connectionsCheckingInterval: 1000 };
  const room = makeRoom();
  const server = createServer(options, (request, response) => {
    room.answers(request.socket);
    answer(request, response).catch((error: unknown) => {
      log.error({ err: error }, 'a revocation list was not served');
      response.destroy();
    });
  });
  server.maxRequestsPerSocket = 1;
  server.timeout = SILENCE_MS;
  server.on('connection', room.admit);
  await listen(server, host, port);
  server.on('error', (error) => log.error({ err: error }, 'the listener for revocation lists failed'));
  return {
    port: portOf(server.address()),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const portOf = (address: AddressInfo | string | null): number => (typeof address === 'object' && address !== null ? address.port : 0);

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

interface Guest {
  readonly address: string;
  answering: boolean;
}

/** Who is connected, in the order they came. */
function makeRoom() {
  const guests = new Map<Socket, Guest>();
  const leave = (socket: Socket): void => {
    guests.delete(socket);
    socket.destroy();
  };
  return {
    answers: (socket: Socket): void => {
      const guest = guests.get(socket);
      if (guest !== undefined) guest.answering = true;
    },
    admit: (socket: Socket): void => {
      const address = clientKey(socket.remoteAddress ?? '');
      const beside = [...guests].filter(([, guest]) => guest.address === address);
      const crowd = beside.length >= MAX_OF_ADDRESS ? beside : guests.size >= MAX_CONNECTIONS ? [...guests] : [];
      if (crowd.length > 0) {
        const silent = crowd.find(([, { answering }]) => !answering)?.[0];
        if (silent === undefined) return void socket.destroy();
        leave(silent);
      }
      guests.set(socket, { address, answering: false });
      const longest = setTimeout(() => leave(socket), LONGEST_MS);
      socket.once('close', () => {
        clearTimeout(longest);
        guests.delete(socket);
      });
    },
  };
}

function listen(server: ReturnType<typeof createServer>, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void =>
      reject(new SealpostError('listen-failed', { detail: `${host.includes(':') ? `[${host}]` : host}:${port}`, cause }));
    server.once('error', fail);
    server.listen(port, host, () => {
      server.off('error', fail);
      resolve();
    });
  });
}
