/**
 * An SMTP dialogue over a raw socket: what is written is what goes over the wire, since libraries mend exactly the faults that
 * tests want to send. Every wait has its own end, and a failed one shows what came instead.
 */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';

const WAIT_MS = 5000;

export interface Dialogue {
  /** Writes as it stands; a string as UTF-8, with a CRLF added where `line` is used instead. */
  send(text: string | Buffer): void;
  line(text: string): void;
  /** The next whole reply, continuation lines included, as its lines without CRLF; it must match. */
  expect(pattern: RegExp): Promise<string[]>;
  /** `line`, then `expect`. */
  ask(text: string, pattern: RegExp): Promise<string[]>;
  /** Reads nothing any more. */
  pause(): void;
  /** STARTTLS, and the handshake behind its 220; rejects where TLS does not come to stand. */
  startTls(options?: ConnectionOptions): Promise<TLSSocket>;
  /** The handshake alone. */
  encrypt(options?: ConnectionOptions): Promise<TLSSocket>;
  /** Octets that left this process so far. */
  flushed(): number;
  /** Resolves when the server has closed; fails where another reply comes first, unless `ignoreReplies`. */
  closed(ignoreReplies?: boolean): Promise<void>;
  /** True once the connection is gone. */
  over(): boolean;
  /** Ends its own side, and listens on where it was opened with `allowHalfOpen`. */
  end(): void;
  /** Goes away: at once with a reset, or politely. */
  reset(): void;
  close(): void;
}

export interface DialogueOptions {
  readonly host?: string;
  /** Where the socket comes from, to be another client than 127.0.0.1. */
  readonly localAddress?: string;
  /** Leaves its own side open when the server has closed. */
  readonly allowHalfOpen?: boolean;
  /** TLS from the first octet. */
  readonly tls?: ConnectionOptions;
  /** For how long a reply is waited for; five seconds where it is not given. */
  readonly waitMs?: number;
}

/** Connects; the greeting is the first reply to expect. */
export async function dialogue(port: number, options: DialogueOptions = {}): Promise<Dialogue> {
  const below = connect({
    port,
    host: options.host ?? '127.0.0.1',
    allowHalfOpen: options.allowHalfOpen ?? false,
    ...(options.localAddress ? { localAddress: options.localAddress } : {}),
  });
  let socket: Socket = below;
  socket.setNoDelay(true);
  let received = '';
  let over = false;
  let wake = (): void => undefined;
  const take = (octets: Buffer): void => {
    received += octets.toString('latin1');
    wake();
  };
  socket.on('error', () => undefined);
  socket.on('close', () => {
    over = true;
    wake();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  /** From here on what is said and heard is encrypted. No name is checked: tests that care look at the certificate. */
  const encrypt = async (asked: ConnectionOptions = {}): Promise<TLSSocket> => {
    socket.off('data', take);
    const secure = connectTls({ socket, rejectUnauthorized: false, ...asked });
    await new Promise<void>((resolve, reject) => {
      secure.once('secureConnect', resolve);
      secure.once('error', reject);
      secure.once('close', () => reject(new Error('closed in the handshake')));
    });
    secure.on('error', () => undefined);
    secure.on('data', take);
    socket = secure;
    return secure;
  };
  if (options.tls === undefined) socket.on('data', take);
  else await encrypt(options.tls);

  const until = async (ready: () => boolean, what: string): Promise<void> => {
    const deadline = Date.now() + (options.waitMs ?? WAIT_MS);
    while (!ready()) {
      const left = deadline - Date.now();
      assert.ok(left > 0 && !over, `${what}; ${over ? 'closed' : 'open'}, received ${JSON.stringify(received)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  };

  const expect = async (pattern: RegExp): Promise<string[]> => {
    const whole = /^(?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?\r\n/;
    await until(() => whole.test(received), `no reply like ${String(pattern)}`);
    const reply = whole.exec(received)?.[0] ?? '';
    received = received.slice(reply.length);
    assert.match(reply.trimEnd(), pattern);
    return reply.trimEnd().split('\r\n');
  };
  const line = (text: string): void => void socket.write(`${text}\r\n`);
  const ask = (text: string, pattern: RegExp): Promise<string[]> => {
    line(text);
    return expect(pattern);
  };

  return {
    send: (text) => void socket.write(text),
    line,
    expect,
    ask,
    startTls: async (asked) => {
      await ask('STARTTLS', /^220 2\.0\.0 /);
      return encrypt(asked);
    },
    encrypt,
    pause: () => void socket.pause(),
    flushed: () => socket.bytesWritten - socket.writableLength,
    closed: async (ignoreReplies = false) => {
      await until(() => over || (!ignoreReplies && received !== ''), 'still open');
      if (!ignoreReplies) assert.equal(received, '');
    },
    over: () => over,
    end: () => void socket.end(),
    reset: () => void below.resetAndDestroy(),
    close: () => void socket.destroy(),
  };
}
