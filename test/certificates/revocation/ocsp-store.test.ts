/** OCSP answers on disk: what is kept, what is not, and that nothing goes wrong where nothing can be written (P6). */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeAnswerStore } from '../../../src/certificates/revocation/ocsp-store.ts';
import { OCSP_LIMITS } from '../../../src/certificates/revocation/ocsp-response.ts';
import { temporaryFolder } from '../openssl.ts';

const nameOf = (number: number): string => number.toString(16).padStart(64, '0');

test('what is written is read by the next store, and closed to others', async () => {
  const folder = join(temporaryFolder(), 'data', 'ocsp');
  await makeAnswerStore({ folder, writable: true }).write(nameOf(1), Buffer.from('one'));
  await makeAnswerStore({ folder, writable: true }).write(nameOf(1), Buffer.from('other'));
  assert.equal(String(await makeAnswerStore({ folder, writable: false }).read(nameOf(1))), 'other');
  assert.deepEqual(readdirSync(folder), [`${nameOf(1)}.ocsp`]);
  assert.equal(statSync(join(folder, `${nameOf(1)}.ocsp`)).mode & 0o777, 0o600);
  assert.equal(await makeAnswerStore({ folder, writable: false }).read(nameOf(2)), undefined);
});

test('a store that only reads writes nothing', async () => {
  const folder = temporaryFolder();
  await makeAnswerStore({ folder, writable: false }).write(nameOf(1), Buffer.from('one'));
  assert.deepEqual(readdirSync(folder), []);
});

test('the oldest go first', async () => {
  const folder = temporaryFolder();
  for (let number = 0; number < 8; number++) {
    const path = join(folder, `${nameOf(number)}.ocsp`);
    writeFileSync(path, 'x');
    utimesSync(path, 1000 + number, 1000 + number);
  }
  writeFileSync(join(folder, 'note.txt'), 'not ours');
  await makeAnswerStore({ folder, writable: true, most: 3 }).write(nameOf(9), Buffer.from('new'));
  assert.deepEqual(readdirSync(folder).toSorted(), [...[6, 7, 9].map((number) => `${nameOf(number)}.ocsp`), 'note.txt']);
});

test('a file that is too large is not ours', async () => {
  const folder = temporaryFolder();
  const store = makeAnswerStore({ folder, writable: true });
  await store.write(nameOf(1), Buffer.alloc(OCSP_LIMITS.bytes));
  assert.equal((await store.read(nameOf(1)))?.length, OCSP_LIMITS.bytes);
  writeFileSync(join(folder, `${nameOf(1)}.ocsp`), Buffer.alloc(OCSP_LIMITS.bytes + 1));
  assert.equal(await store.read(nameOf(1)), undefined);
});

test('where a file stands in place of the folder, nothing is kept and nothing thrown', async () => {
  const folder = join(temporaryFolder(), 'file');
  writeFileSync(folder, 'not a folder');
  const store = makeAnswerStore({ folder, writable: true });
  await store.write(nameOf(1), Buffer.from('one'));
  assert.equal(await store.read(nameOf(1)), undefined);
  assert.equal(readFileSync(folder, 'latin1'), 'not a folder');
});
