/**
 * One message into the relay by SMTP over loopback. Every recipient is taken or nothing is sent: the exit status speaks of the
 * whole message, and a script that tries again must not reach some of them twice.
 */
import { connect, type Socket } from 'node:net';
import { asSealpostError, SealpostError } from '../../errors.ts';
import { type UpstreamReply, replyText } from '../../delivery/reply.ts';
import { Session } from '../../delivery/session.ts';
import { makeStuffer } from '../../delivery/stuffing.ts';
import type { Mailbox } from '../../message/envelope.ts';
import type { Invocation } from './arguments.ts';
import type { Place } from './listener.ts';

export interface Submission extends Pick<Invocation, 'notify' | 'ret' | 'envid' | 'body'> {
  readonly sender: Mailbox | null;
  readonly recipients: readonly Mailbox[];
  /** The message, CRLF line ends; read once every recipient was taken. What it throws ends the connection before the dot. */
  readonly content: AsyncIterable<Buffer>;
}

export type Verdict =
  | { readonly kind: 'queued'; readonly said: string }
  /** `at` MAIL: the sender or this client; RCPT: a recipient; DATA: the message. */
  | {
      readonly kind: 'refused';
      readonly at: 'mail' | 'rcpt' | 'data';
      readonly permanent: boolean;
      readonly about: string;
      readonly said: string;
    };

const SECOND = 1000;
const MINUTE = 60 * SECOND;
/** On this machine a relay that lives answers at once; a recipient may wait for a look-up, the end for the disk. */
const CONNECT_MS = 10 * SECOND;
const COMMAND_MS = 2 * MINUTE;
const BLOCK_MS = 3 * MINUTE;
const END_MS = 10 * MINUTE;
const QUIT_MS = SECOND;

/** Throws `relay-unreachable` where there is no relay, or it went away; and what `content` throws. */
export async function submit(place: Place, ehlo: string, submission: Submission): Promise<Verdict> {
  const { session, extensions } = await openSession(place, ehlo);
  try {
    const verdict = (await envelope(session, extensions, submission)) ?? (await message(session, submission.content));
    await session.quit(QUIT_MS);
    return verdict;
  } catch (thrown) {
    const error = asSealpostError(thrown);
    session.destroy(error);
    throw error.code.startsWith('upstream-') ? away(place, error) : error;
  }
}

/** A connected socket. Throws `relay-unreachable`. */
export async function dial(place: Place): Promise<Socket> {
  const socket = connect(place);
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error('no connection in time')));
  socket.once('connect', () => resolve(socket));
  socket.once('error', (cause: NodeJS.ErrnoException) => reject(away(place, cause)));
  await promise;
  return socket.setTimeout(0);
}

function away({ host, port }: Place, cause: Error & { readonly code?: unknown }): SealpostError {
  const why = cause instanceof SealpostError ? cause.message : typeof cause.code === 'string' ? cause.code : cause.message;
  return new SealpostError('relay-unreachable', { detail: `nothing was sent; ${host} port ${port}: ${why}`, cause });
}

async function openSession(place: Place, ehlo: string): Promise<{ readonly session: Session; readonly extensions: ReadonlySet<string> }> {
  const session = new Session(await dial(place), null);
  try {
    assertSuccess(await session.reply(COMMAND_MS));
    session.send(`EHLO ${ehlo}`);
    const { code, lines } = assertSuccess(await session.reply(COMMAND_MS));
    const extensions = new Set(code === 250 ? lines.slice(1).map((line) => (line.split(' ')[0] ?? '').toUpperCase()) : []);
    return { session, extensions };
  } catch (thrown) {
    const error = asSealpostError(thrown);
    session.destroy(error);
    throw away(place, error);
  }
}

/** A relay that does not even greet: full, or stopping. */
function assertSuccess(reply: UpstreamReply): UpstreamReply {
  if (isSuccess(reply)) return reply;
  throw new SealpostError('upstream-unreachable', { detail: replyText(reply) });
}

/** MAIL and every RCPT; undefined where all were taken and DATA is open. */
async function envelope(session: Session, extensions: ReadonlySet<string>, submission: Submission): Promise<Verdict | undefined> {
  const { sender, recipients, notify, ret, envid, body } = submission;
  const dsn = extensions.has('DSN');
  const ask = async (command: string): Promise<UpstreamReply> => {
    session.send(command);
    return session.reply(COMMAND_MS);
  };
  const utf8 = [sender?.address ?? '', ...recipients.map(({ address }) => address)].some((address) => /[^\x00-\x7f]/.test(address));
  const parameters = [
    body !== undefined && extensions.has('8BITMIME') ? ` BODY=${body}` : '',
    utf8 && extensions.has('SMTPUTF8') ? ' SMTPUTF8' : '',
    dsn && ret !== undefined ? ` RET=${ret}` : '',
    dsn && envid !== undefined ? ` ENVID=${envid}` : '',
  ].join('');
  const mail = await ask(`MAIL FROM:<${sender?.address ?? ''}>${parameters}`);
  if (!isSuccess(mail)) return refused('mail', sender?.address ?? '<>', mail);
  for (const { address } of recipients) {
    const reply = await ask(`RCPT TO:<${address}>${dsn && notify !== undefined ? ` NOTIFY=${notify}` : ''}`);
    if (!isSuccess(reply)) return refused('rcpt', address, reply);
  }
  const data = await ask('DATA');
  return data.code === 354 ? undefined : refused('data', 'DATA', data);
}

/** The message and the dot, stuffed (RFC 5321 §4.5.2). A relay that speaks before the dot has refused what it saw. */
async function message(session: Session, content: AsyncIterable<Buffer>): Promise<Verdict> {
  const stuff = makeStuffer();
  for await (const chunk of content) {
    for (const piece of stuff.push(chunk)) await session.write(piece, BLOCK_MS);
    if (session.early !== undefined) return refused('data', 'message', session.early);
  }
  if (!stuff.endsInLine) await session.write(Buffer.from('\r\n'), BLOCK_MS);
  session.send('.');
  const reply = await endReply(session);
  return isSuccess(reply) ? { kind: 'queued', said: replyText(reply) } : refused('data', 'message', reply);
}

/** A reply that is lost behind the dot leaves it open whether the relay has the message, and that is what has to be said. */
async function endReply(session: Session): Promise<UpstreamReply> {
  try {
    return await session.reply(END_MS);
  } catch (cause) {
    const hint = 'the relay may have the message: sealpost audit show';
    throw new SealpostError('relay-unreachable', { detail: 'it went away behind the end of the message', hint, cause });
  }
}

const isSuccess = ({ code }: UpstreamReply): boolean => code >= 200 && code < 300;

function refused(at: 'mail' | 'rcpt' | 'data', about: string, reply: UpstreamReply): Verdict {
  return { kind: 'refused', at, permanent: reply.code >= 500, about, said: replyText(reply) };
}
