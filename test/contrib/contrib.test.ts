/** What is shipped for service managers and containers says what the documentation promises of it. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { missingPrograms, run } from '../interop/programs.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const UNIT = join(ROOT, 'contrib/sealpost.service');
const HEALTHCHECK = join(ROOT, 'contrib/healthcheck.js');
const LARGEST_EXPOSURE = 2;

test(
  'systemd-analyze security gives the unit less than 2.0',
  { skip: missingPrograms({ 'systemd-analyze': 'systemd' }) ?? false },
  async () => {
    const { code, stdout, stderr } = await run('systemd-analyze', ['security', '--offline=true', '--no-pager', UNIT]);
    assert.equal(code, 0, stderr);
    const exposure = /Overall exposure level for sealpost\.service: (\d+\.\d+)/.exec(stdout.toString())?.[1];
    assert.ok(Number(exposure) < LARGEST_EXPOSURE, exposure);
    assert.doesNotMatch(stderr, /Unknown|Failed to parse/);
  },
);

test('the image is built in two stages from files that are there, and runs without root', async () => {
  const lines = (await readFile(join(ROOT, 'Dockerfile'), 'utf8')).split('\n');
  assert.equal(lines.filter((line) => line.startsWith('FROM ')).length, 2);
  const ignored = (await readFile(join(ROOT, '.dockerignore'), 'utf8')).split('\n');
  const copied = lines
    .filter((line) => line.startsWith('COPY ') && !line.includes('--from'))
    .flatMap((line) => line.split(' ').slice(1, -1));
  assert.ok(copied.length > 5);
  for (const file of copied) {
    assert.ok(existsSync(join(ROOT, file)), file);
    assert.ok(ignored.includes(`!${file.split('/')[0]}`), `${file} is in .dockerignore`);
  }
  const user = lines.findLast((line) => line.startsWith('USER '))?.slice('USER '.length);
  assert.ok(user !== undefined && !['root', '0'].includes(user), user);
  const [, checked] = /^HEALTHCHECK .*CMD \["node", "\/opt\/sealpost\/([^"]+)"\]$/m.exec(lines.join('\n')) ?? [];
  assert.equal(checked, 'contrib/healthcheck.js');
});

test('the health check of the image tells a relay that answers from one that does not', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-health-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const check = (): Promise<{ code: number | null }> =>
    run(process.execPath, [HEALTHCHECK], { env: { SEALPOST_QUEUE__SQLITE: join(dir, 'queue.sqlite'), HEALTH_URL: '' } });
  assert.equal((await check()).code, 1);
  const server = createServer((socket) => socket.end()).listen(join(dir, 'control.sock'));
  t.after(() => server.close());
  assert.equal((await check()).code, 0);
});
