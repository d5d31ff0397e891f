/** A small DNS of the test's own: knot serves a root and zones below it, unbound validates. Both on free ports of 127.0.0.1. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ownerNames } from '../../../src/certificates/smimea/owner.ts';
import { bindBoth } from './fake.ts';
import { eventually, mailboxOf, run } from '../openssl.ts';

const missing = ['knotd', 'keymgr', 'kdig', 'unbound'].filter((program) => spawnSync(program, ['-V']).error !== undefined);
export const noDns = missing.length === 0 ? false : `${missing.join(', ')} not installed`;

export interface Zone {
  readonly name: string;
  /** `bogus`: signed, and the root vouches for another key. */
  readonly kind: 'signed' | 'unsigned' | 'bogus';
  /** Lines of a zone file. */
  readonly records: readonly string[];
}

export interface World {
  readonly resolver: { readonly address: string; readonly port: number };
  /** The server of the zones itself, which validates nothing. */
  readonly server: { readonly address: string; readonly port: number };
  startResolver(): Promise<void>;
  stopResolver(): Promise<void>;
  /** It takes what it is asked, and answers nothing until `thawResolver`. */
  freezeResolver(): void;
  thawResolver(): void;
  close(): Promise<void>;
}

/** One line of a zone file; `parts` as `3 0 0`. */
export const smimea = (address: string, parts: string, data: Buffer): string =>
  `${ownerNames(mailboxOf(address))[0]}. SMIMEA ${parts} ${data.toString('hex')}`;

/** A port that is free for UDP and TCP. */
export async function freePort(): Promise<number> {
  const { socket, server } = await bindBoth('127.0.0.1');
  const { port } = socket.address();
  socket.close();
  server.close();
  return port;
}

/** `folder` is the caller's, for what the two read. */
export async function openWorld(folder: string, zones: readonly Zone[]): Promise<World> {
  const [serverPort, resolverPort] = [await freePort(), await freePort()];
  const anchor = writeServer(folder, serverPort, zones);
  writeResolver(folder, { serverPort, resolverPort, anchor, zones });
  const start = async (command: string, args: readonly string[], port: number): Promise<ChildProcess> => {
    const child = spawn(command, args, { cwd: folder, stdio: 'ignore' });
    // A test that fails to stop it must not wait for it either.
    child.unref();
    process.once('exit', () => child.kill('SIGKILL'));
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}`);
      return spawnSync('kdig', ['@127.0.0.1', '-p', `${port}`, '+tcp', '+timeout=1', '+retry=0', '.', 'SOA'], {
        encoding: 'utf8',
      }).stdout.includes('NOERROR');
    });
    return child;
  };
  const stop = async (child: ChildProcess | undefined): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  const server = await start('knotd', ['-c', 'knot.conf'], serverPort);
  let resolver: ChildProcess | undefined;
  const startResolver = async (): Promise<void> => {
    resolver = await start('unbound', ['-d', '-c', join(folder, 'unbound.conf')], resolverPort);
  };
  const stopResolver = (): Promise<void> => stop(resolver);
  await startResolver();
  return {
    resolver: { address: '127.0.0.1', port: resolverPort },
    server: { address: '127.0.0.1', port: serverPort },
    startResolver,
    stopResolver,
    freezeResolver: () => void resolver?.kill('SIGSTOP'),
    thawResolver: () => void resolver?.kill('SIGCONT'),
    close: async () => {
      await stopResolver();
      await stop(server);
    },
  };
}

const soa = 'SOA ns.example. hostmaster.example. 1 3600 600 86400 300';

/** Gives back the DS of the root, which the resolver is to believe. */
function writeServer(folder: string, port: number, zones: readonly Zone[]): string {
  const signed = ['.', ...zones.filter(({ kind }) => kind !== 'unsigned').map(({ name }) => name)];
  const section = (name: string): string =>
    `  - domain: ${name}\n    file: zone-${name}\n${signed.includes(name) ? '    dnssec-signing: on\n    dnssec-policy: own\n' : ''}`;
  const lines = [
    `server:\n  listen: 127.0.0.1@${port}\n  rundir: ${folder}\n  pidfile: knot.pid`,
    `database:\n  storage: ${folder}`,
    'policy:\n  - id: own\n    manual: on\n    algorithm: ecdsap256sha256',
    `template:\n  - id: default\n    storage: ${folder}\n    zonefile-sync: -1\n    journal-content: none`,
    `zone:\n${['.', ...zones.map(({ name }) => name)].map(section).join('')}`,
  ];
  writeFileSync(join(folder, 'knot.conf'), `${lines.join('\n')}\n`);
  const dsOf = (name: string): string => {
    run('keymgr', ['-c', 'knot.conf', name, 'generate', 'algorithm=ecdsap256sha256', 'ksk=yes', 'zsk=yes'], folder);
    return (
      run('keymgr', ['-c', 'knot.conf', name, 'ds'], folder)
        .split('\n')
        .find((line) => / 13 2 /.test(line)) ?? ''
    );
  };
  const delegations: string[] = [];
  for (const { name, kind, records } of zones) {
    writeFileSync(join(folder, `zone-${name}`), `$ORIGIN ${name}.\n$TTL 300\n@ ${soa}\n@ NS ns.example.\n${records.join('\n')}\n`);
    delegations.push(`${name}. NS ns.example.`);
    if (kind === 'unsigned') continue;
    const ds = dsOf(name);
    delegations.push(kind === 'signed' ? ds : ds.replace(/[0-9a-f]{8}$/i, '00000000'));
  }
  const own = [`@ ${soa}`, '@ NS ns.example.', 'ns.example. A 127.0.0.1', ...delegations];
  writeFileSync(join(folder, 'zone-.'), `$ORIGIN .\n$TTL 300\n${own.join('\n')}\n`);
  return dsOf('.');
}

interface ResolverWish {
  readonly serverPort: number;
  readonly resolverPort: number;
  readonly anchor: string;
  readonly zones: readonly Zone[];
}

function writeResolver(folder: string, { serverPort, resolverPort, anchor, zones }: ResolverWish): void {
  const stub = (name: string): string => `stub-zone:\n  name: "${name}"\n  stub-addr: 127.0.0.1@${serverPort}\n`;
  const lines = [
    'server:',
    `  directory: "${folder}"\n  chroot: ""\n  username: ""\n  pidfile: "${folder}/unbound.pid"`,
    `  interface: 127.0.0.1@${resolverPort}\n  do-daemonize: no\n  do-not-query-localhost: no\n  use-syslog: no\n  num-threads: 1\n  ede: yes`,
    `  module-config: "validator iterator"\n  trust-anchor: "${anchor}"`,
    'remote-control:\n  control-enable: no',
    ...['.', ...zones.map(({ name }) => name)].map(stub),
  ];
  writeFileSync(join(folder, 'unbound.conf'), `${lines.join('\n')}\n`);
}
