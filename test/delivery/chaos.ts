/** A small TCP proxy that goes wrong on demand: between the relay and an upstream that is well. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { LOOPBACK } from '../interop/ports.ts';

/** `mute`: accepts, and hands nothing on. `shut`: accepts and closes. `reset`: accepts and resets. `slow`: an octet at a time. `cut`: resets in the middle of a message. */
export type Mood = 'well' | 'mute' | 'shut' | 'reset' | 'slow' | 'cut';

/** More than any dialogue before DATA, and less than a message that is a file of the queue. */
const CUT_AFTER = 50_000;

export interface ChaosProxy extends AsyncDisposable {
  readonly port: number;
  /** Of new connections, and of what is sent on those that stand. */
  mood: Mood;
  /** Connections so far. */
  readonly connections: number;
  /** Resets all that stand. */
  breakAll(): void;
}

export async function chaosProxy(upstreamPort: number): Promise<ChaosProxy> {
  const standing = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    standing.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => standing.delete(socket));
    return socket;
  };
  let connections = 0;
  const server = createServer((client) => {
    connections++;
    keep(client);
    if (proxy.mood === 'shut') return client.end();
    if (proxy.mood === 'reset') return client.resetAndDestroy();
    const upstream = keep(connect(upstreamPort, LOOPBACK));
    let handed = 0;
    client.on('data', (chunk: Buffer) => {
      handed += chunk.length;
      if (proxy.mood === 'cut' && handed > CUT_AFTER) client.resetAndDestroy();
      else if (proxy.mood !== 'mute') upstream.write(chunk);
    });
    upstream.on('data', (chunk) => void pass(chunk, client));
    client.once('close', () => upstream.destroy());
    upstream.once('close', () => {
      if (proxy.mood !== 'mute') client.end();
    });
    return undefined;
  });
  const pass = async (chunk: Buffer, client: Socket): Promise<void> => {
    if (proxy.mood === 'mute') return;
    if (proxy.mood !== 'slow') return void client.write(chunk);
    for (const octet of chunk) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (!client.destroyed) client.write(Buffer.of(octet));
    }
  };
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const address = server.address();
  const proxy: ChaosProxy = {
    port: address === null || typeof address === 'string' ? 0 : address.port,
    mood: 'well',
    get connections() {
      return connections;
    },
    breakAll() {
      for (const socket of standing) socket.resetAndDestroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of standing) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
