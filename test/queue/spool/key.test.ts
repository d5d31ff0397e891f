/** The file of the spool key: made once, never written over, held to its owner; a damaged one is told from a new one. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { SealpostError } from '../../../src/errors.ts';
import { openSpoolKey, parseSpoolKeys } from '../../../src/queue/spool/key.ts';
import { temporaryFolder } from '../../certificates/openssl.ts';

function keysFolder(): string {
  const folder = join(temporaryFolder(), 'keys');
  mkdirSync(folder, { mode: 0o700 });
  return folder;
}

const create = { create: randomBytes };
const idOf = async (folder: string): Promise<string | undefined> => (await openSpoolKey(folder))?.[0].id.toString('hex');

test('made at the first start, whole and private; from then on it is read', async () => {
  const folder = keysFolder();
  assert.equal(await openSpoolKey(folder), undefined);
  assert.deepEqual(readdirSync(folder), []);
  const made = await openSpoolKey(folder, create);
  assert.deepEqual(readdirSync(folder), ['spool.key']);
  const file = join(folder, 'spool.key');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const text = readFileSync(file, 'utf8');
  const again = await openSpoolKey(folder, create);
  assert.equal(readFileSync(file, 'utf8'), text);
  assert.equal(again?.[0].id.toString('hex'), made?.[0].id.toString('hex'));
  assert.ok(again?.[0].secret.equals(made?.[0].secret ?? again[0].secret));
});

test('two that make it at the same time come to the same key', async () => {
  const folder = keysFolder();
  const made = await Promise.all(Array.from({ length: 8 }, () => openSpoolKey(folder, create)));
  assert.equal(new Set(made.map((keys) => keys?.[0].id.toString('hex'))).size, 1);
  assert.deepEqual(readdirSync(folder), ['spool.key']);
});

test('a new key in front, as openssl writes it, comes first; a file that others may read, or of no use, is refused with the mend', async () => {
  const folder = keysFolder();
  await openSpoolKey(folder, create);
  const file = join(folder, 'spool.key');
  const old = await idOf(folder);
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, `${randomBytes(32).toString('base64')}\n${text}`);
  const both = await openSpoolKey(folder);
  assert.equal(both?.length, 2);
  assert.equal(both?.[1]?.id.toString('hex'), old);
  chmodSync(file, 0o640);
  await assert.rejects(openSpoolKey(folder, create), {
    code: 'file-unreadable',
    message: /open to others \(mode 640\)/,
    hint: /chmod 0600/,
  });
  chmodSync(file, 0o600);
  const key = /^([0-9a-f]{16}) (\S+)$/m.exec(text);
  const broken = {
    empty: '',
    'no key': '# nothing\n',
    garbage: '\x00\x01garbage',
    'a shorter key': 'AAAA',
    'a changed key': text.replace(/ .(?=\S{43}$)/m, (found) => (found === ' A' ? ' B' : ' A')),
    'a key twice': `${key?.[2]}\n${text}`,
    'half a file': text.slice(0, -20),
  };
  for (const [what, content] of Object.entries(broken)) {
    writeFileSync(file, content);
    await assert.rejects(openSpoolKey(folder, create), (error: unknown) => {
      assert.ok(error instanceof SealpostError && error.code === 'key-malformed', what);
      assert.ok(!error.message.includes(key?.[2] ?? '-') && !error.message.includes('garbage'), what);
      return true;
    });
    assert.equal(readFileSync(file, 'utf8'), content, `${what}: never written over`);
  }
});

test('a link is not followed, and a folder that others can write is refused, with the mend; nothing is made in it', async () => {
  const folder = keysFolder();
  for (const mode of [0o777, 0o770, 0o702]) {
    chmodSync(folder, mode);
    const expected = { code: 'file-unreadable', message: /keys can be written by others \(mode 7\d\d\)/, hint: /chmod go-w/ };
    await assert.rejects(openSpoolKey(folder, create), expected, mode.toString(8));
    assert.deepEqual(readdirSync(folder), []);
  }
  chmodSync(folder, 0o755);
  await openSpoolKey(folder, create);
  const elsewhere = keysFolder();
  symlinkSync(join(folder, 'spool.key'), join(elsewhere, 'spool.key'));
  await assert.rejects(openSpoolKey(elsewhere, create), {
    code: 'file-unreadable',
    message: /is a symbolic link/,
    hint: /put the file itself there/,
  });
});

test('a folder that cannot be written says how to make the file', async () => {
  // Not even root makes a file here.
  await assert.rejects(openSpoolKey('/proc/self', create), { code: 'file-unwritable', hint: /umask 077; openssl rand -base64 32/ });
});

test('a folder that is not there says the same', async () => {
  const folder = keysFolder();
  rmSync(folder, { recursive: true });
  await assert.rejects(openSpoolKey(folder, create), { code: 'file-unwritable', hint: /openssl rand -base64 32/ });
});

test('whatever stands in the file: keys, or one typed error', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(fc.base64String({ minLength: 40, maxLength: 48 })).map((lines) => lines.join('\n')),
      ),
      (text) => {
        try {
          assert.ok(parseSpoolKeys(text, 'spool.key').every(({ id }) => id.length === 8));
        } catch (error) {
          assert.ok(error instanceof SealpostError && error.code === 'key-malformed');
        }
      },
    ),
    { numRuns: 40 },
  );
});
