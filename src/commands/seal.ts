/** `sealpost seal`: the path of the relay for one message from standard input, with an outbox that writes it out. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { readCertificates } from '../certificates/bundle.ts';
import { makeAddressBook } from '../certificates/address-book.ts';
import type { Chosen, Directory } from '../certificates/directory.ts';
import { usability } from '../certificates/usability.ts';
import { SealpostError } from '../errors.ts';
import { makeLog } from '../log.ts';
import { type Mailbox, parseMailbox, plainRecipient } from '../message/envelope.ts';
import { makePath } from '../path.ts';
import type { SubjectPolicy } from '../policy/decide.ts';
import { ALWAYS } from '../policy/condition.ts';
import { makeRuleSet } from '../policy/decide.ts';
import { parseTemplate } from '../policy/subject.ts';
import { cipherNames } from '../seal/algorithms.ts';
import { makeFileOutbox } from './outbox.ts';
import { formFor, type Options, type Site } from './seal/options.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

export const build: BuildCommand = (terminal) =>
  new Command('seal')
    .description('seals the message on standard input as the running relay would, and writes it to standard output')
    .requiredOption('--from <address>', 'sender of the envelope, <> for none')
    .requiredOption('--to <address...>', 'recipients of the envelope')
    .option('--out-dir <folder>', 'one file for each recipient, ADDRESS.eml')
    .option('--cert <file>', 'seal to this certificate, without a site: no configuration, rules or trust are asked')
    .addOption(new Option('--profile <name>', "instead of the configuration's").choices(['compatible', 'strict']))
    .addOption(new Option('--cipher <name>', "instead of the profile's").choices([...cipherNames]))
    .option('--subject <text>', 'visible subject: keep, or a text such as "New message [{queue_id}]"; only with --cert')
    .action((options: Options, command: Command) => run(options, command.optsWithGlobals<{ config?: string }>().config, terminal));

async function run(options: Options, config: string | undefined, terminal: Terminal): Promise<void> {
  const sender = options.from === '<>' ? null : mailbox(options.from, '--from');
  const recipients = options.to.map((address) => plainRecipient(mailbox(address, '--to')));
  const outDir = options.outDir === undefined ? undefined : resolve(terminal.cwd, options.outDir);
  if (outDir === undefined && recipients.length > 1) {
    throw new SealpostError('usage', { detail: 'several recipients get a message each', hint: 'name a folder for them: --out-dir DIR' });
  }
  if (outDir !== undefined) await mkdir(outDir, { recursive: true });
  const log = makeLog({ level: 'warn', format: 'pretty' }, terminal.stderr);
  // Configuration, rules and sources are most of the program, and --cert does without them.
  const site = await (options.cert === undefined
    ? import('./seal/site.ts').then(({ openSite }) => openSite(options, config, terminal, log))
    : openAdHoc(options, options.cert, terminal));
  try {
    const outbox = makeFileOutbox(outDir ?? terminal.stdout);
    const path = makePath({ ...site.parts, outbox, largest: () => undefined, now: Date.now, randomBytes, log });
    const client = { address: '127.0.0.1', helo: 'localhost', tls: null, user: null };
    await path.accept({ sender, recipients, envid: null, client, protocol: 'LOCAL' }, terminal.stdin);
  } catch (error) {
    throw error instanceof SealpostError && error.code === 'pass-unavailable' ? nothingToSeal(error) : error;
  } finally {
    await site.close();
  }
}

/** Here is no queue, and so no spool: what the relay passes, this command has nothing to do with. */
const nothingToSeal = (cause: SealpostError): SealpostError =>
  new SealpostError('pass-unavailable', {
    ...(cause.detail === undefined ? {} : { detail: cause.detail }),
    hint: 'that rule passes the message in clear, so there is nothing to seal: the running relay sends it on as it came',
    cause,
  });

/** One certificate for all recipients and one rule: for trying, and for scripts that look certificates up themselves. */
async function openAdHoc(options: Options, file: string, { cwd }: Terminal): Promise<Site> {
  const [first, ...others] = await usableCertificates(resolve(cwd, file));
  const directory: Directory = { lookup: async () => ({ kind: 'found', chosen: [first, ...others], rejected: [], asked: [] }) };
  const rule = {
    name: 'command line',
    when: ALWAYS,
    then: 'seal',
    missing: 'refuse',
    unavailable: 'retry',
    subject: subject(options.subject ?? 'keep'),
  } as const;
  const parts = {
    hostname: 'localhost',
    rules: () => makeRuleSet([rule]),
    addressBook: makeAddressBook(directory),
    chooseForm: formFor(options, 'compatible'),
  };
  return { parts, close: () => {} };
}

async function usableCertificates(file: string): Promise<[Chosen, ...Chosen[]]> {
  const { certificates, faults } = readCertificates(await readBytes(file));
  const [certificate] = certificates;
  if (certificate === undefined)
    throw new SealpostError('certificate-malformed', { detail: `${file}: ${faults[0] ?? 'it holds no certificate'}` });
  const verdict = usability(certificate, Date.now());
  if (verdict.kind === 'unusable') throw new SealpostError('certificate-unusable', { detail: `${file}: ${verdict.reason}` });
  return [{ certificate, source: 'command line', place: file, path: [certificate], revocation: 'off' }];
}

async function readBytes(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new SealpostError('file-unreadable', { detail: file, cause });
  }
}

function subject(text: string): SubjectPolicy {
  if (text === 'keep') return { kind: 'keep' };
  const verdict = parseTemplate(text);
  if (verdict.kind === 'fault') throw new SealpostError('usage', { detail: `--subject ${verdict.fault}`, hint: verdict.mend });
  return verdict.subject;
}

function mailbox(text: string, option: string): Mailbox {
  const verdict = parseMailbox(text);
  if (verdict.kind === 'fault')
    throw new SealpostError('address-invalid', { detail: `${option} ${text}: ${verdict.fault}`, hint: 'local@domain, nothing else' });
  return verdict.mailbox;
}
