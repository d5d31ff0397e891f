/** One-message clients, as form scripts are: connect, one mail, QUIT. Raw sockets, so that the generator costs little of what it measures. */
import { connect, type Socket } from 'node:net';
import process from 'node:process';
import { LOOPBACK } from '../interop/ports.ts';

export interface Load {
  readonly port: number;
  /** How many are connected at a time. */
  readonly clients: number;
  readonly messages: number;
  /** Octets of each message, header included; at least 400. */
  readonly octets: number;
  readonly from: string;
  /** One recipient, or several of each message. */
  readonly to: string | readonly string[];
}

export interface LoadResult {
  readonly seconds: number;
  readonly perSecond: number;
  /** Milliseconds from connect to the reply after QUIT. */
  readonly median: number;
  readonly slowest: number;
  /** Milliseconds from the end of the message to its 250, the quickest first. */
  readonly queued: readonly number[];
}

const LINE = 76;

/** A plain mail of exactly `octets`, without its dot; no line of it starts with one. */
export function mailOf(octets: number, { from, to, id }: { from: string; to: string; id: string }): Buffer {
  const header = [
    `From: <${from}>`,
    `To: <${to}>`,
    'Subject: New intake form',
    'Date: Mon, 23 Nov 2026 08:00:00 +0000',
    `Message-ID: <${id}@load.example>`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=us-ascii',
    '',
    '',
  ].join('\r\n');
  const length = octets - header.length;
  if (length < LINE + 4) throw new Error(`${octets} octets are too few for a mail`);
  const line = `${'form data '.repeat(8).slice(0, LINE)}\r\n`;
  const full = Math.floor((length - 2) / line.length) - 1;
  return Buffer.from(`${header}${line.repeat(full)}${'x'.repeat(length - full * line.length - 2)}\r\n`, 'latin1');
}

/** Resolves with the next whole reply; rejects where it is not of the class wanted or the connection ends first. */
export function makeReplies(socket: Socket): (wanted: string) => Promise<void> {
  let text = '';
  let waiting: { wanted: string; resolve: () => void; reject: (error: Error) => void } | undefined;
  const settle = (): void => {
    const last = /^(?:\d{3}-[^\n]*\n)*(\d{3}) ?[^\n]*\n/.exec(text);
    if (last === null || waiting === undefined) return;
    const { wanted, resolve, reject } = waiting;
    waiting = undefined;
    text = text.slice(last[0].length);
    if (last[1]?.startsWith(wanted) === true) resolve();
    else reject(new Error(`wanted ${wanted}, got ${last[0].trim()}`));
  };
  const fail = (error: Error): void => waiting?.reject(error);
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    settle();
  });
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the connection ended')));
  return (wanted) =>
    new Promise((resolve, reject) => {
      waiting = { wanted, resolve, reject };
      settle();
    });
}

/** Ms of all of it, and from the dot to its 250. */
async function sendOne(load: Load, number: number): Promise<readonly [all: number, queued: number]> {
  const start = performance.now();
  let queued = Number.NaN;
  const socket = connect({ port: load.port, host: LOOPBACK, noDelay: true });
  const reply = makeReplies(socket);
  const recipients = [load.to].flat();
  const say = (line: string, wanted: string): Promise<void> => {
    const answered = reply(wanted);
    socket.write(`${line}\r\n`);
    return answered;
  };
  try {
    await reply('220');
    await say('EHLO load.example', '250');
    await say(`MAIL FROM:<${load.from}>`, '250');
    for (const recipient of recipients) await say(`RCPT TO:<${recipient}>`, '250');
    await say('DATA', '354');
    const taken = reply('250');
    const ended = performance.now();
    socket.write(
      Buffer.concat([
        mailOf(load.octets, { from: load.from, to: recipients[0] ?? '', id: `${process.pid}.${number}` }),
        Buffer.from('.\r\n'),
      ]),
    );
    await taken;
    queued = performance.now() - ended;
    await say('QUIT', '221');
  } finally {
    socket.destroy();
  }
  return [performance.now() - start, queued];
}

/** Sends all messages; resolves when the last 250 is there. One refusal rejects. */
export async function sendLoad(load: Load): Promise<LoadResult> {
  const start = performance.now();
  const times: number[] = [];
  const queued: number[] = [];
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < load.messages) {
      const [all, dot] = await sendOne(load, next++);
      times.push(all);
      queued.push(dot);
    }
  };
  await Promise.all(Array.from({ length: load.clients }, client));
  const seconds = (performance.now() - start) / 1000;
  for (const list of [times, queued]) list.sort((a, b) => a - b);
  return { seconds, perSecond: load.messages / seconds, median: times[times.length >> 1] ?? 0, slowest: times.at(-1) ?? 0, queued };
}
