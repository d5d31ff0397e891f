import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { asSealpostError, errorTable, SealpostError } from '../src/errors.ts';

test('what no row of the table knows is a temporary failure that tells nothing of its cause', () => {
  const error = asSealpostError(new Error('connect ECONNREFUSED 10.0.0.1:389 secret'));
  assert.deepEqual(error.reply, { code: 451, status: '4.3.0', text: errorTable.internal.text });
  assert.equal(error.temporary, true);
});

test('the enhanced status of every row agrees with its reply code in class', () => {
  for (const [code, row] of Object.entries(errorTable)) {
    assert.equal(row.status[0], String(row.code)[0], code);
  }
});

test('a detail says what and where, behind the text of the table', () => {
  assert.equal(new SealpostError('address-invalid', { detail: 'no @ in it' }).reply.text, 'that is not a mail address: no @ in it');
});

test('no code has two rows, of which one would hide the other', () => {
  const folder = join(import.meta.dirname, '../src/errors');
  const files = globSync('*.ts', { cwd: folder }).map((name) => readFileSync(join(folder, name), 'utf8'));
  const rows = files.flatMap((text) => [...text.matchAll(/^  '?([a-z0-9-]+)'?: row\(/gm)].map(([, code = '']) => code));
  assert.deepEqual(rows.sort(), Object.keys(errorTable).sort());
});
