/** A wire between a client and a server on loopback that keeps every octet of both ways, and may tamper as whoever sits there can. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { LOOPBACK } from './ports.ts';

export interface Tee extends AsyncDisposable {
  readonly port: number;
  /** All that clients sent, connection after connection. */
  sent(): Buffer;
  /** All that the server answered, before it was tampered with. */
  answered(): Buffer;
}

export interface TeeOptions {
  readonly to: number;
  /** What the client gets to read in place of a piece of the server's answer. */
  readonly tamper?: (piece: Buffer) => Buffer;
}

export async function startTee({ to, tamper = (piece) => piece }: TeeOptions): Promise<Tee> {
  const sent: Buffer[] = [];
  const answered: Buffer[] = [];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => sockets.delete(socket));
    return socket;
  };
  const server = createServer((client) => {
    keep(client);
    const behind = keep(connect(to, LOOPBACK));
    client.on('data', (piece: Buffer) => {
      sent.push(piece);
      behind.write(piece);
    });
    behind.on('data', (piece: Buffer) => {
      answered.push(piece);
      client.write(tamper(piece));
    });
    client.on('close', () => behind.destroy());
    behind.on('close', () => client.destroy());
  });
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const address = server.address();
  return {
    port: address === null || typeof address === 'string' ? 0 : address.port,
    sent: () => Buffer.concat(sent),
    answered: () => Buffer.concat(answered),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
