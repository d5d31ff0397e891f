/** Folders of recipients, each with a thread of its own. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { openRecipientFolder } from '../../src/certificates/files.ts';
import { craft, rfc822 } from './craft.ts';
import { testFolder } from './folder-suite.ts';
import { eventually, temporaryFolder } from './openssl.ts';

const cache = temporaryFolder();
testFolder('a folder of recipients', (path, log, delays) =>
  openRecipientFolder({ path, log, delays, cache: { folder: cache, writable: true } }),
);

test('an answer that is used again is never older than the last look at the folder, and without one a second', async (t) => {
  const path = temporaryFolder();
  const file = join(path, 'anna.cer');
  // A folder that is empty all at once may be a mount that is gone.
  writeFileSync(join(path, 'ben.cer'), craft({ names: [rfc822('ben@example.org')] }));
  const folder = openRecipientFolder({ path, log: pino({ level: 'silent' }), cache: { folder: cache, writable: true } });
  t.after(() => folder.close());
  const found = async (): Promise<number> => {
    const answer = await folder.find('anna@example.org', new AbortController().signal);
    return answer.kind === 'found' ? answer.certificates.length : -1;
  };
  assert.equal(await found(), 0);
  writeFileSync(file, craft({ names: [rfc822('anna@example.org')] }));
  await folder.refresh();
  assert.equal(await found(), 1, 'that there was none is not believed behind a look');
  rmSync(file);
  await folder.refresh();
  assert.equal(await found(), 0);
  writeFileSync(file, craft({ names: [rfc822('anna@example.org')] }));
  await eventually(async () => (await found()) === 1);
});
