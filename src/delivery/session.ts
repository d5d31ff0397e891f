/**
 * A connected SMTP session with one upstream: commands out, replies in. It says nothing by itself; connect.ts and transaction.ts
 * lead the conversation. A reply that nobody asked for, an end, an error: the session is broken and says why from then on.
 */
import type { Socket } from 'node:net';
import { SealpostError } from '../errors.ts';
import { ReplyReader, type UpstreamReply } from './reply.ts';
import type { TlsFacts } from './tls.ts';

/** Replies that may wait unread: a pipelined group has three. More is a flood. */
const MAX_WAITING_REPLIES = 8;

export class Session {
  /** EHLO keywords in upper case with their parameters (RFC 5321 §4.1.1.1), of the last EHLO on this very connection. */
  extensions: ReadonlyMap<string, string> = new Map();
  /** It was greeted by HELO, so that nobody knows what it can. */
  plainly = false;
  /** Null where the session is in clear. */
  readonly tls: TlsFacts | null;
  /** Nobody on the way can read it or be taken for the upstream: verified TLS, or both ends on this machine. */
  readonly isPrivate: boolean;
  /** Transactions begun. */
  transactions = 0;
  /** A transaction was refused half way: RSET before the next (RFC 5321 §4.1.1.5). */
  needsReset = false;
  /** Called once when an idle session breaks or is spoken to; the pool drops it. */
  onDisturbed: (() => void) | undefined;

  readonly #socket: Socket;
  readonly #reader = new ReplyReader();
  readonly #replies: UpstreamReply[] = [];
  #failure: SealpostError | undefined;
  #wake: (() => void) | undefined;

  /** `socket` is connected and has no listeners of others left that read; `isLocal`: it leads to this machine. */
  constructor(socket: Socket, tls: TlsFacts | null, isLocal = false) {
    this.#socket = socket;
    this.tls = tls;
    this.isPrivate = isLocal || tls?.verified === true;
    socket.on('data', this.#take);
    socket.on('drain', this.#drained);
    socket.on('end', this.#ended);
    socket.on('close', this.#closed);
    socket.on('error', this.#failed);
    if (socket.destroyed || socket.readableEnded) this.#closed();
  }

  /** True where a new command may be sent: nothing broke, nothing stands unread. */
  get usable(): boolean {
    return this.#failure === undefined && this.#replies.length === 0 && !this.#reader.midway;
  }

  /** A reply that came while none was awaited; stays there. */
  get early(): UpstreamReply | undefined {
    return this.#replies[0];
  }

  /** Throws what broke the session; breaks it where anything stands unread. */
  assertUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.usable) throw this.#break(new SealpostError('upstream-protocol', { detail: 'a reply that nobody asked for' }));
  }

  /** Hands the socket on to TLS. This session is over, and so is all that was said in it (A5); throws where anything stands unread. */
  release(): Socket {
    this.assertUsable();
    this.#failure = new SealpostError('upstream-lost', { detail: 'the session went on under TLS' });
    this.#socket.pause();
    this.#socket.off('data', this.#take);
    this.#socket.off('drain', this.#drained);
    this.#socket.off('end', this.#ended);
    this.#socket.off('close', this.#closed);
    this.#socket.off('error', this.#failed);
    return this.#socket;
  }

  /** From now on no text of a reply holds one of these: an upstream may quote what it was sent, and much later. */
  conceal(secrets: readonly string[]): void {
    // The longest first: a shorter one may be part of it.
    const octets = secrets.map((secret) => Buffer.from(secret, 'utf8').toString('latin1'));
    this.#reader.secrets = octets.toSorted((a, b) => b.length - a.length);
  }

  /** Sends command lines, each without its CRLF, in one segment where they fit. Throws where the session is not usable. */
  send(...commands: readonly string[]): void {
    this.assertUsable();
    this.#socket.write(commands.map((command) => `${command}\r\n`).join(''), 'utf8');
  }

  /** The next reply, waited for at most `timeout` ms. Rejects with an upstream-* error; the session is then broken. */
  async reply(timeout: number): Promise<UpstreamReply> {
    await this.#until(() => this.#replies.length > 0, timeout);
    const reply = this.#replies.shift();
    if (reply !== undefined) return reply;
    throw this.#failure ?? new SealpostError('internal');
  }

  /**
   * Writes octets and waits until the socket wants more, at most `timeout` ms. Resolves early where a reply came in: look at
   * `early`. Rejects where the session broke.
   */
  async write(octets: Buffer, timeout: number): Promise<void> {
    if (this.#failure === undefined && !this.#gather().write(octets)) {
      await this.#until(() => this.#replies.length > 0 || !this.#socket.writableNeedDrain, timeout);
    }
    if (this.#failure !== undefined && this.#replies.length === 0) throw this.#failure;
  }

  /** Drops the connection at once; what was written and not yet sent is gone. */
  destroy(cause: SealpostError): void {
    this.#break(cause);
    this.#socket.destroy();
  }

  /** QUIT, and the end within `timeout` ms whatever the upstream does. Never rejects. */
  async quit(timeout: number): Promise<void> {
    try {
      this.send('QUIT');
      await this.reply(timeout);
    } catch {
      // It is closed either way: a QUIT that is not answered costs nothing.
    }
    this.destroy(new SealpostError('upstream-lost', { detail: 'the session is over' }));
  }

  /** What is written within one turn leaves in one segment: a small message would else cost a system call for each piece. */
  #gather(): Socket {
    if (this.#socket.writableCorked === 0) {
      this.#socket.cork();
      setImmediate(() => this.#socket.uncork());
    }
    return this.#socket;
  }

  readonly #take = (chunk: Buffer): void => {
    if (this.#failure !== undefined) return;
    try {
      // One by one: those that were whole before the fault have been answered, and count.
      for (const reply of this.#reader.push(chunk)) {
        this.#replies.push(reply);
        if (this.#replies.length > MAX_WAITING_REPLIES)
          throw new SealpostError('upstream-protocol', { detail: 'replies that nobody asked for' });
      }
    } catch (error) {
      this.destroy(error instanceof SealpostError ? error : new SealpostError('internal', { cause: error }));
    }
    this.#stir();
  };

  readonly #drained = (): void => this.#wake?.();
  readonly #ended = (): void => void this.#break(new SealpostError('upstream-lost', { detail: 'the upstream closed the connection' }));
  readonly #closed = (): void => void this.#break(new SealpostError('upstream-lost', { detail: 'the connection is closed' }));
  readonly #failed = (cause: Error): void => void this.#break(lost(cause));

  #break(cause: SealpostError): SealpostError {
    this.#failure ??= cause;
    this.#stir();
    return this.#failure;
  }

  #stir(): void {
    this.#wake?.();
    this.onDisturbed?.();
  }

  /** Resolves when `ready` holds or the session broke; breaks it itself when `timeout` ms are over. */
  async #until(ready: () => boolean, timeout: number): Promise<void> {
    if (ready() || this.#failure !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = () => {
      if (ready() || this.#failure !== undefined) resolve();
    };
    const timer = setTimeout(() => {
      this.destroy(new SealpostError('upstream-silent', { detail: `waited ${timeout} ms` }));
    }, timeout);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#wake = undefined;
    }
  }
}

/** The code of a system error says what happened; its text may name what no log should hold. */
function lost(cause: Error & { readonly code?: unknown }): SealpostError {
  const detail = typeof cause.code === 'string' ? { detail: cause.code } : {};
  // TLS 1.3 refuses a client certificate only once the handshake is over.
  return new SealpostError(detail.detail?.startsWith('ERR_SSL_') === true ? 'upstream-tls-failed' : 'upstream-lost', { cause, ...detail });
}
