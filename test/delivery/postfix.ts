/** A Postfix of its own, in a temporary folder, that takes mail on loopback and relays all of it to one port. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { freePort } from './sink.ts';

/** What to hand to node:test as `skip`: Postfix changes users, so only root can start it. */
export const withoutPostfix = !existsSync('/usr/sbin/postfix')
  ? 'postfix is not installed'
  : process.getuid?.() === 0
    ? false
    : 'postfix starts as root only';

export interface Postfix extends AsyncDisposable {
  readonly port: number;
  log(): string;
}

export async function startPostfix(relayPort: number): Promise<Postfix> {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-postfix-'));
  execFileSync('chmod', ['755', folder]);
  const [config, queue, state] = ['etc', 'queue', 'state'].map((name) => join(folder, name));
  if (config === undefined || queue === undefined || state === undefined) throw new Error('no folders');
  for (const each of [config, queue, state]) mkdirSync(each);
  execFileSync('chown', ['postfix', state]);
  const port = await freePort();
  writeFileSync(
    join(config, 'main.cf'),
    `compatibility_level = 3.6
queue_directory = ${queue}
data_directory = ${state}
maillog_file = ${join(folder, 'log')}
maillog_file_prefixes = ${folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:${relayPort}
local_recipient_maps =
smtp_connection_cache_on_demand = no
alias_maps =
alias_database =
smtputf8_enable = yes
smtp_destination_concurrency_limit = 1
`,
  );
  const services = [
    `127.0.0.1:${port} inet n - n - - smtpd`,
    'pickup unix n - n 60 1 pickup',
    'cleanup unix n - n - 0 cleanup',
    'qmgr unix n - n 300 1 qmgr',
    'rewrite unix - - n - - trivial-rewrite',
    'bounce unix - - n - 0 bounce',
    'defer unix - - n - 0 bounce',
    'trace unix - - n - 0 bounce',
    'smtp unix - - n - - smtp',
    'relay unix - - n - - smtp',
    'error unix - - n - - error',
    'retry unix - - n - - error',
    'anvil unix - - n - 1 anvil',
    'postlog unix-dgram n - n - 1 postlogd',
  ];
  writeFileSync(join(config, 'master.cf'), `${services.join('\n')}\n`);
  const started = spawnSync('/usr/sbin/postfix', ['-c', config, 'start'], { stdio: 'ignore' });
  if (started.status !== 0) throw new Error(`postfix start: ${started.status}`);
  for (let tries = 0; tries < 100 && !(await greets(port)); tries++) await new Promise((resolve) => setTimeout(resolve, 50));
  return {
    port,
    log: () => readFileSync(join(folder, 'log'), 'utf8'),
    async [Symbol.asyncDispose]() {
      spawnSync('/usr/sbin/postfix', ['-c', config, 'stop'], { stdio: 'ignore' });
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function greets(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  socket.setTimeout(5_000, () => socket.destroy(new Error('no greeting')));
  try {
    await once(socket, 'data');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
