/** HTTP servers on the loopback of this machine, which answer as a test wants. */
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { after } from 'node:test';

export interface TestServer {
  readonly port: number;
  readonly url: string;
  /** Connections so far. */
  connections(): number;
  close(): void;
}

export async function listening(server: Server, scheme: string): Promise<TestServer> {
  const open = new Set<Socket>();
  let connections = 0;
  server.on('connection', (socket: Socket) => {
    connections++;
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = (): void => {
    server.close();
    for (const socket of open) socket.destroy();
  };
  after(close);
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening');
  const { port } = address;
  return { port, url: `${scheme}://127.0.0.1:${port}`, connections: () => connections, close };
}

export const serveHttp = (listener: RequestListener): Promise<TestServer> => listening(createServer(listener), 'http');
/** Writes what it likes to whoever connects and has asked. */
export const serveOctets = (write: (socket: Socket) => void): Promise<TestServer> =>
  listening(
    createTcpServer((socket) => socket.once('data', () => write(socket))),
    'http',
  );
