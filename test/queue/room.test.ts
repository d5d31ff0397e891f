/** What is known of a disk by trying alone, and of file descriptors. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SealpostError } from '../../src/errors.ts';
import type { BodyWriter } from '../../src/queue/queue.ts';
import { descriptorRefusal, makeTakenBack } from '../../src/queue/room.ts';
import { makeSite, put, START } from './site.ts';

const failing = (code: string) => (): Promise<never> => Promise.reject(Object.assign(new Error(code), { code }));

/** A disk that a test fills; `tries` counts the writes, `left` what of them still lies there. */
function makeDisk() {
  const disk = { full: true, tries: 0, left: 0 };
  const newBody = (): BodyWriter => ({
    async write() {
      disk.tries++;
      disk.left++;
      if (disk.full) throw new SealpostError('storage-full');
    },
    finish: async () => ({ length: 0, sha256: Buffer.alloc(32), content: { kind: 'inline', bytes: Buffer.alloc(0) } }),
    async discard() {
      disk.left--;
    },
  });
  return { disk, newBody };
}

test('a disk that took nothing is tried each time, and one try that succeeds ends it', async () => {
  const { disk, newBody } = makeDisk();
  const back = makeTakenBack(newBody);
  assert.equal(await back.refusal(), undefined);
  back.met();
  for (let tries = 1; tries <= 2; tries++) {
    assert.equal((await back.refusal())?.code, 'storage-refused');
    assert.equal(disk.tries, tries);
  }
  disk.full = false;
  assert.equal(await back.refusal(), undefined);
  assert.equal(await back.refusal(), undefined);
  assert.deepEqual([disk.tries, disk.left], [3, 0], 'not tried again, and nothing is left behind');
});

test('no file descriptor left is told; any other failure to open is not taken for it', async () => {
  for (const code of ['EMFILE', 'ENFILE']) assert.equal((await descriptorRefusal(failing(code)))?.code, 'descriptors-exhausted');
  assert.equal(await descriptorRefusal(failing('ENOENT')), undefined);
  assert.equal(await descriptorRefusal(), undefined);
});

test('a queue that met no full disk writes nothing to be asked', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1' });
  assert.deepEqual(await store.refusals(), []);
  assert.equal((await store.claim(START, 2)).length, 1);
});
