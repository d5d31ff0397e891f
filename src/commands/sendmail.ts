/**
 * `sealpost sendmail`: a drop-in for /usr/sbin/sendmail. It hands one message from standard input to the running relay by SMTP,
 * streamed, and waits for the 250: with exit 0 the sealed message is on the disk of the relay, with any other nothing was sent.
 * There is no queue here, since what waited in it would be plaintext.
 *
 * Without commander: the options are sendmail's. Loaded by itself, and with as little as possible, because it is run per mail.
 */
import { hostname, userInfo } from 'node:os';
import { type Config, loadConfig, SYSTEM_WIDE } from '../config.ts';
import { asSealpostError, SealpostError } from '../errors.ts';
import { writeMailbox } from '../message/addresses.ts';
import type { Mailbox } from '../message/envelope.ts';
import { type Message, readMessage } from '../message/header.ts';
import { keepNewSpaceSmall } from './new-space.ts';
import { type Invocation, readArguments } from './sendmail/arguments.ts';
import { untilLoneDot } from './sendmail/dot.ts';
import { EX_DATAERR, EX_NOPERM, EX_NOUSER, EX_OK, EX_UNAVAILABLE, exitOf } from './sendmail/exits.ts';
import { USAGE } from './sendmail/help.ts';
import { findListener } from './sendmail/listener.ts';
import { passThrough } from './sendmail/pass-through.ts';
import { distinct, headerRecipients, isBlind, namedRecipients, readSender } from './sendmail/recipients.ts';
import { submit, type Verdict } from './sendmail/submission.ts';
import type { Terminal } from './terminal.ts';

/** Answers the exit status. `config` is that of `sealpost -c FILE sendmail`. Never throws. */
export async function sendmail(words: readonly string[], config: string | undefined, terminal: Terminal): Promise<number> {
  let quiet = false;
  try {
    const invocation = readArguments(words);
    ({ quiet } = invocation);
    return await run(invocation, invocation.config ?? config, terminal);
  } catch (thrown) {
    const error = asSealpostError(thrown);
    if (!quiet) complain(terminal, error.message, error.hint);
    return exitOf(error);
  } finally {
    // What stands behind a lone dot is not read, and must not keep the process.
    terminal.stdin.destroy();
  }
}

/** One line, since callers such as PHP log by the line. */
function complain({ stderr }: Terminal, wrong: string, hint: string): void {
  const line = `sendmail: ${wrong} (hint: ${hint})`;
  stderr.write(`${line.replace(/\s*\n\s*/g, '; ').replace(/[\x00-\x1f\x7f]/g, '?')}\n`);
}

async function run(invocation: Invocation, file: string | undefined, terminal: Terminal): Promise<number> {
  switch (invocation.mode) {
    case 'help':
      terminal.stdout.write(USAGE);
      return EX_OK;
    case 'queue-run':
      return EX_OK;
    case 'smtp':
      await passThrough(findListener(await configuration(file, terminal)), terminal.stdin, terminal.stdout);
      return EX_OK;
    case 'deliver':
      return deliver(invocation, await configuration(file, terminal), terminal);
  }
  return invocation.mode satisfies never;
}

/** Not ./sealpost.yaml: a script runs where visitors may upload files, and one of them must not say where mail goes. */
async function configuration(file: string | undefined, { env, cwd }: Terminal): Promise<Config> {
  const named = file ?? env['SEALPOST_CONFIG'];
  try {
    return await loadConfig({ file: named === undefined || named === '' ? SYSTEM_WIDE : named, env, cwd });
  } catch (error) {
    if (!(error instanceof SealpostError) || error.code !== 'file-unreadable') throw error;
    const hint = 'name yours by -C FILE or SEALPOST_CONFIG; the user who sends must be able to read it';
    throw new SealpostError('file-unreadable', { detail: error.detail ?? '', hint, cause: error });
  }
}

async function deliver(invocation: Invocation, config: Config, terminal: Terminal): Promise<number> {
  if (!invocation.fromHeader && invocation.recipients.length === 0)
    throw new SealpostError('usage', { detail: 'no recipient', hint: 'name recipients, or use -t and a To, Cc or Bcc in the header' });
  const place = findListener(config);
  const domain = config.hostname;
  const sender = readSender(invocation.sender ?? userName(), domain);
  const named = namedRecipients(invocation.recipients, domain);
  // Before the octets come, and not before the code: the many small messages should not wait for what spares memory to a large one.
  keepNewSpaceSmall();
  const input = octetsOf(terminal.stdin);
  const message = await readMessage(invocation.dotEnds ? untilLoneDot(input) : input);
  const recipients = distinct([...named, ...(invocation.fromHeader ? headerRecipients(message.fields, domain) : [])]);
  if (recipients.length === 0) throw new SealpostError('recipient-missing');
  const content = contentOf(message, invocation.name, sender);
  const { notify, ret, envid, body } = invocation;
  const verdict = await submit(place, heloName(), { sender, recipients, notify, ret, envid, body, content });
  if (verdict.kind === 'queued') {
    if (invocation.verbose) terminal.stdout.write(`${verdict.said}\n`);
    return EX_OK;
  }
  if (!invocation.quiet) complain(terminal, `${verdict.about}: ${verdict.said}`, hintFor(verdict));
  return exitOfRefusal(verdict);
}

type Refusal = Extract<Verdict, { kind: 'refused' }>;

const exitOfRefusal = ({ at, permanent }: Refusal): number =>
  permanent ? { mail: EX_NOPERM, rcpt: EX_NOUSER, data: EX_DATAERR }[at] : EX_UNAVAILABLE;

const hintFor = ({ at, permanent }: Refusal): string =>
  permanent && at === 'rcpt'
    ? 'nothing was sent to anybody; sealpost explain --from A --to B says why'
    : permanent
      ? 'nothing was sent; the log of the relay says more'
      : 'nothing was sent and nothing waits: try again later';

/** The message as it goes into the relay, which mends the rest: without Bcc, with the name of -F where there is no From. */
async function* contentOf(message: Message, name: string | undefined, sender: Mailbox | null): AsyncGenerator<Buffer> {
  const fields = message.fields.filter((field) => !isBlind(field)).map((field) => field.octets);
  const lacksFrom = !message.fields.some((field) => field.key === 'from');
  if (lacksFrom && name !== undefined && sender !== null) {
    fields.unshift(Buffer.from(`From: ${writeMailbox({ name: name.replace(/\p{Cc}+/gu, ' ').trim(), mailbox: sender })}\r\n`));
  }
  yield Buffer.concat([...fields, Buffer.from('\r\n')]);
  yield* message.body;
}

/** Throws `message-incomplete` where standard input fails: what came so far is not the message. */
async function* octetsOf(stdin: AsyncIterable<unknown>): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of stdin) yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
  } catch (cause) {
    throw new SealpostError('message-incomplete', { detail: 'standard input cannot be read', hint: 'nothing was sent', cause });
  }
}

/** sendmail's default: whoever runs it, at the name of this mail system. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'nobody'; // a user without a name, as containers have them
  }
}

/** RFC 5321 §4.1.3, where the machine has a name that can stand there. */
function heloName(): string {
  const name = hostname();
  return /^[A-Za-z0-9][A-Za-z0-9.-]{0,254}$/.test(name) ? name : 'localhost';
}
