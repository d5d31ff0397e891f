/**
 * One honest form script, alone and beside five hundred slow clients (A29): its time from connect to the reply after QUIT, mail
 * after mail. The slow ones come each from an address of their own, in the trusted networks as the script is, which is the hard
 * case, or outside them; whoever is closed comes back after a second.
 */
import { connect, type Socket } from 'node:net';
import { LOOPBACK } from '../interop/ports.ts';
import { sendLoad } from './load.ts';
import { startOurs } from './ours.ts';
import type { Owner } from './owner.ts';
import { showSpread, spread } from './pairs.ts';
import { ownSink } from './source.ts';

const SLOW_CLIENTS = 500;
const PAIRS = 7;
const MESSAGES = 100;
const OCTETS = 4096;
const BACK_MS = 1000;
const SETTLE_MS = 2000;
const ENVELOPE = { from: 'forms@clinic.example', to: 'anna@clinic.example' };
const OPENING = `EHLO slow.example\r\nMAIL FROM:<${ENVELOPE.from}>\r\nRCPT TO:<${ENVELOPE.to}>\r\nDATA\r\n`;

/** What each kind says at first, and each second from then on. */
const KINDS: readonly { readonly opening: string | Buffer; readonly octet: string }[] = [
  { opening: '', octet: '' },
  { opening: 'EHLO slow.example\r\n', octet: 'x' },
  { opening: OPENING, octet: 'x' },
  { opening: 'EHLO slow.example\r\n', octet: 'NOOP\r\n' },
  // Half a TLS handshake: on a plain listener it is closed at once, and comes back like the others.
  { opening: Buffer.from('16030100c8010000c40303', 'hex'), octet: 'x' },
];

/** Keeps `SLOW_CLIENTS` of them there until it is called off. */
function beSlow(port: number): () => void {
  let over = false;
  const timers = new Set<NodeJS.Timeout>();
  const sockets = new Set<Socket>();
  const start = (number: number): void => {
    if (over) return;
    const kind = KINDS[number % KINDS.length];
    const socket = connect({ port, host: LOOPBACK, localAddress: `127.9.${number >> 8}.${number & 255 || 1}` });
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.resume();
    socket.write(kind?.opening ?? '');
    const dribble = setInterval(() => socket.write(kind?.octet ?? ''), 1000);
    socket.once('close', () => {
      clearInterval(dribble);
      sockets.delete(socket);
      const timer = setTimeout(() => {
        timers.delete(timer);
        start(number);
      }, BACK_MS);
      timers.add(timer);
    });
  };
  for (let number = 0; number < SLOW_CLIENTS; number++) start(number);
  return () => {
    over = true;
    for (const timer of timers) clearTimeout(timer);
    for (const socket of sockets) socket.destroy();
  };
}

interface Honest {
  /** Milliseconds of one mail, on the average of `MESSAGES`, one after the other; attempts that were turned away are in it. */
  readonly each: number;
  readonly slowest: number;
  readonly turnedAway: number;
}

async function honest(port: number): Promise<Honest> {
  const times: number[] = [];
  let turnedAway = 0;
  let start = performance.now();
  while (times.length < MESSAGES) {
    try {
      await sendLoad({ port, clients: 1, messages: 1, octets: OCTETS, ...ENVELOPE });
      times.push(performance.now() - start);
      start = performance.now();
    } catch (error) {
      // 421, or closed to make room: a script comes back.
      if (++turnedAway > 10 * MESSAGES) throw error;
    }
  }
  return { each: times.reduce((sum, time) => sum + time, 0) / times.length, slowest: Math.max(...times), turnedAway };
}

/** Prints how much longer the script takes beside the slow ones. */
export async function benchSlow(print: (line: string) => void, owner: Owner): Promise<void> {
  for (const { who, networks } of [
    { who: 'outside the networks', networks: ['127.0.0.0/16'] },
    { who: 'in the networks', networks: ['127.0.0.0/8'] },
  ]) {
    const sink = await ownSink(owner);
    const { relay } = await startOurs(owner, { upstreamPort: sink.port, config: { clients: { networks } } });
    const [alone, beside]: [number[], number[]] = [[], []];
    let [slowest, turnedAway] = [0, 0];
    await honest(relay.port);
    for (let pair = 0; pair < PAIRS; pair++) {
      alone.push((await honest(relay.port)).each);
      const callOff = beSlow(relay.port);
      owner.after(callOff);
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      const result = await honest(relay.port);
      callOff();
      beside.push(result.each);
      slowest = Math.max(slowest, result.slowest);
      turnedAway += result.turnedAway;
      await new Promise((resolve) => setTimeout(resolve, BACK_MS));
    }
    const ratio = spread(beside.map((value, pair) => value / (alone[pair] ?? Number.NaN)));
    print(
      `slow: ${SLOW_CLIENTS} slow clients ${who}: one honest mail takes ${showSpread(ratio, 2)} of its time alone (min / median / max of ` +
        `${PAIRS} pairs of ${MESSAGES} mails); alone ${showSpread(spread(alone), 1)} ms, beside ${showSpread(spread(beside), 1)} ms, ` +
        `slowest ${slowest.toFixed(0)} ms; turned away ${turnedAway} of ${PAIRS * MESSAGES + turnedAway}`,
    );
    await relay.stop();
  }
}
