/** The canary search must find what is there: an empty answer of it is what "nothing readable on disk" rests on. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import { findCanary } from './canary.ts';

const CANARY = 'Kanarienvogel-4711-größe';
let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'canary-'));
});
after(() => rm(root, { recursive: true, force: true }));

/** The search over one new folder with one file in it. */
async function search(content: Buffer | string, name = 'file'): Promise<string[]> {
  const folder = await mkdtemp(join(root, 'case-'));
  await mkdir(join(folder, 'deep'));
  await writeFile(join(folder, 'deep', name), content);
  return (await findCanary([folder], CANARY)).map((line) => line.slice(folder.length + '/deep/'.length));
}

const wrap = (text: string, width: number, eol: string): string => text.replaceAll(new RegExp(`.{${width}}`, 'gs'), `$&${eol}`);

test('plain, in the middle of other octets, and in a name', async () => {
  assert.deepEqual(await search(`xx${CANARY}yy`), ['file: plain']);
  assert.deepEqual(await search('nothing', `${CANARY}.pdf`), [`${CANARY}.pdf: name, plain`]);
});

test('across the pieces in which a file is read, wherever it stands', async () => {
  for (const at of [65_520, 65_535, 65_536, 131_070]) {
    assert.deepEqual(await search(Buffer.concat([Buffer.alloc(at), Buffer.from(CANARY)])), ['file: plain'], String(at));
  }
});

test('base64 at each offset, in one line and in lines of every width', async () => {
  for (const before of ['', 'a', 'ab']) {
    const encoded = Buffer.from(`${before}${CANARY} and more`).toString('base64');
    for (const [width, eol] of [
      [1000, '\n'],
      [76, '\r\n'],
      [5, '\n'],
    ] as const) {
      assert.deepEqual(await search(wrap(encoded, width, eol)), [`file: base64 at offset ${before.length}`]);
    }
  }
});

test('quoted-printable with a soft line break in it, hex and UTF-16', async () => {
  assert.deepEqual(await search('Kanarienvogel-4711=\r\n-gr=C3=B6=C3=\r\n=9Fe'), ['file: quoted-printable']);
  assert.deepEqual(await search(Buffer.from(CANARY).toString('hex')), ['file: hex']);
  assert.deepEqual(await search(Buffer.from(CANARY, 'utf16le')), ['file: UTF-16LE']);
  assert.deepEqual(await search(Buffer.from(CANARY, 'utf16le').swap16()), ['file: UTF-16BE']);
});

test('in a database value that page ends cut, and in one that is only in the write-ahead log', async () => {
  const folder = await mkdtemp(join(root, 'case-'));
  const database = new DatabaseSync(join(folder, 'queue.sqlite'));
  database.exec('PRAGMA page_size = 512; PRAGMA journal_mode = WAL; CREATE TABLE body (octets BLOB)');
  const insert = database.prepare('INSERT INTO body VALUES (?)');
  for (let shift = 0; shift < 24; shift++) insert.run(Buffer.from(`${'.'.repeat(500 + shift)}${CANARY}${'.'.repeat(2_000)}`));
  try {
    const found = await findCanary([folder], CANARY);
    assert.ok(found.includes(`${join(folder, 'queue.sqlite')}: plain, table body`), found.join('\n'));
  } finally {
    database.close();
  }
});

test('nowhere: encrypted octets, links, and a folder that is missing is an error', async () => {
  assert.deepEqual(await search(Buffer.alloc(300_000, 0x5a)), []);
  const folder = await mkdtemp(join(root, 'case-'));
  await symlink('/nonexistent', join(folder, 'link'));
  assert.deepEqual(await findCanary([folder], CANARY), []);
  await assert.rejects(findCanary([join(folder, 'missing')], CANARY), /ENOENT/);
  await assert.rejects(findCanary([folder], 'short'), /octets or more/);
});
