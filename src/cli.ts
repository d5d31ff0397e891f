/**
 * argv → command. Commands are loaded one at a time, since parsers and libraries cost more to load than most commands take.
 * Only this file and commands/ print, read the environment or exit.
 */
import process from 'node:process';
import { inspect } from 'node:util';
import { Command, CommanderError } from 'commander';
import { asSealpostError } from './errors.ts';
import type { BuildCommand, Terminal } from './commands/terminal.ts';

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<{ readonly build: BuildCommand }>;
}

const commands: Readonly<Record<string, Entry>> = {
  certs: { summary: 'recipient certificates', load: () => import('./commands/certs.ts') },
};

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  const program = new Command('sealpost')
    .description('S/MIME-encrypting SMTP relay')
    .option('-c, --config <file>', 'configuration file (else SEALPOST_CONFIG, ./sealpost.yaml, /etc/sealpost/sealpost.yaml)')
    .exitOverride()
    .configureOutput({ writeOut: (text) => terminal.stdout.write(text), writeErr: (text) => terminal.stderr.write(text) })
    .showHelpAfterError('(sealpost help COMMAND shows what it takes)');
  const wanted = argv.find((word) => word in commands);
  for (const [name, entry] of Object.entries(commands)) {
    const command = name === wanted ? (await entry.load()).build(terminal) : new Command(name);
    program.addCommand(inherit(command.name(name).summary(entry.summary), program));
  }
  try {
    await program.parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    return report(error, terminal);
  }
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

process.exitCode = await main(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.cwd(),
  colour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
});
