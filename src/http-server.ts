/**
 * An HTTP server that strangers may reach beside the mail, and that must not harm it (A29): one answer a connection, short times, few
 * connections, and where all are taken whoever has asked for nothing yet makes room.
 */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { SealpostError } from './errors.ts';
import { clientKey } from './message/networks.ts';

export interface HttpServerOptions {
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  readonly answer: RequestListener;
  readonly onError: (error: Error) => void;
}

export interface HttpServer {
  readonly port: number;
  /** Ends what is under way. */
  close(): Promise<void>;
}

const MAX_CONNECTIONS = 256;
const MAX_OF_ADDRESS = 64;
const MAX_HEADER = 8 * 1024;
const HEADER_MS = 5000;
/** Without an octet in either direction. */
const SILENCE_MS = 10_000;
/** For one connection: 4 MB, a list of 100,000 entries, at 64 KiB a second. */
const LONGEST_MS = 60_000;

/** Throws `listen-failed`. */
export async function openHttpServer({ host, port, answer, onError }: HttpServerOptions): Promise<HttpServer> {
  const options = { maxHeaderSize: MAX_HEADER, headersTimeout: HEADER_MS, requestTimeout: HEADER_MS, connectionsCheckingInterval: 1000 };
  const room = makeRoom();
  const server = createServer(options, (request, response) => {
    room.answers(request.socket);
    answer(request, response);
  });
  server.maxRequestsPerSocket = 1;
  server.timeout = SILENCE_MS;
  server.on('connection', room.admit);
  await listen(server, host, port);
  server.on('error', onError);
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
