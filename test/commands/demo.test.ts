import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { run } from '../interop/programs.ts';
import { CLI } from '../relay/site.ts';
import { sealpost, temporaryFolder } from './transcript.ts';

test('the demo shows the whole path, ends by itself with 0, plain where there is no terminal, and leaves nothing behind', async (t) => {
  const temporary = await mkdtemp(join(tmpdir(), 'sealpost-demo-test-'));
  t.after(() => rm(temporary, { recursive: true, force: true }));
  const { code, stdout, stderr } = await run(process.execPath, [CLI, 'demo'], { env: { TMPDIR: temporary } });
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' });
  const shown = stdout.toString();
  assert.ok(!shown.includes('\x1b'), 'colour without a terminal');
  assert.deepEqual(
    [...shown.matchAll(/^(\d)\. /gm)].map(([, step]) => step),
    ['1', '2', '3', '4', '5', '6'],
  );
  const [, , disk = '', leaves = '', reads = '', own = ''] = shown.split(/^\d\. .*$/m).slice(1);
  assert.match(disk, /queue\.sqlite-wal +\d+ octets +nothing readable/);
  for (const reader of ['anna', 'ben', 'archive']) {
    assert.match(leaves, new RegExp(`for ${reader}@clinic\\.example\\n(?:.*\\n)*? +readers named in it: ${reader}@clinic\\.example\\n`));
    assert.match(reads, new RegExp(`${reader}@clinic\\.example \\((?:To|Cc|Bcc)\\)`));
  }
  assert.doesNotMatch(leaves, /Kopfschmerzen|Jürgen|4711\.pdf|X-Patient|Bcc/);
  assert.equal(reads.match(/Kopfschmerzen seit dem Unfall/g)?.length, 3);
  assert.equal(reads.match(/\[intake-4711\.pdf, application\/pdf, \d+ octets\]/g)?.length, 3);
  assert.match(own, /PHPMailer[^]*smtplib[^]*swaks/);
  assert.deepEqual(await readdir(temporary), []);
});

test('a demo without a place for temporary files names the path', async (t) => {
  const cwd = await temporaryFolder(t);
  const gone = join(cwd, 'gone');
  const { exit, stderr } = await sealpost(cwd, ['demo'], { TMPDIR: gone });
  assert.equal(exit, 1);
  assert.ok(stderr.startsWith(`sealpost: a file or folder cannot be written: ${gone}\n  hint: `), stderr);
});
