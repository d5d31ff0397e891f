/**
 * A private exim4 on loopback, from the package that .ci/exim unpacked. Spool, log and mail are in a folder of the caller. Exim asks
 * for a user Debian-exim, which no machine without the installed package has: nss_wrapper shows it a passwd file of our own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, readdirSync } from 'node:fs';
import { chmod, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { freePort, greets, LOOPBACK, until } from './ports.ts';
import { succeed } from './programs.ts';

const UNPACKED = resolve(import.meta.dirname, '../../.cache/exim/usr/sbin/exim4');
const NOBODY = 65_534;
const START_MS = 60_000;

export interface EximOptions {
  /** A folder that exists and that the caller removes. */
  readonly dir: string;
  /** Files of PEM. */
  readonly certificate: string;
  readonly key: string;
  /** Without blanks and colons. */
  readonly user: string;
  readonly password: string;
}

export interface Exim extends AsyncDisposable {
  /** STARTTLS. */
  readonly port: number;
  /** TLS from the first octet. */
  readonly implicitPort: number;
  /** Every message it delivered. */
  messages(): Promise<Buffer[]>;
  /** What it logged so far. */
  log(): Promise<string>;
}

const wrapper = (): string | undefined =>
  readdirSync('/usr/lib')
    .map((name) => join('/usr/lib', name, 'libnss_wrapper.so'))
    .find(isThere);

function isThere(file: string): boolean {
  try {
    accessSync(file);
    return true;
  } catch {
    return false;
  }
}

/** The text of a skip. */
export function missingExim(): string | undefined {
  if (!isThere(UNPACKED)) return 'exim4 is not unpacked (.ci/exim does it)';
  if (wrapper() === undefined) return 'libnss_wrapper.so is not installed (Debian package libnss-wrapper)';
  return process.getuid?.() === 0 ? undefined : 'exim4 starts only as root';
}

/** TLS and a login for every recipient; what it takes is delivered into a Maildir. */
const configuration = ({ dir, certificate, key, user, password }: EximOptions, implicitPort: number): string => `
exim_path = ${dir}/exim4
exim_user = ${NOBODY}
exim_group = ${NOBODY}
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
spool_directory = ${dir}/spool
log_file_path = ${dir}/log/%s
pid_file_path = ${dir}/exim.pid
primary_hostname = exim.example
never_users =
tls_certificate = ${certificate}
tls_privatekey = ${key}
tls_advertise_hosts = *
tls_on_connect_ports = ${implicitPort}
auth_advertise_hosts = \${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept authenticated = *
         encrypted = *
  deny
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = ${dir}/mail
  maildir_format
  user = ${NOBODY}
  group = ${NOBODY}
begin authenticators
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = \${if and{{eq{$auth1}{${user}}}{eq{$auth2}{${password}}}}}
  server_set_id = $auth1
`;

/** Starts it; resolves once it greets. It offers AUTH LOGIN alone, and only under TLS. */
export async function startExim(options: EximOptions): Promise<Exim> {
  const { dir } = options;
  const [port, implicitPort] = [await freePort(), await freePort()];
  await chmod(dir, 0o755);
  for (const folder of ['spool', 'mail', 'log']) await mkdir(join(dir, folder));
  // It starts itself anew as its own user, who may not come near the checkout.
  await copyFile(UNPACKED, join(dir, 'exim4'));
  await chmod(join(dir, 'exim4'), 0o755);
  await writeFile(join(dir, 'passwd'), `root:x:0:0::/:/bin/sh\nDebian-exim:x:${NOBODY}:${NOBODY}::/:/bin/false\n`);
  await writeFile(join(dir, 'group'), `root:x:0:\nDebian-exim:x:${NOBODY}:\nmail:x:8:\n`);
  await writeFile(join(dir, 'exim.conf'), configuration(options, implicitPort), { mode: 0o644 });
  await succeed('chown', [`${NOBODY}:${NOBODY}`, ...['spool', 'mail', 'log'].map((folder) => join(dir, folder)), options.key]);
  const env = {
    ...process.env,
    LD_PRELOAD: wrapper() ?? '',
    NSS_WRAPPER_PASSWD: join(dir, 'passwd'),
    NSS_WRAPPER_GROUP: join(dir, 'group'),
  };
  const child = spawn(
    join(dir, 'exim4'),
    ['-C', join(dir, 'exim.conf'), '-bdf', '-oX', `<; ${LOOPBACK}.${port} ; ${LOOPBACK}.${implicitPort}`],
    { env, stdio: 'ignore' },
  );
  const exited = once(child, 'exit');
  const log = async (): Promise<string> => {
    const files = await readdir(join(dir, 'log'));
    return (await Promise.all(files.map((file) => readFile(join(dir, 'log', file), 'utf8')))).join('');
  };
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  try {
    await until(
      'exim greets',
      () => {
        if (child.exitCode !== null) throw new Error(`exim exited with ${child.exitCode}`);
        return greets(port);
      },
      START_MS,
    );
  } catch (error) {
    const text = await log();
    await stop();
    throw new Error(`exim did not start: ${text}`, { cause: error });
  }
  const maildir = join(dir, 'mail/new');
  return {
    port,
    implicitPort,
    log,
    async messages() {
      const names = await readdir(maildir).catch(() => []);
      return Promise.all(names.map((name) => readFile(join(maildir, name))));
    },
    [Symbol.asyncDispose]: stop,
  };
}
