/** docs/audit.md tells every event with its attributes, and hashing knows each of them. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { auditEventNames } from '../../src/audit.ts';
import { isDeclared } from '../../src/audit/hashing.ts';

const root = join(import.meta.dirname, '../..');
const text = readFileSync(join(root, 'docs/audit.md'), 'utf8');
const rows = [...text.matchAll(/^\| `(?<event>[a-z-]+)` \| (?<attributes>.*?) \|/gm)].map(({ groups }) => ({
  event: groups?.['event'],
  attributes: [...(groups?.['attributes'] ?? '').matchAll(/`([a-z_0-9]+)`/g)].map(([, name = '']) => name),
}));

test('docs/audit.md lists every event once, in the order of the source', () => {
  assert.deepEqual(
    rows.map(({ event }) => event),
    [...auditEventNames],
  );
});

test('every attribute that is listed is one that hashing knows', () => {
  const unknown = rows.flatMap(({ event, attributes }) =>
    attributes.filter((name) => !isDeclared(name)).map((name) => `${event}: ${name}`),
  );
  assert.deepEqual(unknown, []);
});

test('every attribute that names a person is listed', () => {
  const listed = new Set(rows.flatMap(({ attributes }) => attributes));
  for (const name of ['sender', 'recipient', 'about_recipient', 'user', 'member', 'members', 'alias_of', 'addresses'])
    assert.ok(listed.has(name), name);
});
