/** What the relay says of itself when it cannot take mail: as a real process, over SMTP, HTTP and in its log. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { eventually } from '../certificates/openssl.ts';
import { inject as injectInto } from '../faults/injected.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { inject, noStrace, noUnshare } from '../queue/faulty.ts';
import { makeSite, type RunningRelay, type Site } from './site.ts';
import { send } from './submit.ts';

interface Ready {
  readonly status: number;
  readonly state: string;
  readonly codes: readonly string[];
  readonly notes: readonly string[];
}

const noPrlimit = spawnSync('prlimit', ['--version']).status === 0 ? false : 'prlimit is not installed';

const codesOf = (list: unknown): string[] => (Array.isArray(list) ? list : []).map((one: { readonly code: string }) => one.code);

async function readyz(relay: RunningRelay): Promise<Ready> {
  const port = /"admin_port":(\d+)/.exec(relay.log())?.[1];
  const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
  const said: Record<string, unknown> = { ...JSON.parse(await answer.text()) };
  return { status: answer.status, state: String(said['state']), codes: codesOf(said['reasons']), notes: codesOf(said['notes']) };
}

const is =
  (relay: RunningRelay, state: string, ...codes: readonly string[]) =>
  async (): Promise<boolean> => {
    const now = await readyz(relay);
    return now.state === state && now.codes.join() === codes.join();
  };

/** A site whose upstream is a closed port: mail waits. */
async function makeWaiting(t: TestContext): Promise<Site> {
  const closed = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => closed.once('listening', resolve));
  const address = closed.address();
  await new Promise((resolve) => closed.close(resolve));
  const upstreamPort = typeof address === 'object' && address !== null ? address.port : 0;
  return makeSite(t, { upstreamPort, people: ['anna'], config: { admin: { port: 0 } } });
}

/** The reply to MAIL FROM. */
async function mail(port: number): Promise<string> {
  const client = await dialogue(port);
  try {
    await client.expect(/^220/);
    await client.ask('EHLO web.clinic.example', /^250/);
    const [reply = ''] = await client.ask('MAIL FROM:<forms@clinic.example>', /^\d/);
    return reply;
  } finally {
    client.close();
  }
}

test('a full disk: draining, said at MAIL, over HTTP and in the log; and mail again once there is room', { skip: noUnshare }, async (t) => {
  const site = await makeWaiting(t);
  const script = 'mount -t tmpfs -o size=90m,mode=700 tmpfs "$0" && exec "$@"';
  const relay = await site.serve(['unshare', '-rm', 'sh', '-c', script, site.data]);
  await eventually(is(relay, 'accepting'));
  await send(relay.port, ['anna@clinic.example']);
  // The folder as that process sees it.
  const filler = join(`/proc/${relay.child.pid}/root`, site.data, 'filler');
  writeFileSync(filler, Buffer.alloc(40 * 1024 * 1024));
  await eventually(is(relay, 'draining', 'storage-full'));
  assert.equal((await readyz(relay)).status, 503);
  assert.match(await mail(relay.port), /^452 4\.3\.1 /);
  rmSync(filler);
  await eventually(is(relay, 'accepting'));
  assert.match(await mail(relay.port), /^250 /);
  assert.deepEqual((await readyz(relay)).notes, ['upstreams-failing']);
  assert.match(relay.log(), /"state":"draining","reasons":\["storage-full"\],"notes":\[[^\]]*\],"msg":"readiness changed"/);
  const lines = [...relay.log().matchAll(/"state":[^}]*"msg":"readiness changed"/g)].map(([line]) => line);
  assert.ok(lines.length >= 3);
  for (const [index, line] of lines.entries()) assert.notEqual(line, lines[index - 1], 'a line for each change, and no other');
});

test('an audit file that cannot be written: draining, and MAIL is put off', { skip: noStrace }, async (t) => {
  const site = await makeWaiting(t);
  const relay = await site.serve(inject('pwrite64:error=ENOSPC:when=1+', '-P', join(site.data, 'audit.jsonl')));
  await eventually(is(relay, 'draining', 'audit-failed'));
  assert.match(await mail(relay.port), /^451 4\.3\.0 the audit log cannot be written/);
});

test('a disk that takes nothing though it has room: draining until a try succeeds', { skip: noUnshare }, async (t) => {
  const site = await makeWaiting(t);
  const script = 'mount -t tmpfs -o size=200m,mode=700,nr_inodes=60 tmpfs "$0" && exec "$@"';
  const relay = await site.serve(['unshare', '-rm', 'sh', '-c', script, site.data]);
  await eventually(is(relay, 'accepting'));
  const folder = join(`/proc/${relay.child.pid}/root`, site.data);
  const fillers: string[] = [];
  const fill = (): void => {
    for (;;) {
      const filler = join(folder, `filler-${fillers.length}`);
      writeFileSync(filler, '');
      fillers.push(filler);
    }
  };
  assert.throws(fill, { code: 'ENOSPC' });
  const large = `Subject: x\r\n\r\n${'line\r\n'.repeat(100_000)}`;
  await assert.rejects(send(relay.port, ['anna@clinic.example'], large), /452 4\.3\.1/);
  await eventually(is(relay, 'draining', 'storage-refused'));
  assert.match(await mail(relay.port), /^452 4\.3\.1 /);
  for (const filler of fillers) rmSync(filler);
  await eventually(is(relay, 'accepting'));
  await send(relay.port, ['anna@clinic.example'], large);
});

test(
  'no file descriptor left: draining, MAIL of an open session is put off, and mail again once there is one',
  { skip: noPrlimit },
  async (t) => {
    const site = await makeWaiting(t);
    const relay = await site.serve();
    await eventually(is(relay, 'accepting'));
    const client = await dialogue(relay.port);
    t.after(() => client.close());
    await client.expect(/^220/);
    await client.ask('EHLO web.clinic.example', /^250/);
    const allow = (count: number) => spawnSync('prlimit', [`--pid=${relay.child.pid}`, `--nofile=${count}:`]);
    // Those that are open stay open; not one more is given out. Nobody can be asked but the log.
    allow(5);
    await eventually(async () => /"state":"draining","reasons":\["descriptors-exhausted"\]/.test(relay.log()));
    await client.ask('MAIL FROM:<forms@clinic.example>', /^451 4\.3\.0 /);
    allow(4096);
    await eventually(is(relay, 'accepting'));
    await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
  },
);

test('fsync EIO: stopped for good, said over HTTP while what is under way ends, then exit 1', { skip: noStrace }, async (t) => {
  const site = await makeWaiting(t);
  const relay = await site.serve();
  await eventually(is(relay, 'accepting'));
  const client = await dialogue(relay.port);
  t.after(() => client.close());
  await client.expect(/^220/);
  await client.ask('EHLO web.clinic.example', /^250/);
  await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
  await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
  await client.ask('DATA', /^354/);
  const end = await injectInto(relay, 'fsync,fdatasync:error=EIO', [join(site.data, 'queue.sqlite-wal')]);
  await assert.rejects(send(relay.port, ['anna@clinic.example']), /451 4\.3\.0/);
  await eventually(async () => (await readyz(relay)).codes.includes('storage-failed'));
  const { status, state } = await readyz(relay);
  assert.deepEqual([status, state], [503, 'stopped']);
  client.send('Subject: x\r\n\r\nbody\r\n');
  await client.ask('.', /^4\d\d /);
  client.close();
  if (relay.child.exitCode === null && relay.child.signalCode === null) await once(relay.child, 'exit');
  await end();
  assert.equal(relay.child.exitCode, 1);
});

test('SIGTERM: stopped and stopping, while a message that is under way still comes to its end', async (t) => {
  const site = await makeWaiting(t);
  const relay = await site.serve();
  await eventually(is(relay, 'accepting'));
  const client = await dialogue(relay.port);
  await client.expect(/^220/);
  await client.ask('EHLO web.clinic.example', /^250/);
  await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
  await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
  await client.ask('DATA', /^354/);
  const stopped = relay.stop();
  await eventually(is(relay, 'stopped', 'stopping'));
  client.send('Subject: x\r\n\r\nbody\r\n');
  await client.ask('.', /^250/);
  client.close();
  await stopped;
  assert.match(relay.log(), /"state":"stopped","reasons":\["stopping"\]/);
});
