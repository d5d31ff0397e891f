/** docs/performance.json and its plots, and of docs/performance.md what stands between its two marks. */
import { readFile, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { resolve } from 'node:path';
import process from 'node:process';
import { type Curve, type Figure, type Shares, sharesTable, tableOf } from './figures.ts';
import { plotCurve } from './plot.ts';

const docs = resolve(import.meta.dirname, '../../docs');
const MARKS = ['<!-- figures: npm run bench writes them -->', '<!-- end of the figures -->'] as const;
const GIB = 1024 ** 3;

export interface Found {
  readonly figures: readonly Figure[];
  readonly curves: readonly Curve[];
  readonly profiles: readonly Shares[];
}

/** What a program may read; the file of `--json`. */
export function asJson(found: Found, command: string): string {
  return `${JSON.stringify({ command, date: new Date().toISOString().slice(0, 10), machine: machine(), ...found }, null, 2)}\n`;
}

export function machine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${cpus().length} × ${model}, ${Math.round(totalmem() / GIB)} GiB of memory, ${process.platform}, Node ${process.version}`;
}

/** Rows and curves of this run; those that it did not run stay as they are. */
export async function writeReport(found: Found, command: string): Promise<void> {
  const kept: Found = JSON.parse(
    await readFile(resolve(docs, 'performance.json'), 'utf8').catch(() => '{"figures":[],"curves":[],"profiles":[]}'),
  );
  const figures = merged(kept.figures, found.figures, ({ what }) => what);
  const curves = merged(kept.curves, found.curves, ({ name }) => name);
  const profiles = merged(kept.profiles, found.profiles, ({ what }) => what);
  await writeFile(resolve(docs, 'performance.json'), asJson({ figures, curves, profiles }, command));
  for (const curve of found.curves) await writeFile(resolve(docs, `performance-${curve.name}.svg`), plotCurve(curve));
  const page = await readFile(resolve(docs, 'performance.md'), 'utf8');
  const [from, to] = [page.indexOf(MARKS[0]), page.indexOf(MARKS[1])];
  if (from < 0 || to < from) throw new Error('docs/performance.md has lost its marks');
  const about = `\`npm run bench -- --report\` on ${machine()}; min, median and max of the pairs of one run:`;
  const lines = [MARKS[0], '', about, '', ...tableOf(figures), '', ...profiles.flatMap((one) => [...sharesTable(one), ''])];
  await writeFile(resolve(docs, 'performance.md'), `${page.slice(0, from)}${lines.join('\n')}\n${page.slice(to)}`);
}

function merged<One>(kept: readonly One[], found: readonly One[], nameOf: (one: One) => string): One[] {
  const names = new Set(found.map(nameOf));
  const later = found.filter((one) => !kept.some((old) => nameOf(old) === nameOf(one)));
  return [...kept.map((old) => (names.has(nameOf(old)) ? (found.find((one) => nameOf(one) === nameOf(old)) ?? old) : old)), ...later];
}
