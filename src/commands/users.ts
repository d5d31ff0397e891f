/** `sealpost users`: those who may log in, in the file that `clients.users` names. A running relay takes a change within seconds. */
import { X509Certificate } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { showFaults } from '../document/fault.ts';
import { readRate, showRate } from '../document/rate.ts';
import type { Judgement } from '../document/schema.ts';
import { SealpostError } from '../errors.ts';
import { hashPassword, showHash } from '../ingress/users/password-hash.ts';
import { readUserMailbox, readUserName, readUserPattern, type UserEntry } from '../ingress/users/entries.ts';
import { readUsersFile } from '../ingress/users/file.ts';
import { readFile } from './certificates/show.ts';
import type { BuildCommand, Terminal } from './terminal.ts';
import { putUser, removeUser } from './users/file.ts';
import { generatePassword, readPassword } from './users/password.ts';

interface AddOptions {
  readonly mailbox?: string;
  readonly sender?: readonly string[];
  readonly recipient?: readonly string[];
  readonly rate?: string;
  readonly certificate?: readonly string[];
  readonly passwordFile?: string;
  readonly generate?: true;
  readonly replace?: true;
}

const collect = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

export const build: BuildCommand = (terminal) => {
  const users = new Command('users').description('those who may log in');
  users
    .command('add <name>')
    .description('asks for a password, or reads it from standard input; with --certificate alone there is none')
    .option('--mailbox <address>', 'where notices for this user go; the name itself where it is an address')
    .option('--sender <pattern>', 'what may stand in MAIL FROM, "*@clinic.example"; several times; any where it is left out', collect)
    .option('--recipient <pattern>', 'who may be written to; several times; anybody where it is left out', collect)
    .option('--rate <rate>', 'messages in a stretch of time: 60/min')
    .option('--certificate <file>', 'a client certificate, PEM or DER; several times', collect)
    .option('--password-file <file>', 'the password is the one line of this file; - is standard input')
    .option('--generate', 'makes a password and prints it, once')
    .option('--replace', 'changes a user who is there')
    .action(async (name: string, options: AddOptions, command: Command) => add(name, options, await placeOf(command, terminal), terminal));
  users
    .command('list')
    .description('one line a user; never a password')
    .option('--json', 'one JSON object a line')
    .action(async (options: { json?: true }, command: Command) => {
      for (const entry of await readAll((await placeOf(command, terminal)).file))
        terminal.stdout.write(`${options.json === true ? JSON.stringify(factsOf(entry)) : lineOf(entry)}\n`);
    });
  users
    .command('remove <name>')
    .description('takes a user out')
    .option('--yes', 'yes, the password is gone for good')
    .action(async (name: string, options: { yes?: true }, command: Command) => {
      readAs('name', name, readUserName);
      if (options.yes !== true)
        throw new SealpostError('usage', { detail: 'what is removed is gone', hint: `sealpost users remove ${name} --yes` });
      if (!(await removeUser((await placeOf(command, terminal)).file, name))) throw new SealpostError('user-unknown', { detail: name });
      terminal.stdout.write(`removed: ${name}\n`);
    });
  return users;
};

async function add(name: string, options: AddOptions, { file, dataFolder }: Place, terminal: Terminal): Promise<void> {
  const { mailbox, sender, recipient, rate, certificate, passwordFile, generate, replace } = options;
  readAs('name', name, readUserName);
  if (mailbox !== undefined) readAs('--mailbox', mailbox, readUserMailbox);
  for (const pattern of sender ?? []) readAs('--sender', pattern, readUserPattern);
  for (const pattern of recipient ?? []) readAs('--recipient', pattern, readUserPattern);
  if (rate !== undefined) readAs('--rate', rate, readRate);
  if (generate === true && passwordFile !== undefined)
    throw new SealpostError('usage', { detail: '--generate and --password-file exclude each other' });
  const certificates = certificate?.map((from) => fingerprintIn(from, terminal));
  const password = generate === true ? generatePassword() : await asked(options, terminal);
  const user = {
    name,
    ...(password === undefined ? {} : { password: showHash(await hashPassword(password)) }),
    ...(certificates === undefined ? {} : { certificates }),
    ...(mailbox === undefined ? {} : { mailbox }),
    ...(sender === undefined ? {} : { senders: sender }),
    ...(recipient === undefined ? {} : { recipients: recipient }),
    ...(rate === undefined ? {} : { rate }),
  };
  if (!(await putUser(file, user, { replace: replace === true, dataFolder })))
    throw new SealpostError('usage', {
      detail: `${name} is there already`,
      hint: `sealpost users add ${name} --replace sets a new password`,
    });
  terminal.stdout.write(`${replace === true ? 'written' : 'added'}: ${name} in ${file}\n`);
  if (generate === true) terminal.stdout.write(`password: ${password}\n`);
}

/** Undefined where the user shows a certificate instead. */
async function asked({ certificate, passwordFile }: AddOptions, terminal: Terminal): Promise<string | undefined> {
  return certificate !== undefined && passwordFile === undefined ? undefined : readPassword(passwordFile, terminal);
}

/** `what`: the argument, for the message. */
function readAs<T>(what: string, written: string, read: (written: unknown) => Judgement<T>): T {
  const judged = read(written);
  if (judged.kind === 'value') return judged.value;
  throw new SealpostError('usage', { detail: `${what}: ${judged.wrong}`, ...(judged.mend === undefined ? {} : { hint: judged.mend }) });
}

/** Whatever OpenSSL takes for a certificate will do: it is compared, not judged. */
function fingerprintIn(from: string, terminal: Terminal): string {
  const bytes = readFile(resolve(terminal.cwd, from), terminal);
  const hint = "the client's own certificate, alone in its file";
  if (bytes.toString('latin1').split('-----BEGIN CERTIFICATE-----').length > 2)
    throw new SealpostError('certificate-malformed', { detail: `${from}: more than one certificate`, hint });
  try {
    return new X509Certificate(bytes).fingerprint256.replaceAll(':', '').toLowerCase();
  } catch (cause) {
    throw new SealpostError('certificate-malformed', { detail: from, hint, cause });
  }
}

interface Place {
  readonly file: string;
  readonly dataFolder: string;
}

async function placeOf(command: Command, { env, cwd }: Terminal): Promise<Place> {
  const { config: named } = command.optsWithGlobals<{ config?: string }>();
  const config = await loadConfig({ file: named, env, cwd });
  const { users: file } = config.clients;
  if (file !== undefined) return { file, dataFolder: dirname(config.queue.sqlite) };
  throw new SealpostError('usage', {
    detail: `clients.users is not set in ${config.file}`,
    hint: 'write there: clients: { users: users.yaml }',
  });
}

async function readAll(file: string): Promise<readonly UserEntry[]> {
  const read = await readUsersFile(file);
  if (read.kind === 'valid') return read.value;
  throw new SealpostError('users-invalid', { detail: `\n${showFaults(read.faults)}` });
}

const factsOf = ({ user, password, certificates, senders, recipients }: UserEntry) => ({
  name: user.name,
  password: password !== null,
  certificates,
  mailbox: user.mailbox?.address ?? null,
  senders,
  recipients,
  rate: user.rate === null ? null : showRate(user.rate),
});

function lineOf(entry: UserEntry): string {
  const { name, password, certificates, mailbox, senders, recipients, rate } = factsOf(entry);
  const by = [password ? ['password'] : [], certificates.map((fingerprint) => `certificate ${fingerprint.slice(0, 16)}`)].flat().join(', ');
  const rights = `from ${senders?.join(', ') ?? 'any'}  to ${recipients?.join(', ') ?? 'any'}`;
  return `${name}  by ${by}  ${rights}${rate === null ? '' : `  rate ${rate}`}${mailbox === null ? '' : `  mailbox ${mailbox}`}`;
}
