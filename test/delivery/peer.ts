/** A scripted upstream: raw TCP, every octet kept, every misbehaviour possible. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';

const DISCARD_OVER = 65_536;
/** CRLF.CRLF. */
const LONGEST_END = 5;

/** One connection, from the server's side. */
export class Peer {
  readonly socket: Socket;
  /** All octets of the client, as they came. */
  received = Buffer.alloc(0);
  octets = 0;
  #read = 0;
  #space = Buffer.alloc(0);
  #stir: (() => void) | undefined;

  constructor(socket: Socket, discard: boolean) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.octets += chunk.length;
      this.#append(chunk);
      // A test of memory must not hold the message itself: what was read, and most of what waits, is let go.
      if (discard && this.received.length > DISCARD_OVER) {
        this.received = Buffer.from(this.received.subarray(-LONGEST_END));
        this.#read = 0;
      }
      this.#stir?.();
    });
    socket.on('end', () => this.#stir?.());
    socket.on('close', () => this.#stir?.());
    socket.on('error', () => this.#stir?.());
  }

  /** Into space that doubles: a large message comes in many pieces, and each must not copy all before it. */
  #append(chunk: Buffer): void {
    const before = this.received.length;
    if (before + chunk.length > this.#space.length) this.#space = Buffer.alloc(2 * (before + chunk.length));
    if (this.received.buffer !== this.#space.buffer) this.received.copy(this.#space);
    chunk.copy(this.#space, before);
    this.received = this.#space.subarray(0, before + chunk.length);
  }

  say(text: string): void {
    this.socket.write(text);
  }

  /** The next command line without CRLF; undefined where the client is gone. */
  async line(): Promise<string | undefined> {
    return (await this.#through('\r\n'))?.subarray(0, -2).toString();
  }

  /** Everything up to and with the lone dot, raw; undefined where the client went before. */
  async message(): Promise<Buffer | undefined> {
    return this.#through('\r\n.\r\n');
  }

  async closed(): Promise<void> {
    if (!this.socket.destroyed) await once(this.socket, 'close');
  }

  async #through(end: string): Promise<Buffer | undefined> {
    let searched = this.#read;
    for (;;) {
      if (searched > this.received.length) searched = 0; // discarded meanwhile
      const found = this.received.indexOf(end, Math.max(this.#read, searched));
      if (found >= 0) {
        const start = this.#read;
        this.#read = found + end.length;
        return Buffer.from(this.received.subarray(start, this.#read));
      }
      if (this.socket.destroyed || this.socket.readableEnded) return undefined;
      searched = Math.max(0, this.received.length - end.length);
      await new Promise<void>((resolve) => (this.#stir = resolve));
    }
  }
}

export interface ScriptedUpstream extends AsyncDisposable {
  readonly port: number;
  /** In the order they were made. */
  readonly peers: readonly Peer[];
}

export interface PeerOptions {
  /** Keep the last octets only. */
  readonly discard?: boolean;
  readonly port?: number;
}

/** `script` leads each connection; `index` counts them from 0. The connection stays open until the client or the script ends it. */
export async function scriptedUpstream(
  script: (peer: Peer, index: number) => Promise<void>,
  { discard = false, port = 0 }: PeerOptions = {},
): Promise<ScriptedUpstream> {
  const peers: Peer[] = [];
  const server = createServer((socket) => {
    const peer = new Peer(socket, discard);
    peers.push(peer);
    script(peer, peers.length - 1).catch((error: unknown) => socket.destroy(error instanceof Error ? error : undefined));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: portOf(server),
    peers,
    async [Symbol.asyncDispose]() {
      for (const peer of peers) peer.socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Replies of a transaction; each may be replaced, and `undefined` closes the connection in its stead. */
export interface Replies {
  readonly greeting?: string | undefined;
  readonly ehlo?: string | undefined;
  readonly mail?: string | undefined;
  readonly rcpt?: string | undefined;
  readonly data?: string | undefined;
  readonly dot?: string | undefined;
  readonly rset?: string | undefined;
}

export const goodReplies = {
  greeting: '220 upstream.test ESMTP\r\n',
  ehlo: '250-upstream.test\r\n250-PIPELINING\r\n250 SIZE 0\r\n',
  mail: '250 2.1.0 Ok\r\n',
  rcpt: '250 2.1.5 Ok\r\n',
  data: '354 go ahead\r\n',
  dot: '250 2.0.0 Ok: queued\r\n',
  rset: '250 2.0.0 Ok\r\n',
} as const;

/** What the upstream was sent in one transaction. */
export interface Transcript {
  readonly commands: string[];
  readonly messages: Buffer[];
  /** The last MAIL and RCPT in front of each message; kept where it is asked for. */
  readonly envelopes?: { readonly mail: string; readonly rcpt: string }[];
}

/** An upstream that speaks properly but for the replies that are replaced. */
export async function converse(peer: Peer, replaced: Replies = {}, transcript: Transcript = { commands: [], messages: [] }): Promise<void> {
  /** Looked up each time, so that a test may hand in a getter. */
  const say = (which: keyof Replies): boolean => {
    const reply = which in replaced ? replaced[which] : goodReplies[which];
    if (reply === undefined) peer.socket.destroy();
    else peer.say(reply);
    return reply?.startsWith('354') === true;
  };
  say('greeting');
  for (let line = await peer.line(); line !== undefined; line = await peer.line()) {
    transcript.commands.push(line);
    const verb = line.slice(0, 4).toUpperCase();
    if (verb === 'EHLO' || verb === 'HELO') say('ehlo');
    else if (verb === 'MAIL') say('mail');
    else if (verb === 'RCPT') say('rcpt');
    else if (verb === 'RSET') say('rset');
    else if (verb === 'QUIT') {
      peer.say('221 bye\r\n');
      peer.socket.end();
    } else if (verb === 'DATA') {
      if (!say('data')) continue;
      const message = await peer.message();
      if (message === undefined) return;
      transcript.messages.push(message);
      const last = (verb: RegExp): string => transcript.commands.findLast((command) => verb.test(command)) ?? '';
      transcript.envelopes?.push({ mail: last(/^MAIL/i), rcpt: last(/^RCPT/i) });
      say('dot');
    } else peer.say('500 what?\r\n');
  }
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  return address.port;
}
