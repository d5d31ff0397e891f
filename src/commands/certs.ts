/** `sealpost certs`: recipient certificates and the in-house CA. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { keyChoices, MAX_DAYS } from '../certificates/authority/issue.ts';
import { revocationReasons } from '../certificates/authority/ledger.ts';
import { DEFAULT_DAYS } from '../certificates/authority/profile.ts';
import { type Config, loadConfig } from '../config.ts';
import { readDuration } from '../config/units.ts';
import { add, type AddWish } from './certificates/add.ts';
import { approve, type ApproveOptions, forget, pending, reject } from './certificates/changes.ts';
import { expiring, type ExpiringWish } from './certificates/expiring.ts';
import { harvest, type HarvestOptions } from './certificates/harvest.ts';
import { history } from './certificates/history.ts';
import { issue, type IssueWish } from './certificates/issue.ts';
import { lookup, type LookupOptions } from './certificates/lookup.ts';
import { certificatePaths, type CertificatePaths } from './certificates/paths.ts';
import { remove } from './certificates/remove.ts';
import { renew, type RenewWish } from './certificates/renewing.ts';
import { crl, revoke, type RevokeWish } from './certificates/revoke.ts';
import { list, show } from './certificates/show.ts';
import { confirmAddress, tryAddress } from './certificates/try.ts';
import { locateQueue } from './locate.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

export const build: BuildCommand = (terminal) => {
  const certs = new Command('certs');
  addLooks(certs, terminal);
  addKeeping(certs, terminal);
  addDecisions(certs, terminal);
  addAuthority(certs, terminal);
  return certs;
};

/** What is there, and what becomes of it. */
function addLooks(certs: Command, terminal: Terminal): void {
  certs
    .command('list')
    .description('every recipient certificate, and whether mail would be sealed to it')
    .option('--unconfirmed', 'those alone whose reader has not confirmed a code of certs try')
    .option('--json', 'as JSON')
    .action(async (options: { json?: boolean; unconfirmed?: true }, command: Command) =>
      list(await pathsOf(command, terminal), terminal, options),
    );
  certs
    .command('show')
    .description('the certificates in a file, and whether mail would be sealed to them')
    .argument('<file>')
    .option('--json', 'as JSON')
    .action(async (what: string, options: { json?: boolean }, command: Command) =>
      show(what, await pathsOf(command, terminal), terminal, options),
    );
  certs
    .command('lookup')
    .description('what mail for an address would be sealed to: every source, every certificate, and why it is used or not')
    .argument('<address>')
    .addOption(new Option('--domain <use>', "as a rule's domain_certificate").choices(['never', 'fallback', 'only']).default('never'))
    .option('--json', 'as JSON')
    .action(async (address: string, options: LookupOptions, command: Command) =>
      lookup(address, await pathsOf(command, terminal), terminal, options),
    );
  certs
    .command('expiring')
    .description('certificates that end soon, or have ended, and whether their addresses have others that last')
    .option('--within <time>', 'how soon; certificates.expiry.within where it is left out', readTime)
    .option('--all', 'also those of addresses that have another which lasts')
    .option('--fail', 'exit 1 where something ends, for monitoring')
    .option('--json', 'as JSON')
    .action(async (wish: ExpiringWish, command: Command) => expiring(wish, await pathsOf(command, terminal), terminal));
  certs
    .command('history')
    .description('all that is known of an address, in the order of time: uses, changes, approvals, tries')
    .argument('<address>')
    .option('--json', 'as JSON')
    .action(async (address: string, options: { json?: boolean }, command: Command) =>
      history(address, await configOf(command, terminal), terminal, options),
    );
}

/** What is taken and taken away. */
function addKeeping(certs: Command, terminal: Terminal): void {
  certs
    .command('add')
    .description('take certificates: PEM, DER, PKCS#7, PKCS#12, LDIF, whole folders; - reads standard input')
    .argument('<file|folder...>')
    .option('--password-file <file>', 'passwords of PKCS#12 files, one a line')
    .option('--dry-run', 'say what would be taken and write nothing')
    .option('--verbose', 'every refusal, and not the first of each kind')
    .option('--json', 'as JSON: every certificate and fault, and the sum')
    .action(async (files: string[], wish: AddWish, command: Command) => add(files, await pathsOf(command, terminal), terminal, wish));
  certs
    .command('remove')
    .description('take away the certificates of an address, or one by its SHA-256 fingerprint')
    .argument('<address|fingerprint>')
    .action(async (what: string, _options: unknown, command: Command) => remove(what, await pathsOf(command, terminal), terminal));
  certs
    .command('harvest')
    .description('certificates from signed mail: files, folders of .eml files, - for standard input')
    .argument('<file...>')
    .option('--json', 'as JSON')
    .option('--by <name>', 'for whom you do it')
    .action(async (files: string[], options: HarvestOptions, command: Command) =>
      harvest(files, await configOf(command, terminal), terminal, options),
    );
}

/** What waits for a person's word. */
function addDecisions(certs: Command, terminal: Terminal): void {
  certs
    .command('pending')
    .description('certificates that wait for approval: changed ones (certificates.pin), and those of signed mail')
    .option('--json', 'as JSON')
    .action(async (options: { json?: boolean }, command: Command) => pending(await locateQueue(terminal, command), terminal, options));
  certs
    .command('approve')
    .description('let a certificate be used that waits; the audit log keeps who did it')
    .argument('<address>')
    .argument('[fingerprint]', 'its SHA-256, or the first 16 digits; needed where several wait')
    .option('--all-addresses', 'yes, for every address that a certificate of a signed mail names')
    .option('--by <name>', 'for whom you do it')
    .action(async (address: string, fingerprint: string | undefined, options: ApproveOptions, command: Command) =>
      approve({ address, fingerprint }, await configOf(command, terminal), terminal, options),
    );
  certs
    .command('reject')
    .description('drop a certificate of a signed mail that waits')
    .argument('<address>')
    .argument('[fingerprint]', 'its SHA-256, or the first 16 digits; all of the address without one')
    .option('--by <name>', 'for whom you do it')
    .action(async (address: string, fingerprint: string | undefined, options: { by?: string }, command: Command) =>
      reject({ address, fingerprint }, await configOf(command, terminal), terminal, options),
    );
  certs
    .command('forget')
    .description('forget which certificates mail to an address was sealed to, or one of them; the next one is trusted again')
    .argument('<address>')
    .argument('[fingerprint]', 'its SHA-256, or the first 16 digits')
    .option('--by <name>', 'for whom you do it')
    .option('--yes', 'yes, whatever is found next for the address is trusted')
    .action(async (address: string, fingerprint: string | undefined, options: { by?: string; yes?: true }, command: Command) =>
      forget({ address, fingerprint }, await locateQueue(terminal, command), terminal, options),
    );
  certs
    .command('try')
    .description('send a sealed message with a code, to see whether its reader can open it')
    .argument('<address>')
    .option('--by <name>', 'for whom you do it')
    .action(async (address: string, options: { by?: string }, command: Command) =>
      tryAddress(address, await configOf(command, terminal), terminal, options),
    );
  certs
    .command('confirm')
    .description('the code of certs try, as its reader told it; - reads it from standard input')
    .argument('<address>')
    .argument('<code>')
    .option('--by <name>', 'for whom you do it')
    .action(async (address: string, code: string, options: { by?: string }, command: Command) =>
      confirmAddress(address, code, await configOf(command, terminal), terminal, options),
    );
}

/** The in-house CA. */
function addAuthority(certs: Command, terminal: Terminal): void {
  certs
    .command('issue')
    .description('make a key and a certificate by the in-house CA, and a PKCS#12 for the reader')
    .argument('[address]')
    .option('--csv <file>', 'instead: for everybody in a table with the columns address, name, key, days; - reads standard input')
    .addOption(new Option('--key <kind>', 'rsa is what every mail program opens; ec is P-256').choices(keyChoices).default('rsa'))
    .option('--days <n>', `how long it is valid, at most ${MAX_DAYS}`, readDays, DEFAULT_DAYS)
    .option('--out <dir>', 'where the .p12, its password and the page go', 'issued')
    .option('--name <name>', "the reader's name, as mail programs show it")
    .option('--again', 'with --csv: also for who has a valid one')
    .option('--by <name>', 'for whom you do it')
    .option('--json', 'as JSON')
    .action(async (address: string | undefined, wish: IssueWish, command: Command) =>
      issue(address, wish, await pathsOf(command, terminal), terminal),
    );
  certs
    .command('renew')
    .description('make a new key and certificate by the in-house CA for who has one; the old one goes on until it ends')
    .argument('[address|fingerprint...]')
    .option('--within <time>', 'instead: all of the in-house CA that end within it, such as 30d', readTime)
    .addOption(new Option('--key <kind>', 'another kind of key than the old one').choices(keyChoices))
    .option('--days <n>', `how long it is valid, at most ${MAX_DAYS}; as long as the old one was made for`, readDays)
    .option('--out <dir>', 'where the .p12, its password and the page go (default: "issued/renewed-DAY")')
    .option('--by <name>', 'for whom you do it')
    .option('--again', 'also what was renewed already, or is revoked')
    .option('--dry-run', 'only say what would be renewed')
    .option('--json', 'as JSON')
    .action(async (what: string[], wish: RenewWish, command: Command) => renew(what, wish, await pathsOf(command, terminal), terminal));
  certs
    .command('revoke')
    .description('revoke certificates of the in-house CA, for good, and write its list')
    .argument('<address|fingerprint|serial>')
    .addOption(
      new Option('--reason <reason>', 'as the list says it (RFC 5280)').choices(Object.keys(revocationReasons)).makeOptionMandatory(),
    )
    .option('--by <name>', 'for whom you do it')
    .option('--yes', 'yes, all certificates of the address')
    .option('--json', 'as JSON')
    .action(async (what: string, wish: RevokeWish, command: Command) => revoke(what, wish, await pathsOf(command, terminal), terminal));
  certs
    .command('crl')
    .description('write fresh lists of what the in-house CA has revoked')
    .option('--out <file>', 'a copy of the list, DER, for a web server or another machine')
    .option('--json', 'as JSON')
    .action(async (options: { out?: string; json?: true }, command: Command) => crl(options, await pathsOf(command, terminal), terminal));
}

function configOf(command: Command, { env, cwd }: Terminal): Promise<Config> {
  const { config: file } = command.optsWithGlobals<{ config?: string }>();
  return loadConfig({ file, env, cwd });
}

function pathsOf(command: Command, terminal: Terminal): Promise<CertificatePaths> {
  const { config } = command.optsWithGlobals<{ config?: string }>();
  return certificatePaths(config, terminal);
}

function readDays(text: string): number {
  const days = Number(text);
  if (!Number.isInteger(days) || days < 1 || days > MAX_DAYS) throw new InvalidArgumentError(`a whole number from 1 to ${MAX_DAYS}.`);
  return days;
}

function readTime(text: string): number {
  const read = readDuration(text);
  if (read.kind === 'wrong') throw new InvalidArgumentError(`it ${read.wrong}: 30d, for example.`);
  return read.value;
}
