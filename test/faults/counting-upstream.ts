/**
 * An upstream that counts: of every message whose end it was told, for whom it was, what it answered, and the hash of its octets. It keeps
 * no message, so that a hundred thousand of them cost it little; who wants to look into one does so as it comes.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { LOOPBACK } from '../interop/ports.ts';

const END = '\r\n.\r\n';

/** `took`: the upstream has it. A reply that is undefined: the connection is cut in its stead. */
export interface Answer {
  readonly took: boolean;
  readonly reply: string | undefined;
}

export interface Copy {
  /** The left side of its Message-ID; '' where it has none. */
  readonly id: string;
  readonly recipient: string;
  readonly sha256: string;
  readonly answer: Answer;
  readonly at: number;
}

export interface CountingUpstream {
  readonly port: number;
  readonly copies: readonly Copy[];
  stop(): Promise<void>;
}

export interface CountingOptions {
  /** What RCPT is answered with; the usual 250 where it is undefined. */
  readonly atRcpt?: (recipient: string) => string | undefined;
  /** What the dot is answered with. `octets`: the message without its dots. */
  readonly atDot?: (copy: Pick<Copy, 'id' | 'recipient'>, octets: Buffer) => Answer;
  readonly port?: number;
}

export const TAKEN: Answer = { took: true, reply: '250 2.0.0 Ok: counted' };

export async function countingUpstream({ atRcpt, atDot = () => TAKEN, port = 0 }: CountingOptions = {}): Promise<CountingUpstream> {
  const copies: Copy[] = [];
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    serve(socket, {
      atRcpt: (recipient) => atRcpt?.(recipient) ?? '250 2.1.5 Ok',
      take(recipient, stuffed) {
        const octets = unstuffed(stuffed);
        const id = /^Message-ID: <([^@>]*)@/im.exec(headerOf(octets))?.[1] ?? '';
        const answer = atDot({ id, recipient }, octets);
        copies.push({ id, recipient, sha256: createHash('sha256').update(octets).digest('hex'), answer, at: Date.now() });
        return answer.reply;
      },
    });
  });
  server.listen(port, LOOPBACK);
  await once(server, 'listening');
  const address = server.address();
  return {
    port: address === null || typeof address === 'string' ? 0 : address.port,
    copies,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

interface Session {
  readonly atRcpt: (recipient: string) => string;
  readonly take: (recipient: string, stuffed: Buffer) => string | undefined;
}

/** Commands may come in one segment (RFC 2920); each is answered in its turn. */
function serve(socket: Socket, { atRcpt, take }: Session): void {
  let waiting: Buffer[] = [];
  let recipient = '';
  let inData = false;
  const say = (line: string): unknown => socket.write(`${line}\r\n`);
  const command = (line: string): void => {
    const verb = line.slice(0, 4).toUpperCase();
    if (verb === 'EHLO') say('250-upstream.example\r\n250-PIPELINING\r\n250 SIZE 0');
    else if (verb === 'RCPT') {
      recipient = /<(.*?)>/.exec(line)?.[1] ?? '';
      say(atRcpt(recipient));
    } else if (verb === 'DATA') {
      inData = true;
      say('354 go ahead');
    } else if (verb === 'QUIT') socket.end('221 2.0.0 bye\r\n');
    else say('250 2.0.0 Ok');
  };
  say('220 upstream.example ESMTP');
  socket.on('data', (chunk: Buffer) => {
    waiting.push(chunk);
    // The end of a message is looked for where it can be: in the last octets of what came.
    if (inData && !Buffer.concat(waiting.slice(-3)).includes(END)) return;
    let text = Buffer.concat(waiting);
    for (;;) {
      const end = text.indexOf(inData ? END : '\r\n');
      if (end < 0) break;
      if (inData) {
        inData = false;
        const reply = take(recipient, text.subarray(0, end + 2));
        if (reply === undefined) return void socket.destroy();
        say(reply);
        text = text.subarray(end + END.length);
      } else {
        command(text.toString('latin1', 0, end));
        text = text.subarray(end + 2);
      }
    }
    waiting = text.length === 0 ? [] : [text];
  });
}

const headerOf = (octets: Buffer): string => `${octets.toString('latin1', 0, Math.max(0, octets.indexOf('\r\n\r\n')))}\r\n`;

const unstuffed = (octets: Buffer): Buffer => {
  const text = octets.toString('latin1');
  return text.startsWith('.') || text.includes('\n.') ? Buffer.from(text.replaceAll(/(^|\n)\.\./g, '$1.'), 'latin1') : octets;
};
