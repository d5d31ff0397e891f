/** An ingress on a free port of loopback with a reception that keeps what it is given, for the tests beside it. */
import { Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { SealpostError } from '../../src/errors.ts';
import type { Envelope, Mailbox } from '../../src/message/envelope.ts';
import type { Reception } from '../../src/ingress/reception.ts';
import { makeIngress, type Ingress, type IngressOptions } from '../../src/ingress/smtp.ts';
import { makeLog } from '../../src/log.ts';
import { dialogue, type Dialogue } from './dialogue.ts';

export interface Taken {
  readonly envelope: Envelope;
  readonly octets: Buffer;
}

export interface Front {
  readonly port: number;
  readonly ports: readonly number[];
  readonly options: IngressOptions;
  readonly ingress: Ingress;
  /** Messages that were read to their end. */
  readonly taken: Taken[];
  readonly asked: { readonly sender: Mailbox | null; readonly recipient: Mailbox }[];
  /** What `accept` saw its source throw. */
  readonly thrown: unknown[];
  /** The log, line by line. */
  readonly log: Record<string, unknown>[];
  /** After the greeting and EHLO. */
  open(): Promise<Dialogue>;
  /** After 354, for one message from a@x.example to b@y.example. */
  openData(): Promise<Dialogue>;
}

export async function makeFront(context: TestContext, options: Partial<IngressOptions> = {}): Promise<Front> {
  const taken: Taken[] = [];
  const asked: Front['asked'] = [];
  const thrown: unknown[] = [];
  const log: Record<string, unknown>[] = [];
  const keeping: Reception = {
    recipient: async ({ sender }, recipient) => void asked.push({ sender, recipient }),
    accept: async (envelope, source) => {
      const chunks: Buffer[] = [];
      try {
        for await (const chunk of source) chunks.push(chunk);
      } catch (error) {
        thrown.push(error);
        throw error;
      }
      taken.push({ envelope, octets: Buffer.concat(chunks) });
      return `Q${taken.length}`;
    },
  };
  const sink = new Writable({
    write: (line: Buffer, _encoding, done) => {
      const entry: Record<string, unknown> = JSON.parse(line.toString());
      log.push(entry);
      done();
    },
  });
  const settled: IngressOptions = {
    hostname: 'relay.example',
    listen: [{ host: '127.0.0.1', port: 0 }],
    networks: ['127.0.0.1'],
    users: undefined,
    limits: { messageBytes: 1_000_000, recipients: 5, connections: 20 },
    log: makeLog({ level: 'debug', format: 'json' }, sink),
    now: Date.now,
    ...options,
    reception: options.reception ?? keeping,
  };
  const ingress = makeIngress(settled);
  const ports = (await ingress.start()).map((bound) => bound.port);
  context.after(() => ingress.stop(0));
  const [port = 0] = ports;
  const open = async (): Promise<Dialogue> => {
    const client = await dialogue(port);
    context.after(() => client.close());
    await client.expect(/^220 relay\.example ESMTP/);
    await client.ask('EHLO client.example', /^250-relay\.example/);
    return client;
  };
  const openData = async (): Promise<Dialogue> => {
    const client = await open();
    await client.ask('MAIL FROM:<a@x.example>', /^250 2\.1\.0/);
    await client.ask('RCPT TO:<b@y.example>', /^250 2\.1\.5/);
    await client.ask('DATA', /^354 /);
    return client;
  };
  return { port, ports, options: settled, ingress, taken, asked, thrown, log, open, openData };
}

/** The code of an error of ours; undefined for anything else. */
export const codeOf = (thrown: unknown): string | undefined => (thrown instanceof SealpostError ? thrown.code : undefined);
