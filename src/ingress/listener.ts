import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { SMTPServer } from 'smtp-server';
import type { SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection';
import { SealpostError } from '../errors.ts';
import { MECHANISMS } from './auth.ts';
import { LINGERING_SOCKETS } from './caps.ts';
import { MAX_AUTH_LINE } from './command.ts';
import type { Terms } from './identity.ts';
import { isListed } from '../message/networks.ts';
import { clientOf, takeProxyHeader } from './proxy.ts';
import { Session } from './session.ts';
import type { Shared } from './shared.ts';

export interface Address {
  readonly host: string;
  /** 0 lets the system choose; what it chose is what `open` answers. */
  readonly port: number;
}

/**
 * The system's last word on sockets: sessions and those that linger stay far below it. Beyond it connections are dropped unsaid.
 */
const SPARE_SOCKETS = 4 * LINGERING_SOCKETS;

/** Milliseconds for what comes before the greeting: a TLS handshake. */
const HANDSHAKE_MS = 30_000;

/** Not offered: what trusts the client's word about itself, and smtp-server's jokes. AUTH, STARTTLS and XCLIENT each session judges itself. */
const DISABLED_COMMANDS = ['XFORWARD', 'WIZ', 'SHELL', 'KILL'];

/** One listener; all listeners of an ingress share their limits. */
export class Listener extends SMTPServer {
  readonly #shared: Shared;
  readonly #terms: Terms;

  constructor(shared: Shared, terms: Terms) {
    super({
      name: shared.hostname,
      heloResponse: '%s',
      size: shared.limits.messageBytes,
      // Else the replies that are still to come would be cut off where a client ends its side: half-open.ts.
      allowHalfOpen: true,
      // For what precedes a session; within one, deadlines.ts counts.
      socketTimeout: Math.min(shared.timeouts.command, HANDSHAKE_MS),
      maxCommandLength: MAX_AUTH_LINE,
      disabledCommands: DISABLED_COMMANDS,
      // Whoever is in clients.networks need not log in; who must, is told at MAIL.
      authOptional: true,
      authMethods: [...MECHANISMS],
      hideENHANCEDSTATUSCODES: false,
      hideDSN: false,
      // A name from reverse DNS is worth nothing here, and the look-up would hold the greeting back.
      disableReverseLookup: true,
      logger: false,
    });
    this.#shared = shared;
    this.#terms = terms;
    this.server.maxConnections = shared.limits.connections + SPARE_SOCKETS;
    // Without a listener of its own an 'error' event would end the process.
    this.on('error', (error) => {
      if (this.server.listening) shared.log.info({ err: error }, 'connection broke');
    });
  }

  /** Before anything else on the connection, TLS among it. */
  override _expectsProxyHeader(socket: Socket): boolean {
    return isListed(this.#shared.proxies, socket.remoteAddress ?? '');
  }

  override _handleProxy(socket: Socket, callback: (error: Error | null, options?: SMTPConnectionOptions & { id: string }) => void): void {
    if (!this._expectsProxyHeader(socket)) return super._handleProxy(socket, callback);
    const { sockets, log } = this.#shared;
    const proxy = socket.remoteAddress ?? '';
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // A connection that breaks before its session has nobody else to hear of it.
    socket.on('error', () => undefined);
    takeProxyHeader(socket, (announced) => {
      if (announced.kind !== 'fault') return callback(null, { id: randomUUID(), ...clientOf(announced, proxy) });
      log.info({ proxy, fault: announced.fault }, 'connection without a PROXY header refused');
      socket.destroy();
      callback(new SealpostError('not-smtp', { detail: announced.fault }));
    });
  }

  override connect(socket: Socket, options?: SMTPConnectionOptions | null): void {
    const { sockets, sessions } = this.#shared;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const session = new Session(this, socket, options, this.#shared, this.#terms);
    sessions.add(session);
    session.on('error', (error: Error) => this._onError(error));
    session.init();
  }

  override onConnect(_session: unknown, callback: (error?: Error | null) => void): void {
    callback();
  }

  /** Throws `listen-failed` with the address. */
  async open({ host, port }: Address): Promise<Address> {
    try {
      this.server.listen(port, host);
      await once(this.server, 'listening');
    } catch (cause) {
      throw new SealpostError('listen-failed', { detail: `${host.includes(':') ? `[${host}]` : host}:${port}`, cause });
    }
    const bound = this.server.address();
    return { host, port: bound !== null && typeof bound === 'object' ? bound.port : port };
  }

  /** Stops listening at once; resolves when the last of its sockets is closed. */
  async shut(): Promise<void> {
    if (!this.server.listening) return;
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
