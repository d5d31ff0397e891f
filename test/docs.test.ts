import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, globSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { pages } from '../docs/generate.ts';
import { auditEventNames } from '../src/audit.ts';
import { errorTable } from '../src/errors.ts';
import { makeAddressBook } from '../src/certificates/address-book.ts';
import { readCases } from '../src/commands/policies/cases.ts';
import { runCase } from '../src/commands/policies/run.ts';
import { keysOf, schemaAt } from '../src/document/schema.ts';
import { makeRuleSet } from '../src/policy/decide.ts';
import { loadRules } from '../src/policy/rules.ts';
import { ruleFileSchema } from '../src/policy/schema.ts';
import { subjectFields } from '../src/policy/subject.ts';

const docs = path.resolve(import.meta.dirname, '../docs');
const read = (page: string): Promise<string> => readFile(path.join(docs, page), 'utf8');

for (const [page, render] of Object.entries(pages)) {
  test(`docs/${page} is fresh: npm run docs writes it`, async () => {
    assert.equal(await read(page), render());
  });
}

/** The first column of the tables of a page, without its backquotes. */
function firstColumn(markdown: string): string[] {
  return [...markdown.matchAll(/^\| `([^`]+)` \|/gm)].map(([, cell = '']) => cell);
}

test('docs/errors.md lists every error code once, in the order of the table', async () => {
  assert.deepEqual(firstColumn(await read('errors.md')), Object.keys(errorTable));
});

test('docs/change-control.md lists every event about certificates', async () => {
  const listed = new Set(firstColumn(await read('change-control.md')));
  const events = auditEventNames.filter((name) => /^(?:certificate|crl|expiry|summary)-/.test(name));
  assert.ok(events.length > 5);
  for (const event of events) assert.ok(listed.has(event), event);
});

test('every error says what to do', () => {
  for (const [code, { hint, text }] of Object.entries(errorTable)) {
    assert.ok(hint.length > 10 && text.length > 5, code);
  }
});

test('no hint names a configuration key that does not exist', async () => {
  const keys = new Set(firstColumn(await read('configuration.md')));
  const sections = [...keys].filter((key) => /^[a-z]+$/.test(key)).join('|');
  for (const [code, { hint }] of Object.entries(errorTable)) {
    for (const [named] of hint.matchAll(new RegExp(`\\b(?:${sections})\\.[a-z_]+`, 'g'))) assert.ok(keys.has(named), `${code}: ${named}`);
  }
});

test('what the relay itself reads stands in secrets/, in every document: keys/ is closed to it', async () => {
  const pagesWithSecrets = ['configuration.md', 'clients.md', 'operations.md', 'upstreams.md', '../README.md'];
  for (const page of pagesWithSecrets)
    for (const [, place] of (await read(page)).matchAll(/(?:file:|(?:cert|key): )((?:keys|tls|secrets)\/)(?!ca\.passphrase)/g))
      assert.equal(place, 'secrets/', page);
});

test('docs/configuration.md lists the keys that operators rely on', async () => {
  const keys = firstColumn(await read('configuration.md'));
  for (const key of [
    'hostname',
    'listen[].port',
    'limits.message_bytes',
    'upstream[].host',
    'certificates.sources[].files',
    'queue.kept_bounced',
  ]) {
    assert.ok(keys.includes(key), key);
  }
});

test('the rules shown in docs/policies.md load, and come to what its table says; every key and every field of a template is told', async (t) => {
  const page = await read('policies.md');
  const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-docs-'));
  t.after(() => rm(folder, { recursive: true }));
  await mkdir(path.join(folder, 'lists'));
  await mkdir(path.join(folder, 'tests'));
  await writeFile(path.join(folder, 'lists/patients.txt'), 'vera@mail.example\n');
  const [shown = '', table = '', ...others] = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = '']) => text);
  assert.deepEqual(others, []);
  await writeFile(path.join(folder, 'shown.yaml'), shown);
  await writeFile(path.join(folder, 'tests/shown.yaml'), table);
  const rules = await loadRules(folder);
  assert.equal(rules.length, 7);
  const cases = await readCases(path.join(folder, 'tests/shown.yaml'));
  assert.ok(cases.kind === 'valid');
  const parts = { rules: makeRuleSet(rules), addressBook: makeAddressBook({ lookup: () => assert.fail('a look-up') }) };
  const formFor = () => ({ cipher: 'aes-256-cbc', keyTransport: 'rsaes-pkcs1' }) as const;
  for (const one of cases.value) assert.deepEqual((await runCase({ ...parts, formFor }, one)).differences, [], one.name);
  const schema = ruleFileSchema(() => ({ kind: 'fault', fault: 'no list' }));
  const listed = new Set(firstColumn(page));
  const rule = keysOf(schemaAt(schema, ['rules', 0]));
  assert.ok(Object.keys(rule).length > 10);
  for (const key of Object.keys(rule)) assert.ok(listed.has(key), key);
  const conditions = Object.keys(keysOf(rule['when']));
  assert.ok(conditions.length > 10);
  for (const key of conditions) assert.ok(listed.has(`when.${key}`), `when.${key}`);
  for (const field of subjectFields) assert.ok(listed.has(`{${field}}`), field);
});

const root = path.resolve(docs, '..');
/** Everything that people read: the documents at the top, in docs/ and beside the certificates. */
const readable = ['*.md', 'docs/*.md', 'certs/*.md'].flatMap((pattern) => globSync(pattern, { cwd: root })).sort();

test('every relative link leads to a file', async () => {
  assert.ok(readable.length >= 10, `only ${readable.length} documents`);
  const links: string[] = [];
  for (const page of readable) {
    const text = await readFile(path.join(root, page), 'utf8');
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      links.push(target);
      const there = path.resolve(root, path.dirname(page), target);
      assert.ok(existsSync(there), `${page} links to ${target}`);
    }
  }
  assert.ok(links.length >= 10, `only ${links.length} links`);
});

test('every test that a document names is there', async () => {
  for (const page of readable) {
    const text = await readFile(path.join(root, page), 'utf8');
    for (const [named] of text.matchAll(/\b(?:test|src)\/[a-z/{},-]+\.ts\b/g)) {
      assert.ok(globSync(named, { cwd: root }).length > 0, `${page} names ${named}`);
    }
  }
});

/** What stands behind `Commands:` in the help of the program or of one command. */
function commandsIn(...words: string[]): ReadonlySet<string> {
  const help = execFileSync(process.execPath, [path.join(root, 'src/cli.ts'), ...words, '--help'], { encoding: 'utf8' });
  const [, list = ''] = help.split(/^Commands:$/m);
  return new Set([...list.matchAll(/^ {2}([a-z]+)/gm)].map(([, name = '']) => name));
}

test('every command that a document names exists', async () => {
  const names = commandsIn();
  const below = new Map(['certs', 'queue', 'audit', 'policies'].map((name) => [name, commandsIn(name)]));
  let seen = 0;
  for (const page of readable) {
    const text = await readFile(path.join(root, page), 'utf8');
    // As code only, and where a command begins: in prose, and in a message such as "another sealpost owns", it is no command.
    const code = [...text.matchAll(/^```.*?^```/gms), ...text.matchAll(/`[^`\n]+`/g)].map(([span]) => span);
    for (const [, name = '', next = ''] of code
      .join('\n')
      .matchAll(/(?:^|`|\$ |npx |-u sealpost )sealpost +(?:-c +\S+ +)?([a-z]+)(?: +([a-z]+)\b)?/gm)) {
      seen++;
      assert.ok(names.has(name), `${page}: sealpost ${name}`);
      const inner = below.get(name);
      if (inner !== undefined && next !== '') assert.ok(inner.has(next), `${page}: sealpost ${name} ${next}`);
    }
  }
  assert.ok(seen >= 30, `only ${seen} commands`);
});
