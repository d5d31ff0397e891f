/** A37: mail and secrets that are in the memory of the relay come onto no disk and to no debugger, however it ends. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { setTimeout as after } from 'node:timers/promises';
import { findCanary } from '../faults/canary.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite, type RunningRelay, type Site } from './site.ts';
import { keepingUpstream } from './upstream.ts';

const CANARY = 'canary-37c1f0a9d4';
const SECRET = 'secret-b82e5d07fa';
const needs = { skip: missingPrograms({ openssl: 'openssl', env: 'coreutils', prlimit: 'util-linux', strace: 'strace' }) ?? false };

const mail = `Subject: ${CANARY}\r\n\r\n${`${CANARY}\r\n`.repeat(20_000)}`;

/** Core dumps are allowed to it, so that only what it does itself keeps it from one. */
async function makeGuarded(t: Parameters<typeof makeSite>[0], prefix: readonly string[] = []) {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, {
    upstreamPort: upstream.port,
    config: { clients: { networks: ['127.0.0.0/8'], users: 'users.yaml' }, log: { level: 'debug' } },
  });
  await writeFile(join(site.dir, 'password'), `${SECRET}\n`, { mode: 0o600 });
  await site.sealpost('users', 'add', 'forms', '--password-file', join(site.dir, 'password'), '--sender', '*@clinic.example');
  await writeFile(join(site.dir, 'password'), '');
  const temporary = join(site.dir, 'tmp');
  await mkdir(temporary);
  const around = [`TMPDIR=${temporary}`, `NODE_OPTIONS=--heapsnapshot-signal=SIGUSR2 --report-on-signal`, 'NODE_DEBUG=net'];
  const relay = await site.serve([...prefix, 'env', '-C', site.dir, ...around, 'prlimit', '--core=unlimited:unlimited']);
  return { site, relay };
}

/** Outside the site, which is searched. */
async function makeTraceFolder(t: Parameters<typeof makeSite>[0]): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-trace-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** A client that logged in, in the middle of its message: password and plaintext are in memory. */
async function inTheMidst(relay: RunningRelay): Promise<void> {
  const client = await dialogue(relay.port);
  await client.expect(/^220/);
  await client.ask('EHLO x', /^250/);
  await client.ask(`AUTH PLAIN ${Buffer.from(`\0forms\0${SECRET}`).toString('base64')}`, /^235/);
  await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
  await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
  await client.ask('DATA', /^354/);
  client.send(mail);
  await after(300);
}

async function assertNothingLeft(site: Site, relay: RunningRelay): Promise<void> {
  for (const word of [CANARY, SECRET]) {
    assert.deepEqual(await findCanary([site.dir], word), []);
    assert.ok(!relay.log().includes(word), 'in the log');
  }
}

for (const signal of ['SIGABRT', 'SIGSEGV', 'SIGUSR2'] as const)
  test(`A37 ${signal} while mail and a password are in memory leaves no canary, no core, no snapshot`, needs, async (t) => {
    const { site, relay } = await makeGuarded(t);
    await inTheMidst(relay);
    const ended = new Promise((resolve) => relay.child.once('exit', resolve));
    // Node's own signal for the inspector, which takes no notice of it here.
    relay.child.kill('SIGUSR1');
    await after(200);
    relay.child.kill(signal);
    await ended;
    assert.equal(relay.child.signalCode, signal, 'it ended and did nothing else');
    assert.doesNotMatch(relay.log(), /Debugger listening/);
    await assertNothingLeft(site, relay);
  });

test('A37 the process shows no secret and takes no debugger', needs, async (t) => {
  const { relay } = await makeGuarded(t);
  await inTheMidst(relay);
  const read = (name: string): Promise<string> => readFile(`/proc/${relay.child.pid}/${name}`, 'latin1');
  const commandLine = await read('cmdline');
  assert.match(commandLine, /--permission\0/);
  assert.match(commandLine, /--disable-sigusr1\0/);
  const environment = await read('environ');
  for (const text of [commandLine, environment]) assert.ok(!text.includes(SECRET));
  assert.doesNotMatch(environment, /NODE_OPTIONS|NODE_DEBUG/);
  assert.match(await read('limits'), /^Max core file size\s+[01]\s+[01]\s/m);
  await relay.stop();
});

test('A37 P2 up to a forced abort no system call hands plaintext to a regular file', needs, async (t) => {
  const trace = ['strace', '-f', '-y', '-s', '100000', '-e', 'trace=read,recvfrom,write,pwrite64,writev,pwritev,pwritev2'];
  const dir = await makeTraceFolder(t);
  const { site, relay } = await makeGuarded(t, [...trace, '-o', join(dir, 'trace')]);
  await inTheMidst(relay);
  const ended = new Promise((resolve) => relay.child.once('exit', resolve));
  const [, traced] = /^(\d+)/.exec(await readFile(join(dir, 'trace'), 'latin1')) ?? [];
  process.kill(Number(traced), 'SIGABRT');
  await ended;
  const lines = (await readFile(join(dir, 'trace'), 'latin1')).split('\n').filter((line) => line.includes(CANARY));
  assert.ok(lines.length > 0, 'the trace shows the message coming in');
  const written = lines.filter((line) => /\bp?write/.test(line) && !/^\d+\s+\w+\(\d+<(?:socket|pipe|anon_inode|TCP)/.test(line));
  assert.deepEqual(
    written.map((line) => line.slice(0, 120)),
    [],
  );
  await assertNothingLeft(site, relay);
});
