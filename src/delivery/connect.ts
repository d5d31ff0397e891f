/**
 * From nothing to a session after EHLO. nodemailer's SMTPConnection does the greeting and EHLO (and has TLS and AUTH for
 * later); then its socket is taken over, because its sender reports a lost 250 as a failed connect and reads envelope strings
 * as address lists.
 */
import { BlockList, connect as netConnect, type Socket } from 'node:net';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { SealpostError } from '../errors.ts';
import { makeReply, type UpstreamReply } from './reply.ts';
import type { Phase, Result, Timeouts } from './result.ts';
import { lost, Session } from './session.ts';

export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  /** What EHLO says: our own host name. */
  readonly hostname: string;
  readonly timeouts: Timeouts;
  /** Opens the socket; net.connect where tests do not say otherwise. */
  readonly connect?: (host: string, port: number) => Socket;
}

export type Opening = { readonly kind: 'open'; readonly session: Session } | Extract<Result, { kind: 'rejected' | 'failed' }>;

/** A greeting or an EHLO answer of more octets than this is no mail server's. */
const MAX_HANDSHAKE_REPLY = 64 * 1024;
/** RFC 5321 §4.1.3: what stands behind EHLO is a domain or an address literal, and nothing that ends the line. */
const HOSTNAME = /^[A-Za-z0-9[][A-Za-z0-9.:\]-]{0,254}$/;

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Its listeners of the socket and its buffers, which its type keeps to itself. */
class Handshake extends SMTPConnection {
  declare readonly _onSocketData: () => void;
  declare readonly _onSocketError: () => void;
  declare readonly _onSocketClose: () => void;
  declare readonly _onSocketEnd: () => void;
  declare readonly _onSocketTimeout: () => void;
  /** What was received and not yet read. */
  declare readonly _remainder: string;
  declare readonly _responseQueue: readonly string[];

  /** The connected socket, free of this object. removeListener throws where a new release renamed one of them. */
  release(): Socket {
    const socket = this._socket;
    if (socket === false || socket === null) throw new SealpostError('upstream-lost', { detail: 'the connection is closed' });
    // What came behind the EHLO answer was sent by nobody who waited for a command (A5).
    if (this._remainder !== '' || this._responseQueue.length > 0) {
      throw new SealpostError('upstream-protocol', { detail: 'more than one answer to EHLO' });
    }
    socket.removeListener('data', this._onSocketData);
    socket.removeListener('error', this._onSocketError);
    socket.removeListener('close', this._onSocketClose);
    socket.removeListener('end', this._onSocketEnd);
    socket.removeListener('timeout', this._onSocketTimeout);
    socket.setTimeout(0);
    return socket;
  }
}

/** Never rejects. An aborted `signal` gives `failed` with its reason. */
export async function openSession(options: ConnectOptions, signal: AbortSignal): Promise<Opening> {
  if (!HOSTNAME.test(options.hostname)) return failed('ehlo', new SealpostError('config-invalid', { detail: 'hostname' }));
  const connected = await openSocket(options, signal);
  if (connected.kind === 'failed') return connected;
  const { socket } = connected;
  // Mail in clear to another machine waits for TLS: the name in the configuration may have come to mean one (P3).
  const address = socket.remoteAddress ?? '';
  if (!loopback.check(address, address.includes(':') ? 'ipv6' : 'ipv4')) {
    socket.destroy();
    return failed('connect', new SealpostError('upstream-unreachable', { detail: 'without TLS only a loopback address is spoken to' }));
  }
  return shakeHands(socket, options, signal);
}

type Connected = { readonly kind: 'connected'; readonly socket: Socket } | Extract<Result, { kind: 'failed' }>;

function openSocket({ host, port, timeouts, connect = dial }: ConnectOptions, signal: AbortSignal): Promise<Connected> {
  return new Promise((resolve) => {
    const socket = connect(host, port);
    const settle = (outcome: Connected): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.removeListener('connect', onConnect);
      if (outcome.kind === 'failed') socket.destroy();
      resolve(outcome);
    };
    const unreachable = (detail: string, cause?: unknown): void =>
      settle(failed('connect', new SealpostError('upstream-unreachable', { detail, cause })));
    const onConnect = (): void => settle({ kind: 'connected', socket });
    const abort = (): void => settle(failed('connect', new SealpostError('shutting-down')));
    const timer = setTimeout(() => unreachable(`no connection in ${timeouts.connect} ms`), timeouts.connect);
    socket.once('connect', onConnect);
    // Stays for ever: an error between two owners of the socket must not end the process.
    socket.on('error', (error: NodeJS.ErrnoException) => unreachable(error.code ?? 'connection failed', error));
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
  });
}

function dial(host: string, port: number): Socket {
  return netConnect({ host, port, autoSelectFamily: true });
}

async function shakeHands(socket: Socket, { host, port, hostname, timeouts }: ConnectOptions, signal: AbortSignal): Promise<Opening> {
  const handshake = new Handshake({
    connection: socket,
    host,
    port,
    name: hostname,
    secure: false,
    ignoreTLS: true,
    logger: false,
    maxResponseSize: MAX_HANDSHAKE_REPLY,
    greetingTimeout: timeouts.greeting,
    // Counts from the connected socket here, and bounds the greeting once more.
    connectionTimeout: timeouts.greeting + timeouts.ehlo,
    socketTimeout: timeouts.greeting + timeouts.ehlo,
  });
  const opening = await new Promise<Opening>((resolve) => {
    const settle = (outcome: Opening): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      resolve(outcome);
    };
    const abort = (): void => settle(failed(phaseOf(handshake), new SealpostError('shutting-down')));
    const silent = (): void =>
      settle(failed(phaseOf(handshake), new SealpostError('upstream-silent', { detail: 'no end of the handshake' })));
    // nodemailer bounds the greeting, but an EHLO answer only between two octets.
    const timer = setTimeout(silent, timeouts.greeting + timeouts.ehlo);
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    handshake.on('error', (error: Error) => settle(refusal(handshake, error)));
    handshake.connect((error) => settle(error === undefined ? takeOver(handshake) : refusal(handshake, error)));
  });
  if (opening.kind !== 'open') socket.destroy();
  return opening;
}

function takeOver(handshake: Handshake): Opening {
  try {
    const extensions = readExtensions(handshake.lastServerResponse || '');
    return { kind: 'open', session: new Session(handshake.release(), extensions) };
  } catch (error) {
    return failed('ehlo', error instanceof SealpostError ? error : new SealpostError('internal', { cause: error }));
  }
}

/** RFC 5321 §4.1.1.1: the first line is the greeting, each other one a keyword and its parameters. */
function readExtensions(answer: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const line of answer.split('\n').slice(1)) {
    const match = /^250[ -]([A-Za-z0-9][A-Za-z0-9-]*)(?: (.*))?$/.exec(line.trimEnd());
    if (match?.[1] !== undefined) found.set(match[1].toUpperCase(), match[2] ?? '');
  }
  return found;
}

/** The greeting is over once a 220 was read; then EHLO, or HELO, waits for its answer. */
function phaseOf(handshake: Handshake): Phase {
  const last = handshake.lastServerResponse;
  return last !== false && last.startsWith('220') ? 'ehlo' : 'greeting';
}

/** nodemailer's error as a result: with a reply in it the host said no, which holds for the host and not for the message. */
function refusal(
  handshake: Handshake,
  error: Error & { readonly response?: unknown; readonly command?: unknown; readonly code?: unknown },
): Opening {
  const phase: Phase = error.command === 'EHLO' || error.command === 'HELO' ? 'ehlo' : phaseOf(handshake);
  const reply = typeof error.response === 'string' ? readReply(error.response) : undefined;
  if (reply !== undefined && reply.code >= 400) return { kind: 'rejected', permanent: false, phase, reply };
  if (error.code === 'ETIMEDOUT') return failed(phase, new SealpostError('upstream-silent', { detail: `no ${phase}`, cause: error }));
  if (error.code === 'EPROTOCOL') return failed(phase, new SealpostError('upstream-protocol', { detail: `at ${phase}`, cause: error }));
  return failed(phase, lost(error));
}

function readReply(response: string): UpstreamReply | undefined {
  const lines = response.split('\n').map((line) => line.trimEnd());
  const code = /^[2-5][0-5]\d(?=[ -]|$)/.exec(lines[0] ?? '')?.[0];
  return code === undefined
    ? undefined
    : makeReply(
        Number(code),
        lines.map((line) => line.slice(4)),
      );
}

function failed(phase: Phase, cause: SealpostError): Extract<Result, { kind: 'failed' }> {
  return { kind: 'failed', phase, cause };
}
