/**
 * The local socket by which commands change a running relay: it alone may write the queue while it runs. One connection, one
 * JSON line asked, one JSON line answered. The socket is 0600 in a 0700 folder: who may open it may do what it offers.
 */
import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Logger } from 'pino';
import { asSealpostError, errorTable, SealpostError, type ErrorCode } from './errors.ts';
import { recipientStates, type EntryFilter, type QueueStore } from './queue/queue.ts';

/** Octets of one line, asked or answered. */
const MAX_LINE = 64 * 1024;
/** For the request to arrive; the work itself may take longer. */
const REQUEST_TIMEOUT_MS = 5000;
/** For a client to close behind its answer, before its place is given to another. */
const LINGER_MS = 1000;
/** For an answer: retrying a million rows takes a minute. */
const ANSWER_TIMEOUT_MS = 5 * 60_000;
const MAX_CONNECTIONS = 16;
const SOCKET_MODE = 0o600;

export interface ControlRequest {
  readonly command: string;
  readonly [argument: string]: unknown;
}

/** Answers a JSON value; what it throws goes back with its code. */
export type ControlHandlers = Readonly<Record<string, (request: ControlRequest) => Promise<unknown>>>;

type ControlAnswer =
  | { readonly ok: true; readonly answer: unknown }
  | { readonly ok: false; readonly code: string; readonly detail?: string; readonly hint: string };

export interface ControlOptions {
  /** Absolute path; unix sockets take about 100 octets. */
  readonly socket: string;
  readonly handlers: ControlHandlers;
  readonly log: Logger;
}

/** Call it while the queue's lock is held: a socket that is there then is a dead relay's, and is replaced. Throws `listen-failed`. */
export async function serveControl(options: ControlOptions): Promise<{ close(): Promise<void> }> {
  const { socket: path, log } = options;
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    // A command that was interrupted: its change stands or not, as the audit log says.
    socket.on('error', (error) => log.debug({ err: error }, 'a command left the control socket'));
    void answer(socket, options);
  });
  server.maxConnections = MAX_CONNECTIONS;
  try {
    await removeStale(path);
    await listen(server, path);
    await chmod(path, SOCKET_MODE);
  } catch (cause) {
    server.close();
    if (cause instanceof SealpostError) throw cause;
    throw new SealpostError('listen-failed', {
      detail: path,
      hint: 'the path of a socket may have about 100 octets, in a writable folder',
      cause,
    });
  }
  server.on('error', (error) => log.error({ err: error }, 'the control socket failed'));
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
}

async function removeStale(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined) return;
  if (!stats.isSocket()) throw new SealpostError('data-folder-unsafe', { detail: `${path} is not a socket` });
  await unlink(path);
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function answer(socket: Socket, { handlers, log }: ControlOptions): Promise<void> {
  let reply: ControlAnswer;
  try {
    const request = readRequest(await readLine(socket, REQUEST_TIMEOUT_MS));
    const handler = Object.hasOwn(handlers, request.command) ? handlers[request.command] : undefined;
    if (handler === undefined) throw new SealpostError('usage', { detail: 'the running relay does not know that command' });
    reply = { ok: true, answer: await handler(request) };
  } catch (thrown) {
    const error = asSealpostError(thrown);
    if (error.code === 'internal') log.error({ err: error.cause }, 'a control command failed');
    reply = { ok: false, code: error.code, hint: error.hint, ...(error.detail === undefined ? {} : { detail: error.detail }) };
  }
  socket.end(`${JSON.stringify(reply)}\n`);
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => clearTimeout(timer));
}

function readRequest(line: string): ControlRequest {
  const value = parseJson(line);
  if (typeof value !== 'object' || value === null || !('command' in value) || typeof value.command !== 'string')
    throw new SealpostError('usage', { detail: 'that is not a control request' });
  return { ...value, command: value.command };
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new SealpostError('usage', { detail: 'that is not JSON', cause });
  }
}

/** The first line that comes within `timeoutMs`, however slowly. */
function readLine(socket: Socket, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => fail('nothing came over the control socket in time'), timeoutMs);
    const fail = (detail: string): void => {
      clearTimeout(timer);
      socket.off('data', take);
      reject(new SealpostError('usage', { detail }));
    };
    const take = (chunk: string): void => {
      text += chunk;
      const end = text.indexOf('\n');
      if (text.length > MAX_LINE) return fail('a line of the control socket is too long');
      if (end < 0) return;
      clearTimeout(timer);
      resolve(text.slice(0, end));
    };
    socket.setEncoding('utf8');
    socket.on('data', take);
    socket.once('end', () => fail('the control socket was closed early'));
    socket.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

/**
 * Asks the running relay. Throws `relay-not-running` where nobody listens, and what the relay answered where it failed there.
 */
export async function callControl(path: string, request: ControlRequest): Promise<unknown> {
  const socket = connect({ path });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', () => resolve());
      socket.once('error', reject);
    });
  } catch (cause) {
    throw asConnectError(cause, path);
  }
  let answered: unknown;
  try {
    socket.write(`${JSON.stringify(request)}\n`);
    answered = parseJson(await readLine(socket, ANSWER_TIMEOUT_MS));
  } catch (cause) {
    throw new SealpostError('internal', { detail: 'the running relay did not answer', cause });
  } finally {
    socket.destroy();
  }
  return readAnswer(answered);
}

function asConnectError(cause: unknown, path: string): SealpostError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'ECONNREFUSED' || code === 'ENOENT') return new SealpostError('relay-not-running', { cause });
  return new SealpostError('file-unreadable', { detail: path, hint: 'run the command as the user the relay runs as, or as root', cause });
}

function readAnswer(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('ok' in value))
    throw new SealpostError('internal', { detail: 'an answer of another form' });
  if (value.ok === true) return 'answer' in value ? value.answer : undefined;
  const detail = 'detail' in value && typeof value.detail === 'string' ? { detail: value.detail } : {};
  const hint = 'hint' in value && typeof value.hint === 'string' ? { hint: value.hint } : {};
  throw new SealpostError('code' in value && isErrorCode(value.code) ? value.code : 'internal', { ...detail, ...hint });
}

const isErrorCode = (code: unknown): code is ErrorCode => typeof code === 'string' && Object.hasOwn(errorTable, code);

export interface QueueControl {
  readonly store: Pick<QueueStore, 'retry' | 'remove'>;
  /** Ms since the epoch. */
  readonly now: () => number;
  /** Rows have fallen due by an operator's word: the scheduler should look, and ask upstreams that failed before. */
  readonly wake: () => void;
}

/** `queue-retry` and `queue-remove`: `{ command, operator, queueId?, recipient?, state? }`, answered with the number of rows. */
export function queueHandlers({ store, now, wake }: QueueControl): ControlHandlers {
  return {
    'queue-retry': async (request) => {
      const rows = await store.retry(readFilter(request), now(), readText(request, 'operator') ?? 'unknown');
      wake();
      return rows;
    },
    'queue-remove': (request) => store.remove(readFilter(request), readText(request, 'operator') ?? 'unknown'),
  };
}

function readFilter(request: ControlRequest): EntryFilter {
  const queueId = readText(request, 'queueId');
  const recipient = readText(request, 'recipient');
  const wanted = readText(request, 'state');
  const state = recipientStates.find((one) => one === wanted);
  if (wanted !== undefined && state === undefined) throw new SealpostError('usage', { detail: 'no such state' });
  return {
    ...(queueId === undefined ? {} : { queueId }),
    ...(recipient === undefined ? {} : { recipient }),
    ...(state === undefined ? {} : { state }),
  };
}

export function readText(request: ControlRequest, name: string): string | undefined {
  const value = request[name];
  if (value !== undefined && typeof value !== 'string') throw new SealpostError('usage', { detail: `${name} is not text` });
  return value;
}
