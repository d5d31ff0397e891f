import { Command } from 'commander';
import { USAGE } from './help.ts';
import type { BuildCommand } from '../terminal.ts';

/** Only what `sealpost help sendmail` shows: sendmail's command line is read in arguments.ts, and commander never sees it. */
export const build: BuildCommand = () => new Command().description('a drop-in for /usr/sbin/sendmail').addHelpText('after', `\n${USAGE}`);
