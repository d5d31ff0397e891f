/**
 * Imports go down the path of a message only. The table below is the whole rule; a new folder or file at the top of src/ has to
 * be put into it before this test passes.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { globSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

const src = path.resolve(import.meta.dirname, '../src');

/** What a part of src/ may import besides itself and errors.ts. '*' is all but those that the part is itself imported by. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  'errors.ts': ['errors'],
  'audit.ts': [],
  audit: ['audit.ts'],
  'log.ts': [],
  'metrics.ts': [],
  document: [],
  message: [],
  config: ['document', 'message'],
  ingress: ['message', 'document'],
  policy: ['message', 'document'],
  certificates: ['message'],
  seal: ['message', 'certificates'],
  sign: ['message', 'certificates'],
  queue: ['message', 'audit.ts', 'audit'],
  delivery: ['message', 'queue', 'audit.ts'],
  'control.ts': ['message', 'queue'],
  'change-control.ts': ['message', 'certificates', 'queue', 'control.ts'],
  site: ['config', 'document', 'message', 'policy', 'certificates', 'sign', 'queue'],
  path: ['message', 'policy', 'certificates', 'seal', 'sign', 'queue', 'delivery', 'audit.ts', 'change-control.ts'],
  release: ['control.ts', 'message', 'policy', 'certificates', 'seal', 'queue', 'audit.ts', 'path'],
  'path.ts': ['*'],
  'outbox.ts': ['*', 'path.ts'],
  'seal-notice.ts': ['*', 'path.ts', 'outbox.ts'],
  upkeep: ['*', 'path.ts'],
  'relay.ts': ['*', 'path.ts', 'seal-notice.ts', 'upkeep'],
  commands: ['*', 'path.ts', 'outbox.ts', 'upkeep', 'relay.ts'],
  'cli.ts': ['*', 'path.ts', 'relay.ts', 'commands'],
};
const SEES_ALL: ReadonlySet<string> = new Set(['path.ts', 'outbox.ts', 'seal-notice.ts', 'upkeep', 'relay.ts', 'commands', 'cli.ts']);

/** Only these may print, read the environment or exit. */
const FACE: ReadonlySet<string> = new Set(['commands', 'cli.ts']);

/** `policy/decide.ts` → `policy`, `config.ts` → `config`, `cli.ts` → `cli.ts`. */
function partOf(file: string): string {
  const [first = ''] = file.split('/');
  return first === 'config.ts' ? 'config' : first;
}

interface Imports {
  /** Every string that names a source file: over-complete on purpose, so that no way of importing is missed. */
  readonly files: readonly string[];
  readonly packages: readonly string[];
  /** `import(expression)`, `require`: what cannot be followed. */
  readonly opaque: readonly string[];
}

function importsOf(source: string): Imports {
  const quoted = (pattern: RegExp): string[] => [...source.matchAll(pattern)].map((match) => match.groups?.['name'] ?? '');
  const named = [
    ...quoted(/^[ \t]*(?:import|export)\b[^'"`;()]*?\bfrom\s*(['"])(?<name>[^'"]+)\1/gm),
    ...quoted(/^[ \t]*import\s*(['"])(?<name>[^'"]+)\1/gm),
    ...quoted(/\bimport\s*\(\s*(['"`])(?<name>[^'"`$]+)\1\s*[,)]/g),
  ];
  const files = [...named.filter((name) => name.startsWith('.')), ...quoted(/(['"`])(?<name>\.{1,2}\/[^'"`\s]*\.[cm]?[jt]s)\1/g)];
  const dynamic = [
    ...source.matchAll(/\bimport\s*\((?!\s*['"`][^'"`$]+['"`]\s*[,)])/g),
    ...source.matchAll(/\b(?:createRequire|require)\s*\(/g),
  ];
  return { files: [...new Set(files)], packages: named.filter((name) => !name.startsWith('.')), opaque: dynamic.map(([text]) => text) };
}

const files = globSync('**/*.ts', { cwd: src }).sort();
const read = (file: string): string => readFileSync(path.join(src, file), 'utf8');
/** The source without comments that fill their lines; what is left in strings can only make a guard stricter. */
const codeOf = (file: string): string =>
  read(file)
    .replaceAll(/^\s*\/\*.*?\*\//gms, '')
    .replaceAll(/(?:^|\s)\/\/.*$/gm, '');

test('every source file is seen', () => {
  const listed = execFileSync('find', [src, '-name', '*.ts', '-type', 'f'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  assert.equal(files.length, listed.length);
  assert.ok(files.length >= 20, `only ${files.length} files`);
});

test('the reader of imports knows every way of writing one', () => {
  const source = `import a from './a.ts';
import type { B } from "../b/b.ts";
import {
  c, // with ' in a comment
  type C,
} from './c.ts';
import './d.ts';
export { e } from './e.ts';
export type { E } from './e2.ts';
export * from './f.ts';
export * as g from './g.ts';
const h = await import('./h.ts');
const i = () => import(
  './i.ts'
);
type J = import('./j.ts').J;
new Worker(new URL('./k.ts', import.meta.url));
import l from 'l';
import { m } from 'node:m';
import 'n/side';
const o = await import('o');
const text = 'from here';
`;
  const found = importsOf(source);
  assert.deepEqual(
    [...found.files].sort(),
    ['../b/b.ts', ...['a', 'c', 'd', 'e', 'e2', 'f', 'g', 'h', 'i', 'j', 'k'].map((name) => `./${name}.ts`)].sort(),
  );
  assert.deepEqual([...found.packages].sort(), ['l', 'n/side', 'node:m', 'o']);
  assert.deepEqual(found.opaque, []);
  assert.equal(importsOf('await import(name)').opaque.length, 1);
  assert.equal(importsOf('await import(`./${name}.ts`)').opaque.length, 1);
  assert.equal(importsOf("createRequire(import.meta.url)('x')").opaque.length, 1);
});

for (const file of files) {
  const part = partOf(file);
  test(`src/${file} imports down the path only`, () => {
    const may = allowed[part];
    assert.ok(may !== undefined, `src/${part} has no place on the path yet: put it into the table of this test`);
    const imports = importsOf(read(file));
    assert.deepEqual(imports.opaque, [], 'an import that cannot be followed');
    for (const name of imports.files) {
      // A worker may be named as its compiled self.
      const target = path.join(path.dirname(file), name).replace(/\.js$/, '.ts');
      assert.ok(
        target.endsWith('.ts') && !target.startsWith('..') && statSync(path.join(src, target)).isFile(),
        `${name} is no source file`,
      );
      const to = partOf(target);
      const fine = to === part || to === 'errors.ts' || may.includes(to) || (may.includes('*') && !SEES_ALL.has(to));
      assert.ok(fine, `${part} must not import ${to}: ${name}`);
    }
  });

  if (!FACE.has(part)) {
    test(`src/${file} does not print, read the environment or exit`, () => {
      const code = codeOf(file);
      assert.doesNotMatch(code, /\bconsole\b/);
      assert.doesNotMatch(code, /\bprocess\s*\??\.\s*(?:env|exit|exitCode|abort|stdout|stderr|stdin|argv)\b|\bprocess\[/);
      assert.doesNotMatch(
        code,
        /import\s*(?:type\s*)?\{[^}]*\b(?:env|exit|stdout|stderr|stdin|argv)\b[^}]*\}\s*from\s*'(?:node:)?process'/,
      );
    });
  }
}

test('the table of this test names nothing twice and forms no circle', () => {
  const seen = new Set<string>();
  for (const [part, may] of Object.entries(allowed)) {
    for (const below of may)
      assert.ok(below === '*' || seen.has(below), `${part} may import ${below}, which stands behind it in the table`);
    seen.add(part);
  }
});
