/** `sealpost explain`: for each recipient the rules that were tried, the certificate, what everybody can read, the replies. */
import { isIP } from 'node:net';
import { Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../config.ts';
import { readSize as asRulesDo } from '../document/size.ts';
import { SealpostError } from '../errors.ts';
import { type Mailbox, parseMailbox } from '../message/envelope.ts';
import { makeRuleSet } from '../policy/decide.ts';
import { loadRules } from '../policy/rules.ts';
import { printableJson } from './certificates/account.ts';
import { pathsOf } from './certificates/paths.ts';
import { withSite } from './certificates/site.ts';
import { explain } from './explain/account.ts';
import { assume } from './explain/assumed.ts';
import { sayNotTaken, signingFaults, siteForms, siteWords } from './explain/site.ts';
import { showAccount } from './explain/show.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

/** A mailbox of the command line, with or without angle brackets. */
function readMailbox(option: string, written: string): Mailbox {
  const bare = written.startsWith('<') && written.endsWith('>') ? written.slice(1, -1) : written;
  const verdict = parseMailbox(bare);
  if (verdict.kind === 'mailbox') return verdict.mailbox;
  const hint = `write it as ${option} anna@clinic.example${option === '--from' ? ", or --from '<>' for the null sender" : ''}`;
  throw new SealpostError('usage', { detail: `${option} ${JSON.stringify(written)}: ${verdict.fault}`, hint });
}

interface Options {
  readonly from: string;
  readonly to: readonly string[];
  readonly subject?: string;
  readonly headerFrom?: string;
  readonly header?: readonly string[];
  readonly message?: string;
  readonly client: string;
  readonly user?: string;
  readonly size?: number;
  readonly json?: true;
}

export const build: BuildCommand = (terminal) =>
  new Command()
    .description('shows what would happen to a message, without sending one')
    .requiredOption('--from <address>', "the envelope sender; '<>' for the null sender")
    .requiredOption('--to <address...>', 'the envelope recipients')
    .option('--subject <text>', 'its Subject')
    .option('--header-from <mailbox>', 'its From (default: the envelope sender)')
    .option('--header <field...>', "a field of its header: 'X-Form: intake'")
    .option('--message <file>', 'the message itself, instead of the three above')
    .option('--client <address>', 'the IP address it comes from', readClient, '127.0.0.1')
    .option('--user <name>', 'who has logged in')
    .option('--size <size>', 'what MAIL declares, in octets or as 20MiB (default: nothing, or the size of the message)', readSize)
    .option('--json', 'for programs')
    .action(async (options: Options, command: Command) => {
      const { config } = command.optsWithGlobals<{ config?: string }>();
      await run(options, config, terminal);
    });

async function run(options: Options, file: string | undefined, terminal: Terminal): Promise<void> {
  const sender = options.from === '<>' ? null : readMailbox('--from', options.from);
  const recipients = options.to.map((written) => readMailbox('--to', written));
  const { subject, headerFrom, header: headers, message, client: address, user } = options;
  if (message !== undefined && [subject, headerFrom, headers].some((one) => one !== undefined))
    throw new SealpostError('usage', {
      detail: '--message holds the whole header already',
      hint: 'leave out --subject, --header-from and --header',
    });
  const assumed = await assume({ subject, headerFrom, headers, message }, sender);
  const config = await loadConfig({ file, env: terminal.env, cwd: terminal.cwd });
  const rules = makeRuleSet(await loadRules(config.policies));
  const client = { address, user: user === undefined ? null : { name: user, mailbox: null } };
  const about = { sender, client, size: options.size ?? assumed?.size ?? null };
  const content = { content: assumed?.content, isSealedFor: assumed?.isSealedFor };
  const formFor = siteForms(config);
  terminal.stderr.write(sayNotTaken(await signingFaults(config, rules.rules, terminal.env)));
  const accounts = await withSite(pathsOf(config, terminal.env), terminal, ({ addressBook }) =>
    Promise.all(recipients.map((recipient) => explain({ rules, addressBook, formFor }, { ...about, ...content, recipient }))),
  );
  if (options.json === true) terminal.stdout.write(printableJson(accounts));
  else {
    const words = siteWords(config);
    for (const note of assumed?.notes ?? []) terminal.stderr.write(`sealpost: assumed: ${note}\n`);
    terminal.stdout.write(accounts.map((account) => showAccount(account, words)).join('\n'));
  }
}

function readClient(text: string): string {
  if (isIP(text) === 0) throw new InvalidArgumentError('an IP address, without a port.');
  return text;
}

function readSize(text: string): number {
  if (text === '0') return 0;
  const size = asRulesDo(text);
  if (size.kind === 'wrong') throw new InvalidArgumentError(`${size.mend ?? size.wrong}.`);
  return size.value;
}
