/** Files that are another by the time they are opened. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MAX_BUNDLE_BYTES } from '../../src/certificates/bundle.ts';
import { readRegular, readRegularSync } from '../../src/certificates/files/content.ts';
import { temporaryFolder } from './openssl.ts';

const noPipes = spawnSync('mkfifo', ['--version']).status === 0 ? false : 'mkfifo is not installed';

for (const [name, read] of [
  ['in this thread', async (path: string) => readRegularSync(path)],
  ['by the pool', readRegular],
] as const) {
  describe(`a file read ${name}`, () => {
    const folder = temporaryFolder();

    test('is read whole, up to what a file of certificates may have and no further', async () => {
      const path = join(folder, 'one');
      for (const octets of [0, 1, 70_000, MAX_BUNDLE_BYTES]) {
        writeFileSync(path, Buffer.alloc(octets, 7));
        assert.deepEqual(await read(path), readFileSync(path), String(octets));
      }
      truncateSync(path, 64 * MAX_BUNDLE_BYTES);
      assert.equal((await read(path)).length, MAX_BUNDLE_BYTES + 1);
    });

    test('P6: a pipe in its place holds nobody up', { skip: noPipes, timeout: 10_000 }, async () => {
      spawnSync('mkfifo', ['pipe'], { cwd: folder });
      await assert.rejects(read(join(folder, 'pipe')), /is no regular file any more/);
    });
  });
}
