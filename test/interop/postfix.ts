/**
 * A private Postfix on loopback. Queue, log, configuration and process ids are in a folder of the caller; the machine's own
 * Postfix, running or not, is not touched.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { freePort, greets, LOOPBACK, until } from './ports.ts';
import { findProgram, missingPrograms, run, succeed } from './programs.ts';

export interface PostfixOptions {
  /** Where all mail goes, on loopback. */
  readonly relayTo: { readonly port: number };
  /** A folder that exists and that the caller removes. It becomes readable by all, since Postfix's processes are not root. */
  readonly dir: string;
  /** More lines of main.cf; they win over ours. */
  readonly settings?: Readonly<Record<string, string>>;
  /** More lines of master.cf. */
  readonly services?: readonly string[];
}

export interface Postfix extends AsyncDisposable {
  readonly port: number;
  /** What it logged so far. */
  log(): Promise<string>;
  stop(): Promise<void>;
}

/** The text of a skip: Postfix is not there, or cannot be started since only root can. */
export function missingPostfix(): string | undefined {
  const absent = missingPrograms({ postfix: 'postfix', postconf: 'postfix', 'smtp-sink': 'postfix' });
  return absent ?? (process.getuid?.() === 0 ? undefined : 'postfix starts only as root');
}

/** Two cores under the load of other tests: it starts in two seconds alone. */
const START_MS = 60_000;

const MASTER = (port: number): string => `
${LOOPBACK}:${port} inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
tlsmgr    unix - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
`;

/** Starts it; resolves once it greets. All it takes from 127.0.0.0/8 is relayed in clear to `relayTo`. */
export async function startPostfix({ relayTo, dir, settings = {}, services = [] }: PostfixOptions): Promise<Postfix> {
  const [config, queue, data, log] = [join(dir, 'etc'), join(dir, 'queue'), join(dir, 'data'), join(dir, 'postfix.log')];
  const port = await freePort();
  await chmod(dir, 0o755);
  for (const folder of [config, queue, data]) await mkdir(folder, { recursive: true });
  await succeed('chown', ['postfix', data]);
  const main = {
    compatibility_level: '3.6',
    queue_directory: queue,
    data_directory: data,
    maillog_file: log,
    maillog_file_prefixes: dir,
    myhostname: 'postfix.example',
    mydestination: '',
    local_recipient_maps: '',
    alias_maps: '',
    alias_database: '',
    inet_interfaces: LOOPBACK,
    inet_protocols: 'ipv4',
    mynetworks: '127.0.0.0/8',
    relayhost: `[${LOOPBACK}]:${relayTo.port}`,
    smtpd_tls_security_level: 'none',
    smtp_tls_security_level: 'none',
    smtp_dns_support_level: 'disabled',
    smtpd_peername_lookup: 'no',
    message_size_limit: '0',
    ...settings,
  };
  const lines = Object.entries(main).map(([name, value]) => `${name} = ${value}\n`);
  await writeFile(join(config, 'main.cf'), lines.join(''));
  await writeFile(join(config, 'master.cf'), [MASTER(port), ...services, ''].join('\n'));
  const read = (): Promise<string> => readFile(log, 'utf8').catch(() => '');
  const child = spawn(findProgram('postfix') ?? 'postfix', ['-c', config, 'start-fg'], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  const stop = async (): Promise<void> => {
    // One that is still starting does not know how to stop, and would run for ever.
    await until(
      'postfix stops',
      async () => child.exitCode !== null || (await run('postfix', ['-c', config, 'stop'])).code === 0,
      START_MS,
    );
    await exited;
  };
  try {
    await until(
      'postfix greets',
      () => {
        if (child.exitCode !== null) throw new Error(`postfix exited with ${child.exitCode}`);
        return greets(port);
      },
      START_MS,
    );
  } catch (error) {
    const text = await read();
    await stop();
    throw new Error(`postfix did not start: ${text}`, { cause: error });
  }
  return { port, log: read, stop, [Symbol.asyncDispose]: stop };
}
