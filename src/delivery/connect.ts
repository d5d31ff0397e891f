/**
 * From nothing to a session that takes mail:
 *
 *   connect ─▶ (implicit: TLS) ─▶ greeting ─▶ EHLO ─▶ (starttls: STARTTLS ─▶ TLS ─▶ EHLO) ─▶ (auth: AUTH) ─▶ open
 *
 * Each step but the last is done again for nothing: where one fails the connection is dropped, and nothing weaker is tried.
 * What an upstream said before TLS is forgotten, since anybody on the way may have said it (A5).
 */
import type { SecureContext } from 'node:tls';
import type { Socket } from 'node:net';
import { asSealpostError, SealpostError } from '../errors.ts';
import { logIn, type Login } from './auth.ts';
import { dial, staysOnThisMachine } from './dial.ts';
import type { UpstreamReply } from './reply.ts';
import type { Phase, Result, Timeouts } from './result.ts';
import { Session } from './session.ts';
import { secure, type TlsFacts, type TlsMode } from './tls.ts';

/** What protects the way to an upstream. */
export interface Protection {
  readonly tls: TlsMode;
  readonly verify: boolean;
  /** Read for each connection, so that what was renewed counts. Throws `upstream-secret-unreadable`. */
  read(): Promise<{ readonly context: SecureContext; readonly login: Login | undefined }>;
}

export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  /** What EHLO says: our own host name. */
  readonly hostname: string;
  readonly timeouts: Timeouts;
  readonly protection: Protection;
  /** Opens the socket; net.connect where tests do not say otherwise. */
  readonly connect?: ((host: string, port: number) => Socket) | undefined;
}

export type Opening = { readonly kind: 'open'; readonly session: Session } | Extract<Result, { kind: 'rejected' | 'failed' }>;

/** RFC 5321 §4.1.3: what stands behind EHLO is a domain or an address literal, and nothing that ends the line. */
const HOSTNAME = /^[A-Za-z0-9[][A-Za-z0-9.:\]-]{0,254}$/;
const READY = 220;

/** Never rejects. An aborted `signal` gives `failed` with `shutting-down`. */
export async function openSession(options: ConnectOptions, signal: AbortSignal): Promise<Opening> {
  const handshake = new Handshake(options, signal);
  const abort = (): void => handshake.drop(new SealpostError('shutting-down'));
  signal.addEventListener('abort', abort);
  try {
    const opening = await handshake.run();
    if (opening.kind === 'open') return opening;
    handshake.drop(new SealpostError('upstream-lost', { detail: 'it does not want to talk' }));
    return { ...opening, ...handshake.tls() };
  } catch (error) {
    const cause = asSealpostError(error);
    handshake.drop(cause);
    return { kind: 'failed', phase: handshake.phase, cause, ...handshake.tls() };
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

class Handshake {
  phase: Phase = 'connect';
  readonly #options: ConnectOptions;
  readonly #signal: AbortSignal;
  #session: Session | undefined;
  #isLocal = false;

  constructor(options: ConnectOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  drop(cause: SealpostError): void {
    this.#session?.destroy(cause);
  }

  /** How the session was protected when it ended; nothing where there was none. */
  tls(): { readonly tls?: TlsFacts | null } {
    return this.#session === undefined ? {} : { tls: this.#session.tls };
  }

  async run(): Promise<Opening> {
    const { host, port, hostname, timeouts, protection, connect } = this.#options;
    if (!HOSTNAME.test(hostname)) throw new SealpostError('config-invalid', { detail: 'hostname' });
    const { context, login } = await this.#material();
    const plain = await dial({ host, port, timeout: timeouts.connect, connect }, this.#signal);
    this.#isLocal = staysOnThisMachine(plain);
    // What is not encrypted and verified stays on this machine, whatever a name has come to mean (P3).
    if ((protection.tls === 'off' || !protection.verify) && !this.#isLocal) {
      plain.destroy();
      throw new SealpostError('upstream-unreachable', { detail: 'without verified TLS only a loopback address is spoken to' });
    }
    const session = protection.tls === 'implicit' ? await this.#encrypt(plain, context) : this.#take(plain, null);
    this.phase = 'greeting';
    const greeting = await session.reply(timeouts.greeting);
    if (greeting.code !== READY) return refused(this.phase, greeting);
    return this.#introduce(session, context, login);
  }

  /** A file server that is gone must hold up neither the other upstreams nor a stop. */
  async #material(): ReturnType<Protection['read']> {
    const { protection, timeouts } = this.#options;
    const { promise: over, reject } = Promise.withResolvers<never>();
    const abort = (): void => reject(new SealpostError('shutting-down'));
    const late = (): void => reject(new SealpostError('upstream-secret-unreadable', { detail: `not read in ${timeouts.connect} ms` }));
    const timer = setTimeout(late, timeouts.connect);
    this.#signal.addEventListener('abort', abort);
    if (this.#signal.aborted) abort();
    try {
      return await Promise.race([protection.read(), over]);
    } finally {
      clearTimeout(timer);
      this.#signal.removeEventListener('abort', abort);
    }
  }

  async #introduce(first: Session, context: SecureContext, login: Login | undefined): Promise<Opening> {
    const { protection, timeouts } = this.#options;
    let session = first;
    let answer = await this.#greet(session);
    if (protection.tls === 'starttls') {
      // An upstream that refuses EHLO, or offers nothing, may have been made to by somebody on the way.
      if (isForNow(answer)) return refused(this.phase, answer);
      session = await this.#startTls(session, context);
      answer = await this.#greet(session);
    }
    if (!isSuccess(answer)) return refused(this.phase, answer);
    if (login !== undefined) {
      this.phase = 'auth';
      await logIn(session, login, timeouts.ehlo);
    }
    session.assertUsable();
    return { kind: 'open', session };
  }

  /** EHLO, or HELO where the host says for good that it knows no other (RFC 5321 §3.2); the extensions are those of this answer. */
  async #greet(session: Session): Promise<UpstreamReply> {
    this.phase = 'ehlo';
    const { hostname, timeouts, protection } = this.#options;
    session.send(`EHLO ${hostname}`);
    const answer = await session.reply(timeouts.ehlo);
    if (isSuccess(answer)) session.extensions = readExtensions(answer);
    if (answer.code < 400 || isForNow(answer) || (protection.tls === 'starttls' && session.tls === null)) return answer;
    session.plainly = true;
    session.send(`HELO ${hostname}`);
    return session.reply(timeouts.ehlo);
  }

  async #startTls(session: Session, context: SecureContext): Promise<Session> {
    this.phase = 'tls';
    if (!session.extensions.has('STARTTLS')) throw new SealpostError('upstream-tls-missing');
    session.send('STARTTLS');
    const { code } = await session.reply(this.#options.timeouts.ehlo);
    if (code !== READY) throw new SealpostError('upstream-tls-failed', { detail: `STARTTLS was answered ${code}` });
    return this.#encrypt(session.release(), context);
  }

  async #encrypt(plain: Socket, context: SecureContext): Promise<Session> {
    this.phase = 'tls';
    const { host, timeouts, protection } = this.#options;
    const options = { host, context, verify: protection.verify, timeout: timeouts.connect };
    const { socket, tls } = await secure(plain, options, this.#signal);
    return this.#take(socket, tls);
  }

  #take(socket: Socket, tls: TlsFacts | null): Session {
    this.#session = new Session(socket, tls, this.#isLocal);
    return this.#session;
  }
}

const isSuccess = ({ code }: UpstreamReply): boolean => code >= 200 && code < 300;

const isForNow = ({ code }: UpstreamReply): boolean => code >= 400 && code < 500;

/** A host that says no to us says it to every message: never permanent. */
function refused(phase: Phase, reply: UpstreamReply): Opening {
  if (reply.code < 400) throw new SealpostError('upstream-protocol', { detail: `${reply.code} at ${phase}` });
  return { kind: 'rejected', permanent: false, phase, reply };
}

/** RFC 5321 §4.1.1.1: the first line is the greeting, each other one a keyword and its parameters. */
function readExtensions({ lines }: UpstreamReply): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const match = /^([A-Za-z0-9][A-Za-z0-9-]*)(?: (.*))?$/.exec(line.trimEnd());
    if (match?.[1] !== undefined) found.set(match[1].toUpperCase(), match[2] ?? '');
  }
  return found;
}
