/** The ways out of the sandbox of `serve`, tried under the flags that it starts itself with, in the first thread and in others. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { sandboxEnvironment, sandboxFlags, writable } from '../../../src/commands/sandbox/flags.ts';
import { SealpostError } from '../../../src/errors.ts';
import { run } from '../../interop/programs.ts';

const GUARD = resolve(import.meta.dirname, '../../../src/commands/sandbox/guard.ts');
const PROBES = join(import.meta.dirname, 'probes.mjs');
const REFUSED = /^ERR_(?:ACCESS_DENIED|DLOPEN_DISABLED|SQLITE_ERROR)$|^TypeError$/;

test('the sandbox holds against a DatabaseSync outside the folder, and all other ways out, in every thread', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-sandbox-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const data = join(dir, 'data');
  const outside = join(dir, 'outside');
  await mkdir(data);
  await symlink(outside, join(data, 'prepared'));
  // Leads to a folder beside the data folder, whose dots lead to a place beside that.
  await mkdir(join(dir, 'other'));
  await symlink(join(dir, 'other'), join(data, 'folder'));
  const config = { keys: join(dir, 'keys'), queue: { sqlite: join(data, 'queue.sqlite') }, audit: { file: join(data, 'audit.jsonl') } };
  const { code, stdout, stderr } = await run(process.execPath, [...sandboxFlags(config, GUARD, []), PROBES, data, outside], {
    env: sandboxEnvironment(process.env),
  });
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /SecurityWarning/, 'the warning about threads is silenced');
  const lines = stdout.toString().trim().split('\n');
  assert.equal(lines.length, 3);
  for (const line of lines) {
    const told: unknown = JSON.parse(line);
    assert.ok(typeof told === 'object' && told !== null);
    for (const [name, outcome] of Object.entries(told))
      if (name === 'own database') assert.equal(outcome, 'works');
      else if (name !== 'another life' || outcome !== 'ERR_WORKER_UNSUPPORTED_OPERATION') assert.match(String(outcome), REFUSED, name);
  }
  assert.deepEqual((await readdir(dir)).sort(), ['data', 'other'], 'nothing lies outside');
  assert.deepEqual((await readdir(data)).sort(), ['folder', 'own.sqlite', 'prepared']);
});

test('of flags and environment goes along what opens nothing', () => {
  const config = { keys: '/s/keys', queue: { sqlite: '/s/data/queue.sqlite' }, audit: { file: '/var/log/sealpost/audit.jsonl' } };
  assert.deepEqual(writable(config), ['/s/data', '/s/data/*', '/s/keys/spool.key*', '/var/log/sealpost/audit*']);
  const given = ['--max-old-space-size=300', '--inspect', '--require=/x.js', '--allow-child-process', '--heapsnapshot-signal=SIGUSR2', ''];
  const flags = sandboxFlags(config, '/guard.js', given);
  assert.ok(flags.includes('--max-old-space-size=300'));
  assert.deepEqual(
    given.slice(1).filter((flag) => flags.includes(flag)),
    [],
  );
  const env = { SEALPOST_LOG__LEVEL: 'warn', LD_PRELOAD: '/faketime.so', NODE_OPTIONS: '--inspect', NODE_TLS_REJECT_UNAUTHORIZED: '0' };
  assert.deepEqual(sandboxEnvironment({ ...env, NODE_V8_COVERAGE: '/c', NODE_DEBUG: 'net', NODE_EXTRA_CA_CERTS: '/ca' }), {
    SEALPOST_LOG__LEVEL: 'warn',
    LD_PRELOAD: '/faketime.so',
    NODE_EXTRA_CA_CERTS: '/ca',
  });
});

test('a second life that somebody started by hand, with doors of their own, is refused', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-sandbox-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const cli = resolve(import.meta.dirname, '../../../src/cli.ts');
  assert.equal((await run(process.execPath, [cli, 'init', dir])).code, 0);
  const guard = join(dir, 'guard.js');
  await writeFile(guard, '');
  const config = {
    keys: join(dir, 'keys'),
    queue: { sqlite: join(dir, 'data/queue.sqlite') },
    audit: { file: join(dir, 'data/audit.jsonl') },
  };
  const own = sandboxFlags(config, GUARD, []);
  for (const flags of [sandboxFlags(config, guard, []), [...own, '--allow-fs-write=/tmp/*'], own.slice(0, -1)]) {
    const { code, stderr } = await run(process.execPath, [...flags, cli, '-c', join(dir, 'sealpost.yaml'), 'serve']);
    assert.equal(code, 1);
    assert.match(stderr, /flags of Node that are not its own/);
  }
});

test('a path that the permission model would read as many is refused', () => {
  const config = { keys: '/s/keys', queue: { sqlite: '/s/*/queue.sqlite' }, audit: { file: '/s/audit.jsonl' } };
  assert.throws(
    () => writable(config),
    (error) => error instanceof SealpostError && error.code === 'sandbox-failed',
  );
});
