/**
 * Who the client of one session is, and what that allows: whether the session is encrypted, who logged in, by AUTH or by a
 * certificate, and so whether AUTH may be said and mail handed in. RSET changes nothing of it; TLS makes all of it anew.
 */
import type { TLSSocket } from 'node:tls';
import { SealpostError } from '../errors.ts';
import { isLoopbackAddress } from './announced.ts';
import { MAX_FAILURES, type Penalties } from './penalty.ts';
import { peerFingerprint, type TlsTerms } from './tls.ts';
import type { Login, User, Users } from './users/users.ts';

/** What one listener asks of its clients. */
export interface Terms {
  /** Undefined where the listener has no TLS. */
  readonly tls: TlsTerms | undefined;
  /** Whether AUTH is offered, once there are users; `required`: whoever did not log in hands in nothing. */
  readonly auth: 'off' | 'optional' | 'required';
}

export interface IdentityOptions {
  readonly terms: Terms;
  readonly users: Users | undefined;
  readonly penalties: Penalties;
  /** ms */
  readonly now: () => number;
}

/** The peer as the session knows it now: another one once XCLIENT or PROXY told who is behind it. */
export interface Peer {
  readonly address: string;
  /** In clients.networks. */
  readonly listed: boolean;
}

type Accepted = Extract<Login, { readonly kind: 'accepted' }>;

export class Identity {
  readonly #options: IdentityOptions;
  #tls: string | null = null;
  #user: User | undefined;
  /** By AUTH, not by a certificate. */
  #login: Accepted | undefined;
  /** Of the client's certificate; undefined where none was shown. */
  #fingerprint: string | undefined;
  #failures = 0;

  constructor(options: IdentityOptions) {
    this.#options = options;
  }

  /** `TLSv1.3`; null in clear. */
  get tls(): string | null {
    return this.#tls;
  }

  get user(): User | null {
    return this.#user ?? null;
  }

  /** RFC 3848; RFC 6531 §4.3 where the transaction asked for SMTPUTF8. HELO has no other words than SMTP. */
  protocol(extended: boolean, smtputf8: boolean): string {
    if (!extended && !smtputf8) return 'SMTP';
    return `${smtputf8 ? 'UTF8SMTP' : 'ESMTP'}${this.#tls === null ? '' : 'S'}${this.#login === undefined ? '' : 'A'}`;
  }

  /** TLS stands: whatever was learnt in clear is forgotten (RFC 3207 §4.2). */
  secured(socket: TLSSocket): void {
    this.#tls = socket.getProtocol();
    this.#user = undefined;
    this.#login = undefined;
    this.#fingerprint = peerFingerprint(socket, this.#options.now());
  }

  /** Another client is behind the connection now (XCLIENT): what the proxy showed of itself is not the client's. */
  assumed(): void {
    this.#user = undefined;
    this.#login = undefined;
    this.#fingerprint = undefined;
  }

  /** Whether AUTH is a command here at all, allowed now or not. */
  get knowsAuth(): boolean {
    return this.#options.users !== undefined && this.#options.terms.auth !== 'off';
  }

  /** Whether EHLO lists AUTH: passwords go over TLS, or stay on the machine. */
  offersAuth(peer: Peer): boolean {
    return this.knowsAuth && this.#login === undefined && this.#isPrivate(peer);
  }

  /** Throws where AUTH may not be said now. */
  assertMayLogIn(peer: Peer, inTransaction: boolean): void {
    if (!this.#isPrivate(peer)) throw new SealpostError('encryption-required');
    if (this.#login !== undefined) throw new SealpostError('command-out-of-order', { detail: 'you are logged in already' });
    if (inTransaction) throw new SealpostError('command-out-of-order', { detail: 'AUTH stands before MAIL' });
  }

  /** Resolves once the client is logged in; throws the reply, late where it is a refusal. `gone`: nobody waits for it any more. */
  async logIn(name: string, password: string, peer: Peer, gone: AbortSignal): Promise<void> {
    const login = (await this.#options.users?.login(name, password, peer.address)) ?? { kind: 'unavailable' };
    switch (login.kind) {
      case 'accepted':
        this.#user = login.user;
        this.#login = login;
        return;
      case 'unavailable':
        throw new SealpostError('login-unavailable');
      case 'refused':
        await this.#options.penalties.serve(++this.#failures, gone);
        throw new SealpostError(this.#failures >= MAX_FAILURES ? 'too-many-failed-logins' : 'login-refused');
    }
  }

  /**
   * At MAIL: throws where this client may not hand in mail (A15). The users file is asked each time, since a session may outlast
   * what it says: `user` is from here on who the client is now.
   */
  async admit(peer: Peer): Promise<void> {
    const { tls, auth } = this.#options.terms;
    if (tls !== undefined && !this.#isPrivate(peer)) throw new SealpostError('starttls-required');
    const certificate = this.#fingerprint === undefined ? undefined : await this.#options.users?.byCertificate(this.#fingerprint);
    if (tls?.clientCertificates === 'required' && certificate?.kind !== 'accepted')
      throw new SealpostError(certificate?.kind === 'unavailable' ? 'login-unavailable' : 'client-certificate-required');
    if (this.#login !== undefined) return this.#renew(this.#login.again());
    this.#user = certificate?.kind === 'accepted' ? certificate.user : undefined;
    if (this.#user !== undefined) return;
    // Unavailable is never taken for absent: whose certificate it is decides what may be sent.
    if (certificate?.kind === 'unavailable') throw new SealpostError('login-unavailable');
    if (auth === 'required') throw new SealpostError('authentication-required');
    if (!peer.listed) throw new SealpostError('relay-denied');
  }

  /** 421 and no 5xx: whether the login is wrong for good, the client is told when it comes back and logs in. */
  #renew(login: Login): void {
    switch (login.kind) {
      case 'accepted':
        this.#user = login.user;
        return;
      case 'unavailable':
        throw new SealpostError('login-unavailable');
      case 'refused':
        throw new SealpostError('login-ended');
    }
  }

  /** What is said on loopback never leaves the machine, so that it need not be encrypted. */
  #isPrivate({ address }: Peer): boolean {
    return this.#tls !== null || isLoopbackAddress(address);
  }
}
