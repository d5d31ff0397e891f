/**
 * Documents that name tests, held to the tests. A page has a heading for each row (`### A1`), and below it a list: a file, and under it
 * the names of tests or suites in it. A name stands there as in the source, with … where something is put in:
 *
 *     ### A6
 *     - `test/delivery/tls.test.ts`
 *       - `A6: …: no HELO, no mail in clear`
 *
 * A test that was renamed, moved, taken out or marked to be skipped is named no more, and the page is wrong.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface NamedTest {
  /** The heading that it stands under. */
  readonly row: string;
  /** From the root of the project. */
  readonly file: string;
  readonly name: string;
}

export interface NamedTests {
  /** Every heading of the third rank, in the order of the page. */
  readonly rows: readonly string[];
  readonly tests: readonly NamedTest[];
}

/** What a page names. Throws where a name stands under no file. */
export function namedTests(markdown: string): NamedTests {
  const rows: string[] = [];
  const tests: NamedTest[] = [];
  let file: string | undefined;
  for (const line of markdown.split('\n')) {
    const [, row] = /^### (\S+)/.exec(line) ?? [];
    if (row !== undefined) {
      rows.push(row);
      file = undefined;
      continue;
    }
    if (line.startsWith('#')) file = undefined;
    const [, under] = /^- `(test\/[^`]+\.test\.ts)`/.exec(line) ?? [];
    file = under ?? file;
    const [, name] = /^ {2}- `([^`]+)`/.exec(line) ?? [];
    if (name === undefined) continue;
    const last = rows.at(-1);
    if (file === undefined || last === undefined) throw new Error(`it is not said where this test is: ${name}`);
    tests.push({ row: last, file, name });
  }
  return { rows, tests };
}

/** Those that are not there; each file below `root` is read once. */
export function absentTests(tests: readonly NamedTest[], root: string): NamedTest[] {
  const read = new Map<string, { readonly source: string; readonly names: ReadonlySet<string> }>();
  const sourceOf = (file: string) => {
    const path = join(root, file);
    const source = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const known = read.get(file) ?? { source, names: testNames(source) };
    read.set(file, known);
    return known;
  };
  return tests.filter(({ file, name }) => {
    const { source, names } = sourceOf(file);
    return !names.has(name) && !isCase(source, name);
  });
}

/** What `test(` and `describe(` of a source are called, with … for each expression in a template. */
export function testNames(source: string): Set<string> {
  const names = new Set<string>();
  for (const call of source.matchAll(/(?<![.\w])(?:test|describe)\(\s*(?=['"`])/g)) {
    const name = literalAt(source, call.index + call[0].length);
    if (name !== undefined) names.add(name);
  }
  return names;
}

/** A case of a table, each of which becomes a test: its name is a string of its own, or a key. */
const isCase = (source: string, name: string): boolean =>
  /\b(?:test|describe)\(\s*(?:[a-z]\w*[,.]|`[^`]*\$\{)/.test(source) &&
  [`'${name.replaceAll("'", String.raw`\'`)}'`, `"${name}"`, `\`${name}\``].some((literal) => source.includes(literal));

/** The string or template that begins at `start`; undefined where it does not end. */
function literalAt(source: string, start: number): string | undefined {
  const quote = source[start];
  let name = '';
  for (let at = start + 1; at < source.length; at++) {
    const sign = source[at] ?? '';
    if (sign === quote) return name;
    if (sign === '\\') name += source[++at] ?? '';
    else if (quote === '`' && source.startsWith('${', at)) {
      name += '…';
      at = endOfExpression(source, at + 2);
    } else name += sign;
  }
  return undefined;
}

/** Where the brace stands that ends an expression in a template; strings in it may hold braces, and templates expressions. */
function endOfExpression(source: string, start: number): number {
  let depth = 1;
  for (let at = start; at < source.length; at++) {
    const sign = source[at] ?? '';
    if (sign === '{') depth++;
    else if (sign === '}' && --depth === 0) return at;
    else if (sign === "'" || sign === '"' || sign === '`') {
      for (at++; at < source.length && source[at] !== sign; at++) {
        if (source[at] === '\\') at++;
        else if (sign === '`' && source.startsWith('${', at)) at = endOfExpression(source, at + 2);
      }
    }
  }
  return source.length;
}
