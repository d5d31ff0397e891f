/** Certificates made by a stranger: openssl(1), in a temporary folder of the test's own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { parseMailbox } from '../../src/message/envelope.ts';
import type { Mailbox } from '../../src/message/envelope.ts';

export const noOpenssl = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed';

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-certs-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function run(command: string, args: readonly string[], cwd: string, input?: string): string {
  const done = spawnSync(command, args, { cwd, encoding: 'utf8', ...(input === undefined ? {} : { input }) });
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.status} ${done.stderr}${done.stdout}`);
  return done.stdout;
}

export interface Wish {
  readonly name: string;
  /** As openssl genpkey takes them; the default is EC P-256, which is quick. */
  readonly key?: readonly string[];
  /** Lines of an extension section. */
  readonly extensions?: readonly string[];
  /** The wish that signs; itself where undefined. */
  readonly issuer?: string;
  readonly subject?: string;
  readonly from?: string;
  readonly to?: string;
  readonly serial?: string;
  readonly digest?: string;
  /** openssl's string_mask: which string types names are written in. */
  readonly mask?: string;
}

export const rsa = (bits: number, exponent = 65_537): readonly string[] => [
  '-algorithm',
  'RSA',
  '-pkeyopt',
  `rsa_keygen_bits:${bits}`,
  '-pkeyopt',
  `rsa_keygen_pubexp:${exponent}`,
];
export const ec = (curve = 'P-256'): readonly string[] => ['-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${curve}`];

export const caExtensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign', 'subjectKeyIdentifier=hash'];

/** Writes NAME.key and NAME.pem into `folder` and gives the DER back. */
export function make(folder: string, wish: Wish): Buffer {
  run('openssl', ['genpkey', ...(wish.key ?? ec()), '-out', `${wish.name}.key`], folder);
  return certify(folder, wish);
}

/** Writes NAME.pem for the NAME.key that is there: cross-certificates, renewals. */
export function certify(folder: string, wish: Wish): Buffer {
  const { name, issuer = name, subject = `/CN=${name}`, from = '20200101000000Z', to = '20991231235959Z' } = wish;
  const lines = ['[e]', ...(wish.extensions ?? [`subjectAltName=email:${name}@example.org`])];
  writeFileSync(join(folder, 'index.txt'), '');
  writeFileSync(join(folder, 'serial'), `${wish.serial ?? randomBytes(9).toString('hex')}\n`);
  writeFileSync(join(folder, 'ca.cnf'), `${CA.replace('utf8only', wish.mask ?? 'utf8only')}\n${lines.join('\n')}\n`);
  const asked = ['req', '-new', '-utf8', '-config', 'ca.cnf', '-key', `${name}.key`, '-subj', subject, '-out', `${name}.csr`];
  run('openssl', asked, folder);
  const signer = issuer === name ? ['-selfsign', '-keyfile', `${name}.key`] : ['-keyfile', `${issuer}.key`, '-cert', `${issuer}.pem`];
  const dates = ['-startdate', from, '-enddate', to, '-md', wish.digest ?? 'sha256'];
  const out = ['-extensions', 'e', '-notext', '-out', `${name}.pem`];
  run('openssl', ['ca', '-batch', '-preserveDN', '-config', 'ca.cnf', '-in', `${name}.csr`, ...signer, ...dates, ...out], folder);
  return derOf(readFileSync(join(folder, `${name}.pem`), 'latin1'));
}

const CA = `[ca]
default_ca = d
[d]
database = index.txt
serial = serial
new_certs_dir = .
policy = p
unique_subject = no
[p]
commonName = optional
organizationName = optional
organizationalUnitName = optional
[req]
distinguished_name = dn
string_mask = utf8only
[dn]`;

export const derOf = (pem: string): Buffer => Buffer.from(pem.replace(/-----[^-]+-----/g, '').replace(/\s/g, ''), 'base64');

export function mailboxOf(address: string): Mailbox {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault') throw new Error(verdict.fault);
  return verdict.mailbox;
}

/** Waits until `holds`, which is what a user waits for; fails after `ceiling` ms instead of hanging. */
export async function eventually(holds: () => Promise<boolean>, ceiling = 10_000): Promise<void> {
  const ends = performance.now() + ceiling;
  while (!(await holds())) {
    if (performance.now() > ends) throw new Error(`not within ${ceiling} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const noPerl = spawnSync('perl', ['-e', '1']).status === 0 ? false : 'perl is not installed';

/**
 * Makes every open of a file hang, as at a file server that is gone, until the process that comes back is killed: it holds a
 * write lease (fcntl F_SETLEASE), for which the kernel lets others wait up to 45 seconds. It prints `held`, and `asked` as soon as one waits.
 */
export async function hangReadsOf(file: string): Promise<ChildProcess> {
  const script =
    '$SIG{IO} = sub { print "asked" }; $| = 1; open(F, "+<", $ARGV[0]) or die $!; fcntl(F, 1024, 1) or die $!; print "held"; sleep 1 for 1 .. 60';
  const holder = spawn('perl', ['-e', script, file], { stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([
    once(holder.stdout, 'data'),
    once(holder, 'exit').then(() => {
      throw new Error('this file system gives no lease');
    }),
  ]);
  return holder;
}
