/**
 * What twenty clients that log in, each time with a password that is not remembered, cost a script that only sends: the time from
 * its final dot's first octet to the 250, with them and without, in turns.
 */
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as after } from 'node:timers/promises';
import { hashPassword, showHash } from '../../src/ingress/users/password-hash.ts';
import { LOOPBACK } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from '../relay/site.ts';
import { mailOf, makeReplies } from './load.ts';
import type { Owner } from './owner.ts';
import { ownSink } from './source.ts';

const CLIENTS = 20;
const OCTETS = 4096;
/** Of one turn. Turns are short, so that what else the machine does meets both ways alike. */
const MESSAGES = 100;
const TURNS = 10;
/** Between two messages: a busy site, and far from all that the relay can do. */
const PACE_MS = 10;
/** Each logs in once, since a success is remembered. */
const USERS = 4000;
const PASSWORD = 'of all of them';
const ENVELOPE = { from: 'forms@clinic.example', to: 'anna@clinic.example' };

export async function benchLogins(print: (line: string) => void, owner: Owner): Promise<void> {
  const missing = missingPrograms({ 'smtp-sink': 'postfix' });
  if (missing !== undefined) return print(`logins: skipped, ${missing}`);
  const sink = await ownSink(owner);
  const clients = { networks: ['127.0.0.0/8'], users: 'users.yaml' };
  const upstream = [{ host: LOOPBACK, port: sink.port, concurrency: 20 }];
  const site = await makeSite(owner, { upstreamPort: sink.port, config: { clients, upstream } });
  // One hash serves all: what counts is that none of them is remembered.
  const password = showHash(await hashPassword(PASSWORD));
  const users = Array.from({ length: USERS }, (_, index) => ({ name: `user${index}`, password }));
  await writeFile(join(site.dir, 'users.yaml'), JSON.stringify({ users }));
  const { port } = await site.serve();
  const logins = makeLogins(port);
  const alone = (): Promise<number[]> => sendAtPace(port);
  const beside = async (): Promise<number[]> => {
    const stop = logins.start();
    try {
      return await sendAtPace(port);
    } finally {
      await stop();
    }
  };
  await alone();
  await beside();
  const times: Record<'alone' | 'beside', number[]> = { alone: [], beside: [] };
  const before = logins.done();
  for (let turn = 0; turn < TURNS; turn++) {
    times.alone.push(...(await alone()));
    times.beside.push(...(await beside()));
  }
  const show = (share: number): string => {
    const [without, with_] = [at(times.alone, share), at(times.beside, share)];
    return `${(with_ / without).toFixed(2)} (${with_.toFixed(1)} over ${without.toFixed(1)} ms)`;
  };
  print(
    `logins of ${CLIENTS} clients beside ${OCTETS} octets every ${PACE_MS} ms: DATA takes, with them over without, ` +
      `p99 ${show(0.99)}, median ${show(0.5)}; ${TURNS * MESSAGES} messages each way, ${logins.done() - before} logins`,
  );
}

/** The value below which `share` of them lie. */
const at = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.ceil(values.length * share) - 1] ?? Number.NaN;

interface Speaker {
  readonly say: (line: string | Buffer, wanted: string) => Promise<void>;
  readonly end: () => void;
}

async function greet(port: number): Promise<Speaker> {
  const socket = connect({ port, host: LOOPBACK, noDelay: true });
  const reply = makeReplies(socket);
  const say = (line: string | Buffer, wanted: string): Promise<void> => {
    const answered = reply(wanted);
    socket.write(typeof line === 'string' ? `${line}\r\n` : line);
    return answered;
  };
  await reply('220');
  await say('EHLO load.example', '250');
  return { say, end: () => socket.destroy() };
}

/** One message after another, each begun at its time or as soon as the one before it is through; answers ms from 354 to 250. */
async function sendAtPace(port: number): Promise<number[]> {
  const begun = performance.now();
  const times: number[] = [];
  for (let message = 0; message < MESSAGES; message++) {
    const wait = begun + message * PACE_MS - performance.now();
    if (wait > 0) await after(wait);
    const { say, end } = await greet(port);
    try {
      await say(`MAIL FROM:<${ENVELOPE.from}>`, '250');
      await say(`RCPT TO:<${ENVELOPE.to}>`, '250');
      await say('DATA', '354');
      const mail = mailOf(OCTETS, { ...ENVELOPE, id: `${begun}.${message}` });
      const start = performance.now();
      await say(Buffer.concat([mail, Buffer.from('.\r\n')]), '250');
      times.push(performance.now() - start);
    } finally {
      end();
    }
  }
  return times;
}

interface Logins {
  /** Begins; what comes back ends them, and waits for those under way. */
  start(): () => Promise<void>;
  done(): number;
}

function makeLogins(port: number): Logins {
  let next = 0;
  let done = 0;
  const logIn = async (): Promise<void> => {
    const { say, end } = await greet(port);
    try {
      await say(`AUTH PLAIN ${Buffer.from(`\0user${next++}\0${PASSWORD}`).toString('base64')}`, '235');
      done++;
    } finally {
      end();
    }
  };
  return {
    done: () => done,
    start() {
      const stopped = new AbortController();
      const client = async (): Promise<void> => {
        while (!stopped.signal.aborted) await logIn();
      };
      const clients = Promise.all(Array.from({ length: CLIENTS }, client));
      return async () => {
        stopped.abort();
        await clients;
      };
    },
  };
}
