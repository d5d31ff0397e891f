/** One command at a time writes into a folder of certificates. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { PassThrough } from 'node:stream';
import { describe, test } from 'node:test';
import { makeFolderLock } from '../../src/commands/certificates/folder-lock.ts';
import { eventually, temporaryFolder } from '../certificates/openssl.ts';

const MODULE = resolve(import.meta.dirname, '../../src/commands/certificates/folder-lock.ts');

describe('the lock of a folder of certificates', () => {
  const open = (folder: string, stop?: { asked: boolean }) => {
    const stderr = new PassThrough().setEncoding('utf8');
    const lock = makeFolderLock(folder, { stderr, cwd: '/' }, stop);
    return { lock, said: (): string => String(stderr.read() ?? '') };
  };
  const fileIn = (folder: string): string => join(folder, '.sealpost.lock');

  test('one at a time, in whatever order they come; those of one lock share it; it is gone when the last is done, also where it failed', async () => {
    const folder = temporaryFolder();
    let inside = 0;
    const locks = Array.from({ length: 5 }, () => open(folder).lock);
    const alone = (): Promise<void> =>
      new Promise((done) => {
        assert.equal(++inside, 1);
        setImmediate(() => done(void inside--));
      });
    await Promise.all(locks.map((lock) => lock.hold(alone)));
    const { lock } = open(folder);
    assert.equal(await lock.hold(() => lock.hold(() => 'shared')), 'shared');
    await assert.rejects(
      lock.hold(() => Promise.reject(new Error('act'))),
      /act/,
    );
    assert.ok(!existsSync(fileIn(folder)));
  });

  test('kill -9 frees it, and so does a process that has the number of one that is gone', async () => {
    const folder = temporaryFolder();
    const code = `import { makeFolderLock } from ${JSON.stringify(MODULE)};
      await makeFolderLock(${JSON.stringify(folder)}, { stderr: process.stderr, cwd: '/' }).hold(() => new Promise(() => setInterval(() => {}, 1000)));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: 'ignore' });
    await eventually(async () => existsSync(fileIn(folder)) && readFileSync(fileIn(folder), 'utf8').endsWith('\n'), 60_000);
    const { lock, said } = open(folder);
    let isKilled = false;
    const held = lock.hold(() => isKilled);
    await eventually(async () => said().includes(`(process ${child.pid}): waiting for it`), 60_000);
    isKilled = true;
    child.kill('SIGKILL');
    await once(child, 'close');
    assert.equal(await held, true);
    // Its number is ours now, its start is not.
    writeFileSync(fileIn(folder), `${process.pid} 1 ${hostname()}\n`);
    assert.equal(await lock.hold(() => 'ours'), 'ours');
    assert.ok(!existsSync(fileIn(folder)));
  });

  test('a lock of another machine counts until it is silent for minutes; a signal ends the waiting', async () => {
    const folder = temporaryFolder();
    const stop = { asked: false };
    writeFileSync(fileIn(folder), `1 1 another.example.org\n`);
    const { lock, said } = open(folder, stop);
    const held = assert.rejects(
      lock.hold(() => assert.fail('two at once')),
      { code: 'file-unwritable', detail: /waiting for it was stopped/ },
    );
    await eventually(async () => said().includes('another command writes into'), 60_000);
    stop.asked = true;
    await held;
    stop.asked = false;
    utimesSync(fileIn(folder), new Date(), new Date(Date.now() - 10 * 60_000));
    assert.equal(await lock.hold(() => 'ours'), 'ours');
  });
});
