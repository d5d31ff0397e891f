/** What a person sees while a command is at long work. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { makeProgress } from '../../src/commands/progress.ts';

test('a terminal sees one line that changes and is gone at the end; a file sees nothing', () => {
  for (const isTTY of [true, false]) {
    const stderr = Object.assign(new PassThrough(), { isTTY });
    const progress = makeProgress({ stderr });
    progress.end();
    progress.show('1000 files');
    progress.show('2000 files');
    progress.end();
    const shown = stderr.read()?.toString() ?? '';
    assert.equal(shown, isTTY ? '\r\x1b[Ksealpost: 1000 files\r\x1b[Ksealpost: 2000 files\r\x1b[K' : '');
  }
});
