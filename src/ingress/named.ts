/**
 * A connection whose client may be named by somebody else: a listed address says by XCLIENT for whom it speaks. The session then
 * starts over as that client's, and nothing that was shown before counts for it: neither a login nor a certificate of the proxy.
 */
import type { Socket } from 'node:net';
import type { SMTPServer } from 'smtp-server';
import type { SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection';
import { SealpostError } from '../errors.ts';
import { believe } from './announced.ts';
import { Connection } from './connection.ts';
import type { Peer, Terms } from './identity.ts';
import { isListed } from '../message/networks.ts';
import type { Shared } from './shared.ts';
import { type Assumed, readXclient, XCLIENT_OFFER } from './xclient.ts';

export abstract class NamedConnection extends Connection {
  readonly #shared: Shared;
  #listed: boolean;
  /** True once the client is named: what comes behind it may be the client's own words. */
  #named = false;

  constructor(server: SMTPServer, socket: Socket, options: SMTPConnectionOptions | null | undefined, shared: Shared, terms: Terms) {
    super(server, socket, options, shared, terms);
    this.#shared = shared;
    this.#listed = isListed(shared.networks, this.remoteAddress);
  }

  override get peer(): Peer {
    return { address: this.remoteAddress, listed: this.#listed };
  }

  /** Sets what HELO or EHLO said. */
  abstract greetedAs(helo: string, extended: boolean): void;

  /** Listed addresses only, and once: for all others XCLIENT is a command that does not exist (A15). */
  get #mayName(): boolean {
    return !this.#named && isListed(this.#shared.xclients, this._originalRemoteAddress);
  }

  override _isSupported(command: string): boolean {
    return command === 'XCLIENT' ? this.#mayName : super._isSupported(command);
  }

  /** The reply to EHLO is the only one of several lines. */
  override send(code: number, data?: string | string[] | null, context?: string | false): void {
    super.send(code, Array.isArray(data) && this.#mayName ? [...data, XCLIENT_OFFER] : data, context);
  }

  override handler_XCLIENT(command: Buffer, callback: () => void): void {
    try {
      if (this.inTransaction) throw new SealpostError('command-out-of-order', { detail: 'a message is under way' });
      this.#assume(readXclient(command));
      this._sendGreeting();
    } catch (thrown) {
      this.refuse(thrown, 'XCLIENT');
    }
    callback();
  }

  #assume({ address, port, helo, extended }: Assumed): void {
    if (address !== undefined) {
      const proxy = this._originalRemoteAddress;
      this.remoteAddress = believe(address, proxy);
      this.#listed = isListed(this.#shared.networks, this.remoteAddress);
      this.#named = true;
      this.#shared.log.debug({ session: this.id, client: this.remoteAddress, proxy }, 'client named by XCLIENT');
    }
    if (port !== undefined) this.remotePort = port;
    this.identity.assumed();
    // Where the proxy said them, the client need not say them again.
    this.hostNameAppearsAs = helo?.toLowerCase() ?? false;
    this.greetedAs(helo ?? '', extended ?? false);
    this._resetSession();
  }
}
