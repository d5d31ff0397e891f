import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { sealpost, temporaryFolder } from './transcript.ts';

test('a demo without a place for temporary files names the path', async (t) => {
  const cwd = await temporaryFolder(t);
  const gone = path.join(cwd, 'gone');
  const { exit, stderr } = await sealpost(cwd, ['demo'], { TMPDIR: gone });
  assert.equal(exit, 1);
  assert.ok(stderr.startsWith(`sealpost: a file or folder cannot be written: ${gone}\n  hint: `), stderr);
});
