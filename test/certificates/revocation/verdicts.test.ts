/** The table of docs/revocation.md is what the directory says, with openssl's lists and responders (A23). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { noOpenssl, temporaryFolder } from '../openssl.ts';
import { PAGE, verdicts, withTable } from './verdicts.ts';

test('docs/revocation.md shows what the directory says: npm run verdicts -- --write', { skip: noOpenssl }, async () => {
  const page = readFileSync(PAGE, 'utf8');
  const table = await verdicts(temporaryFolder());
  assert.equal(page, withTable(page, table));
  assert.ok(page.includes(table));
  // Of what is revoked or forged nothing is sealed to but under off; under hard nothing that is unknown.
  for (const row of table.split('\n').slice(2, -1)) {
    const [, meaning = '', , soft = '', hard = ''] = row.split('|').map((cell) => cell.trim());
    if (/^revoked|is revoked$/.test(meaning)) assert.match(soft, /^\*\*550\*\*/, meaning);
    if (soft.startsWith('sealed: unknown')) assert.match(hard, /^\*\*(?:451|550)\*\*/, meaning);
  }
});
