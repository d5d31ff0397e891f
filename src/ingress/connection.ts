/**
 * What of an SMTP session comes before mail: encryption, at the first octet or by STARTTLS (RFC 3207), and AUTH (RFC 4954).
 * Who the client is, identity.ts keeps; the commands of a transaction are in session.ts.
 *
 * A connection is in clear, then in a handshake, in which nothing is said and no command is taken, then encrypted. Whatever it
 * knew is forgotten in between. A login may come in either of the first and the last; another handshake does not.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { SMTPServer } from 'smtp-server';
import { SMTPConnection, type SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection';
import { beginAuth, type AuthStep } from './auth.ts';
import type { Step } from './deadlines.ts';
import { stayAnswerable } from './half-open.ts';
import { Identity, type Peer, type Terms } from './identity.ts';
import type { Shared } from './shared.ts';
import { HANDSHAKE_MS, startTls } from './tls.ts';

export abstract class Connection extends SMTPConnection {
  readonly identity: Identity;
  readonly #shared: Shared;
  readonly #terms: Terms;
  /** Aborted once nobody listens to replies any more. */
  readonly #gone = new AbortController();
  #handshake: TLSSocket | undefined;
  /** While EHLO is answered. */
  #listing = false;

  constructor(server: SMTPServer, socket: Socket, options: SMTPConnectionOptions | null | undefined, shared: Shared, terms: Terms) {
    super(server, socket, options);
    this.#shared = shared;
    this.#terms = terms;
    stayAnswerable(socket);
    this.identity = new Identity({ terms, users: shared.users, penalties: shared.penalties, now: shared.now });
  }

  abstract get peer(): Peer;

  /** Replies with what the error table says. */
  abstract refuse(thrown: unknown, command: string): void;

  /** Came nearer to a message. */
  abstract reached(step: Step): void;

  /** Whether MAIL was said. */
  abstract get inTransaction(): boolean;

  /** Whether the listener wants TLS from the first octet. */
  get encryptedFirst(): boolean {
    return this.#terms.tls?.mode === 'implicit';
  }

  /** As smtp-server's; on a listener with implicit TLS nothing else happens before the handshake. */
  override _setListeners(callback: () => void): void {
    super._setListeners(() => {
      if (this.encryptedFirst) this.upgrade(NOTHING, callback);
      else callback();
    });
  }

  /**
   * In the place of smtp-server's, which takes all listeners off the socket, gives a handshake all the time it wants and keeps
   * its socket from a stop. What arrived in clear behind STARTTLS is in the parser or below it: the parser is retired with all
   * that it holds, and what is still below it is no ClientHello (A4).
   */
  override upgrade(callback: () => void, secureCallback?: () => void): void {
    const { tls } = this.#terms;
    const below = this._socket;
    if (tls === undefined || this._parser === false) return callback();
    below.unpipe(this._parser);
    this._parser.isClosed = true;
    this._parser = this._createParser();
    this._upgrading = true;
    this.reached('starttls');
    setImmediate(callback);
    const socket = startTls(below, {
      terms: tls,
      withinMs: this.#shared.limits.handshakeMs ?? HANDSHAKE_MS,
      sockets: this.#shared.sockets,
      onSecure: () => this.#secured(socket, secureCallback),
      onError: (error: Error & { code?: string }) => {
        if (!this._upgrading) return this._onError(error);
        this.#shared.log.info(
          { session: this.id, client: this.remoteAddress, reason: error.code ?? error.message },
          'TLS handshake failed',
        );
      },
    });
    this.#handshake = socket;
  }

  /** RFC 3207 §4.2: whatever was learnt before TLS is forgotten, and the client says EHLO again. */
  #secured(socket: TLSSocket, next: () => void = NOTHING): void {
    if (this._parser === false || this._closing) return void socket.destroy();
    this._upgrading = false;
    stayAnswerable(socket);
    this._socket = socket;
    this.session.secure = this.secure = true;
    this.hostNameAppearsAs = this.openingCommand = false;
    this.identity.secured(socket);
    this._resetSession();
    this._armTimeout();
    this.reached('encrypted');
    socket.pipe(this._parser);
    next();
  }

  override close(): void {
    this.#gone.abort(GONE);
    // Nothing can be said in the middle of a handshake, and it is torn down from above.
    if (this._upgrading) this.#handshake?.destroy();
    super.close();
  }

  override _onClose(): void {
    this.#gone.abort(GONE);
    super._onClose();
  }

  /** What EHLO lists may be less than what is known: a command that is known gets its own refusal. */
  override _isDisabled(command: string): boolean {
    if (command === 'STARTTLS') return this.#terms.tls?.mode !== 'starttls';
    if (command === 'AUTH') return this.#listing ? !this.identity.offersAuth(this.peer) : !this.identity.knowsAuth;
    return super._isDisabled(command);
  }

  override handler_EHLO(command: Buffer, callback: () => void): void {
    this.#listing = true;
    super.handler_EHLO(command, () => {
      this.#listing = false;
      callback();
    });
  }

  override handler_AUTH(command: Buffer, callback: () => void): void {
    this.#converse(() => {
      this.identity.assertMayLogIn(this.peer, this.inTransaction);
      return beginAuth(command);
    }, callback);
  }

  /** Whether `line` is one of an AUTH exchange, which may be longer than others. */
  isLoginLine(line: Buffer): boolean {
    return this._nextHandler !== false || /^AUTH /i.test(line.toString('latin1', 0, 5));
  }

  /** One line of an AUTH exchange, the command itself or an answer to a challenge. */
  #converse(read: () => AuthStep, callback: () => void): void {
    this.#authenticate(read)
      .catch((thrown: unknown) => this.refuse(thrown, 'AUTH'))
      .finally(() => setImmediate(callback));
  }

  async #authenticate(read: () => AuthStep): Promise<void> {
    const step = read();
    if (step.kind === 'ask') {
      this.reached(`asked ${step.challenge}`);
      this._nextHandler = (line, callback) => this.#converse(() => step.answer(line), callback);
      return this.send(334, step.challenge, false);
    }
    await this.identity.logIn(step.name, step.password, this.peer, this.#gone.signal);
    this.#shared.log.debug({ session: this.id, client: this.remoteAddress, user: this.identity.user?.name }, 'logged in');
    this.send(235, '2.7.0 logged in', false);
  }
}

const NOTHING = (): void => undefined;
/** One for all: to make a reason with its stack costs more than the rest of an end. */
const GONE = new Error('the client is gone');
