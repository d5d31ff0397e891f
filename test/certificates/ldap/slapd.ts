/** A real directory: OpenLDAP's slapd in a temporary folder, on free ports of 127.0.0.1, as the user of the test. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { eventually } from '../openssl.ts';

const SLAPD = '/usr/sbin/slapd';
const SCHEMA = '/etc/ldap/schema';
export const noSlapd = existsSync(SLAPD) && existsSync(`${SCHEMA}/inetorgperson.schema`) ? false : 'slapd is not installed';

export const BASE = 'dc=clinic,dc=example';
export const RELAY_DN = `cn=relay,${BASE}`;
export const PASSWORD = 'Tr0ub4dor&3';

/** Whoever ends what was started: a test, or a bench. */
export interface Owner {
  after(end: () => unknown): void;
}

/** For a whole suite: `after` of node:test, called in a hook, would end what it was given with the hook. */
export function suiteOwner(): Owner {
  const ends: (() => unknown)[] = [];
  after(async () => {
    for (const end of ends.toReversed()) await end();
  });
  return { after: (end) => void ends.push(end) };
}

export interface SlapdOptions {
  /** LDIF records below BASE, which is there already. */
  readonly ldif?: string;
  /** PEM files; with them the second port speaks TLS, and the first one STARTTLS. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Lines of slapd.conf before and in the database. */
  readonly global?: readonly string[];
  readonly database?: readonly string[];
}

export interface Slapd {
  readonly port: number;
  /** Of ldaps. */
  readonly tlsPort: number;
  /** Of loglevel stats: each operation. */
  log(): string;
  /** Until everything that it did before this call stands in the log: its log comes by a pipe, later than its answers. */
  caughtUp(): Promise<void>;
  /** How many searches it was asked below BASE. */
  searches(): number;
  stop(): Promise<void>;
  /** Again, on the same ports with the same content. */
  start(): Promise<void>;
  /** Stops it from answering while its port stays open, as a machine that hangs. */
  freeze(): Promise<void>;
  /** It goes on, with all that came in meanwhile. */
  thaw(): void;
}

export async function startSlapd(owner: Owner, { ldif = '', tls, global = [], database = [] }: SlapdOptions = {}): Promise<Slapd> {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-slapd-'));
  owner.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'db'));
  const conf = join(folder, 'slapd.conf');
  const tlsLines = tls === undefined ? [] : [`TLSCertificateFile ${tls.cert}`, `TLSCertificateKeyFile ${tls.key}`];
  const lines = [
    ...['core', 'cosine', 'inetorgperson'].map((name) => `include ${SCHEMA}/${name}.schema`),
    // As Active Directory has it.
    "attributetype ( 1.2.840.113556.1.2.210 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )",
    'modulepath /usr/lib/ldap',
    'moduleload back_mdb',
    ...tlsLines,
    ...global,
    'database mdb',
    `suffix "${BASE}"`,
    `rootdn "${RELAY_DN}"`,
    `rootpw ${PASSWORD}`,
    `directory ${join(folder, 'db')}`,
    'maxsize 67108864',
    'dbnosync',
    'index mail,proxyAddresses eq',
    'access to * by * read',
    ...database,
  ];
  writeFileSync(conf, `${lines.join('\n')}\n`);
  const top = `dn: ${BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Clinic\ndc: clinic\n`;
  // A copy: where AppArmor confines slapd, it does so by its path, to the system's own folders.
  const program = join(folder, 'slapd');
  copyFileSync(SLAPD, program);
  const filled = spawnSync(program, ['-Tadd', '-q', '-f', conf], { input: `${top}\n${ldif}`, encoding: 'utf8' });
  if (filled.status !== 0) throw new Error(`slapadd: ${filled.stderr}`);

  const [port, tlsPort] = [await freePort(), await freePort()];
  const urls = [`ldap://127.0.0.1:${port}/`, ...(tls === undefined ? [] : [`ldaps://127.0.0.1:${tlsPort}/`])];
  let log = '';
  let child: ChildProcess | undefined;
  const stop = async (): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await ended;
  };
  const start = async (): Promise<void> => {
    // -d keeps it in the foreground, and 256 is loglevel stats.
    const begun = spawn(program, ['-d', '256', '-f', conf, '-h', urls.join(' ')], { stdio: ['ignore', 'ignore', 'pipe'] });
    child = begun;
    begun.stderr.on('data', (chunk: Buffer) => {
      log += chunk.toString('latin1');
    });
    await eventually(async () => {
      if (begun.exitCode !== null) throw new Error(`slapd ended: ${log}`);
      return answers(port);
    });
  };
  owner.after(stop);
  await start();
  return {
    port,
    tlsPort,
    log: () => log,
    caughtUp: async () => {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      const mark = ` ACCEPT from IP=127.0.0.1:${socket.localPort} `;
      socket.destroy();
      await eventually(async () => log.includes(mark));
    },
    searches: () => log.split(` SRCH base="${BASE}"`).length - 1,
    stop,
    start,
    thaw: () => void child?.kill('SIGCONT'),
    freeze: async () => {
      child?.kill('SIGSTOP');
      // A signal takes its time to reach every thread.
      await eventually(async () => /\) T /.test(readFileSync(`/proc/${child?.pid}/stat`, 'latin1')));
    },
  };
}

export function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server does not listen');
  return address.port;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = portOf(server);
  server.close();
  await once(server, 'close');
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      resolve(true);
      socket.destroy();
    });
    socket.once('error', () => resolve(false));
  });
}

export interface PersonEntry {
  readonly name: string;
  readonly mail?: readonly string[];
  readonly proxyAddresses?: readonly string[];
  /** DER. */
  readonly userCertificate?: readonly Buffer[];
  /** Anything. */
  readonly userSMIMECertificate?: readonly Buffer[];
}

/** LDIF (RFC 2849) of one person right below BASE. */
export function person({ name, mail = [], proxyAddresses = [], userCertificate = [], userSMIMECertificate = [] }: PersonEntry): string {
  const encoded = (attribute: string, values: readonly Buffer[]): string[] =>
    values.map((value) => `${attribute}:: ${value.toString('base64')}`);
  const classes = ['inetOrgPerson', 'extensibleObject'].map((one) => `objectClass: ${one}`);
  return [
    `dn: cn=${name},${BASE}`,
    ...classes,
    `cn: ${name}`,
    `sn: ${name}`,
    ...encoded(
      'mail',
      mail.map((one) => Buffer.from(one)),
    ),
    ...encoded(
      'proxyAddresses',
      proxyAddresses.map((one) => Buffer.from(one)),
    ),
    ...encoded('userCertificate;binary', userCertificate),
    ...encoded('userSMIMECertificate', userSMIMECertificate),
    '',
    '',
  ].join('\n');
}
