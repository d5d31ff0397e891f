/** The two ends of the demo's path: a script that submits, and an upstream that keeps what it is given. */
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { SMTPServer } from 'smtp-server';

export interface ReceivedMessage {
  readonly recipient: string;
  readonly octets: Buffer;
}

export interface DemoUpstream {
  readonly port: number;
  /** Until then every session waits for its greeting, so that the queue can be looked at. */
  open(): void;
  /** Called for every message from now on. */
  onMessage(show: (message: ReceivedMessage) => void): void;
  /** Resolves once `count` messages are there. */
  messages(count: number): Promise<readonly ReceivedMessage[]>;
  stop(): Promise<void>;
}

export async function startUpstream(): Promise<DemoUpstream> {
  const gate = Promise.withResolvers<void>();
  const received: ReceivedMessage[] = [];
  let arrived = Promise.withResolvers<void>();
  let show: (message: ReceivedMessage) => void = () => {};
  const greet = async (done: () => void): Promise<void> => {
    await gate.promise;
    done();
  };
  const keep = async (stream: Readable, recipient: string, done: () => void): Promise<void> => {
    const message = { recipient, octets: await buffer(stream) };
    received.push(message);
    show(message);
    arrived.resolve();
    done();
  };
  const server = new SMTPServer({
    authOptional: true,
    hideSTARTTLS: true,
    disableReverseLookup: true,
    onConnect: (_, done) => void greet(done),
    onData: (stream, session, done) => void keep(stream, session.envelope.rcptTo[0]?.address ?? '', done),
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve());
  });
  const address = server.server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    open: () => gate.resolve(),
    onMessage: (callback) => {
      show = callback;
    },
    async messages(count) {
      while (received.length < count) {
        await arrived.promise;
        arrived = Promise.withResolvers<void>();
      }
      return received;
    },
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** Submits as a script would; resolves with the reply to the end of DATA. */
export async function submit(port: number, from: string, to: readonly string[], mail: string): Promise<string> {
  const connection = new SMTPConnection({ host: '127.0.0.1', port, ignoreTLS: true, name: 'web.clinic.example' });
  const failed = new Promise<never>((_, reject) => connection.once('error', reject));
  const connected = new Promise<void>((resolve) => connection.connect(() => resolve()));
  await Promise.race([connected, failed]);
  const sent = new Promise<string>((resolve, reject) => {
    connection.send({ from, to: [...to] }, mail, (error, info) => (error ? reject(error) : resolve(info?.response ?? '')));
  });
  try {
    return await Promise.race([sent, failed]);
  } finally {
    connection.quit();
  }
}
