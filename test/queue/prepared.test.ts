/** A36: links, modes, pipes and folders that somebody put in the place of the relay's files are refused, and never hold up the start. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, linkSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import pino from 'pino';
import { readSecret } from '../../src/config/secret.ts';
import { openRateFile } from '../../src/delivery/rate-record.ts';
import { SealpostError } from '../../src/errors.ts';
import { readAuditKey } from '../../src/queue/audit-key.ts';
import { assertPrivateFile, ensurePrivateFolder } from '../../src/queue/folder.ts';
import { openSpoolKey } from '../../src/queue/spool/key.ts';
import { startCheckpoints } from '../../src/upkeep/checkpoints.ts';

const log = pino({ enabled: false });

const preparations: Record<string, (path: string) => void> = {
  'a link': (path) => {
    renameSync(path, `${path}.moved`);
    symlinkSync(`${path}.moved`, path);
  },
  'a second name': (path) => linkSync(path, `${path}.second`),
  'mode 0644': (path) => chmodSync(path, 0o644),
  'mode 0755': (path) => chmodSync(path, 0o755),
  'mode 0777': (path) => chmodSync(path, 0o777),
  'a FIFO': (path) => {
    rmSync(path);
    assert.equal(spawnSync('mkfifo', ['-m', '600', path]).status, 0);
  },
  'a folder': (path) => {
    rmSync(path);
    mkdirSync(path, { mode: 0o700 });
  },
};

/** Each is asked with the path of a file that was prepared. `takes`: what is no attack on it. */
const readers: Record<string, { readonly name: string; readonly read: (path: string) => unknown; readonly takes?: readonly string[] }> = {
  'a file of the queue': { name: 'queue.sqlite', read: assertPrivateFile },
  'the file of the rates': { name: 'rates.json', read: (path) => openRateFile(path, log) },
  'the draft of the rates': { name: 'rates.json.new', read: (path) => openRateFile(path.replace(/\.new$/, ''), log) },
  // Its folder is one that others cannot write, where the file is linked while it is made.
  'the spool key': { name: 'spool.key', read: (path) => openSpoolKey(join(path, '..')), takes: ['a second name'] },
  'the key of the address hashes': { name: 'audit.key', read: readAuditKey, takes: ['a second name'] },
  'the key of the checkpoints': {
    name: 'checkpoint.key',
    takes: ['a second name'],
    read: (key) =>
      startCheckpoints({ key, file: `${key}.jsonl`, hostname: 'x', head: () => assert.fail('it was taken'), now: Date.now, log }),
  },
  // Service managers hand secrets over as links.
  'a secret': { name: 'password', read: (path) => readSecret({ from: 'file', path }, {}), takes: ['a link', 'a second name'] },
};

for (const [what, { name, read, takes = [] }] of Object.entries(readers))
  for (const [how, prepare] of Object.entries(preparations).filter(([one]) => !takes.includes(one)))
    test(`A36 ${what}: ${how} in its place is refused, with the place`, async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'sealpost-prepared-'));
      t.after(() => rmSync(folder, { recursive: true, force: true }));
      const path = join(folder, name);
      writeFileSync(path, '', { mode: 0o600 });
      prepare(path);
      await assert.rejects(
        async () => read(path),
        (error) =>
          error instanceof SealpostError &&
          ['data-folder-unsafe', 'file-unreadable'].includes(error.code) &&
          error.detail?.includes(path) === true &&
          error.hint !== '',
      );
    });

test('A36 a secret that root wrote for the group of the relay, mode 0640, is read, behind a link too', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-prepared-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'password');
  writeFileSync(path, 'word\n');
  chmodSync(path, 0o640);
  symlinkSync(path, `${path}.link`);
  assert.equal(await readSecret({ from: 'file', path: `${path}.link` }, {}), 'word');
});

test('A36 a data folder that is a link, a file, or open to others is refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-prepared-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const refused = (path: string): Promise<void> => assert.rejects(ensurePrivateFolder(path), SealpostError);
  const real = join(folder, 'real');
  mkdirSync(real, { mode: 0o700 });
  symlinkSync(real, join(folder, 'link'));
  writeFileSync(join(folder, 'file'), '');
  await refused(join(folder, 'link'));
  await refused(join(folder, 'file'));
  for (const mode of [0o755, 0o777, 0o750]) {
    chmodSync(real, mode);
    await refused(real);
  }
});
