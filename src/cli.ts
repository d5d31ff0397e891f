/**
 * argv → command. Commands are loaded one at a time, since parsers and libraries cost more to load than most commands take.
 * Only this file and commands/ print, read the environment or exit.
 */
import path from 'node:path';
import process from 'node:process';
import { inspect } from 'node:util';
import type { Command } from 'commander';
import { asSealpostError } from './errors.ts';
import { keepHeapSmall } from './commands/new-space.ts';
import type { BuildCommand, Terminal } from './commands/terminal.ts';
import { readVersion } from './commands/version.ts';

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<{ readonly build: BuildCommand }>;
}

const commands: Readonly<Record<string, Entry>> = {
  demo: { summary: 'shows the whole path on this machine, with no set-up', load: () => import('./commands/demo.ts') },
  init: { summary: 'writes a new site: configuration, policies, folders, CA', load: () => import('./commands/init.ts') },
  serve: { summary: 'runs the relay', load: () => import('./commands/serve.ts') },
  check: { summary: 'configuration, policies, certificates: every fault with its mend', load: () => import('./commands/check.ts') },
  doctor: { summary: 'live checks: relay, disk, queue, listeners, upstreams', load: () => import('./commands/doctor.ts') },
  seal: { summary: 'seals one message offline', load: () => import('./commands/seal.ts') },
  open: { summary: 'shows a sealed message as its reader would', load: () => import('./commands/open.ts') },
  explain: { summary: 'which rule, which certificate, what would happen', load: () => import('./commands/explain.ts') },
  policies: { summary: 'the rules: tested against a table of expected decisions, or listed', load: () => import('./commands/policies.ts') },
  certs: { summary: 'recipient certificates', load: loadCerts },
  users: { summary: 'those who may log in', load: () => import('./commands/users.ts') },
  queue: { summary: 'lists, shows, retries or removes queued messages', load: () => import('./commands/queue.ts') },
  audit: { summary: 'verifies and shows the audit log', load: () => import('./commands/audit.ts') },
  sendmail: { summary: 'a drop-in for /usr/sbin/sendmail', load: () => import('./commands/sendmail/usage.ts') },
};

function loadCerts(): ReturnType<Entry['load']> {
  keepHeapSmall();
  return import('./commands/certs.ts');
}

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  const asSendmail = readSendmail(argv);
  if (asSendmail !== undefined) {
    const { sendmail } = await import('./commands/sendmail.ts');
    return sendmail(asSendmail.words, asSendmail.config, terminal);
  }
  const { Command, CommanderError } = await import('commander');
  const program = new Command('sealpost')
    .description('S/MIME-encrypting SMTP relay')
    .option('-c, --config <file>', 'configuration file (else SEALPOST_CONFIG, ./sealpost.yaml, /etc/sealpost/sealpost.yaml)')
    .version(readVersion(), '-V, --version')
    .exitOverride()
    .configureOutput({ writeOut: (text) => terminal.stdout.write(text), writeErr: (text) => terminal.stderr.write(text) })
    .showHelpAfterError('(sealpost help COMMAND shows what it takes)');
  try {
    // Behind the options of the program itself, whose values may read like the name of a command.
    const wanted = program.parseOptions([...argv]).operands.find((word) => Object.hasOwn(commands, word));
    for (const [name, entry] of Object.entries(commands)) {
      const command = name === wanted ? (await entry.load()).build(terminal) : new Command(name);
      program.addCommand(inherit(command.name(name).summary(entry.summary), program));
    }
    await program.parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    return report(error, terminal);
  }
}

/**
 * The words behind `sendmail`, or all of them where the program is called by that name. Before commander is loaded, since the
 * options are sendmail's and the time counts for each mail.
 */
function readSendmail(argv: readonly string[]): { readonly words: readonly string[]; readonly config: string | undefined } | undefined {
  if (path.basename(process.argv[1] ?? '') === 'sendmail') return { words: argv, config: undefined };
  const [, joined] = /^(?:--config=|-c)(.+)$/s.exec(argv[0] ?? '') ?? [];
  const apart = argv[0] === '-c' || argv[0] === '--config' ? argv[1] : undefined;
  const words = argv.slice(joined !== undefined ? 1 : apart !== undefined ? 2 : 0);
  return words[0] === 'sendmail' ? { words: words.slice(1), config: joined ?? apart } : undefined;
}

/** All the way down: commander copies settings when a subcommand is made, and ours are made before they have a parent. */
function inherit(command: Command, parent: Command): Command {
  command.copyInheritedSettings(parent);
  for (const child of command.commands) inherit(child, command);
  return command;
}

/** One line that says what, one that says what to do. The stack of a fault in sealpost itself goes to SEALPOST_DEBUG. */
function report(thrown: unknown, terminal: Terminal): number {
  const error = asSealpostError(thrown);
  terminal.stderr.write(`sealpost: ${error.message}\n  hint: ${error.hint}\n`);
  if (terminal.env['SEALPOST_DEBUG'] !== undefined) terminal.stderr.write(`${inspect(error)}\n`);
  return error.code === 'usage' ? EXIT_USAGE : EXIT_FAILED;
}

/** A reader that had enough, such as head: no fault of ours and nothing to say about it. */
process.stdout.on('error', (error) => {
  if ('code' in error && error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await main(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.cwd(),
  colour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
});
