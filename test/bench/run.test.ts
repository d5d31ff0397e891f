/** The benches in their smallest form: everything is sent, counted and opened. What they measure is asserted nowhere. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { missingPrograms, run } from '../interop/programs.ts';
import type { Found } from './report.ts';
import { missingForSource } from './relaying.ts';

const RUN = resolve(import.meta.dirname, 'run.ts');
const skip = missingForSource() ?? missingPrograms({ openssl: 'openssl', msmtp: 'msmtp' }) ?? false;

test('npm run bench -- --quick: every row is there, its counts agree and its samples open', { skip }, async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-bench-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const json = join(dir, 'found.json');
  const { code, stdout } = await run(process.execPath, [RUN, '--quick', '--json', json], { timeout: 300_000 });
  assert.equal(code, 0, stdout.toString());
  const { figures, profiles }: Found = JSON.parse(await readFile(json, 'utf8'));
  assert.equal(figures.length, 10);
  for (const { what, measured } of figures) for (const value of Object.values(measured)) assert.ok(value > 0, `${what}: ${value}`);
  assert.ok(profiles.every(({ each }) => each.length > 3));
  assert.match(stdout.toString(), /postconf -n: relayhost/);
});

test('a name that no bench has is told, with those there are', async () => {
  const { code, stderr } = await run(process.execPath, [RUN, 'relayng']);
  assert.equal(code, 2);
  assert.match(stderr, /no bench is called relayng; there are: relaying, filter/);
});
