import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { ownerNames } from '../../../src/certificates/smimea/owner.ts';
import { mailboxOf, make, noOpenssl, run, temporaryFolder } from '../openssl.ts';

const names = (address: string): readonly string[] => ownerNames(mailboxOf(address));
const hash = (local: string): string => createHash('sha256').update(local).digest('hex').slice(0, 56);

test('the example of RFC 8162 §3', () => {
  assert.deepEqual(names('hugh@example.com'), ['c93f1e400f26708f98cb19d936620da35eec8f72e57f9eec01c1afd6._smimecert.example.com']);
});

test('as it is written first, then in lower case; what is not ASCII is not folded', () => {
  assert.deepEqual(names('Anna.B@Clinic.Example'), [
    `${hash('Anna.B')}._smimecert.clinic.example`,
    `${hash('anna.b')}._smimecert.clinic.example`,
  ]);
  assert.deepEqual(names('Änna@clinic.example'), [`${hash('Änna')}._smimecert.clinic.example`]);
  assert.deepEqual(names('anna@bücher.example'), [`${hash('anna')}._smimecert.xn--bcher-kva.example`]);
});

test('quotes and the backslashes of quoted pairs are no part of the local part', () => {
  assert.deepEqual(names('"a b"@clinic.example'), [`${hash('a b')}._smimecert.clinic.example`]);
  assert.deepEqual(names(String.raw`"a\"\\b"@clinic.example`), [`${hash(String.raw`a"\b`)}._smimecert.clinic.example`]);
  assert.deepEqual(names('"anna"@clinic.example'), names('anna@clinic.example'));
});

test('where DNS has no room for a name, nothing is asked', () => {
  assert.deepEqual(names('anna@[192.0.2.1]'), []);
  assert.deepEqual(names(`a@${'a'.repeat(60)}.${'b'.repeat(60)}.${'c'.repeat(63)}.example`), []);
});

test('the lines of docs/smimea.md print the record that is looked for', { skip: noOpenssl }, async () => {
  const page = await readFile(resolve(import.meta.dirname, '../../../docs/smimea.md'), 'utf8');
  const [, script = ''] = /^```sh\n(local=.*?)^```$/ms.exec(page) ?? [];
  const folder = temporaryFolder();
  const der = make(folder, { name: 'anna' });
  const [name] = names('anna@clinic.example');
  assert.equal(run('sh', ['-c', script], folder), `${name}. 3600 IN SMIMEA 3 0 0 ${der.toString('hex')}\n`);
});
