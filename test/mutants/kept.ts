/**
 * Findings on the disk, a line each: all guards take longer than some machines are left alone. A run goes on with those that were found
 * before, as long as guard, program and tests are the same octets.
 */
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, testFiles, type Guard, type Guards } from './guard.ts';
import type { Finding } from './hunt.ts';

interface Kept extends Pick<Finding, 'name' | 'verdict' | 'seconds'> {
  readonly of: string;
}

/** What a finding is about. The program is what the guard's own file says; another file that changes its part is for the next whole run. */
function markOf(guard: Guard): string {
  const hash = createHash('sha256').update(JSON.stringify(guard));
  for (const file of [guard.file, ...testFiles(guard)]) hash.update(`\0${file}\0`).update(readFileSync(join(root, file)));
  return hash.digest('hex');
}

/** Of `guards`, by name, the last of each; `earlier` where octets have changed since. What proved nothing is left out. */
export function readKept(path: string, guards: Guards): Map<string, Finding> {
  const found = new Map<string, Finding>();
  if (!existsSync(path)) return found;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (!line.endsWith('}')) continue;
    const value: unknown = JSON.parse(line);
    if (!isKept(value) || value.verdict.kind === 'unproved') continue;
    const { name, verdict, seconds, of } = value;
    const guard = Object.hasOwn(guards, name) ? guards[name] : undefined;
    if (guard === undefined) continue;
    found.set(name, { name, guard, verdict, seconds, ...(markOf(guard) === of ? {} : { earlier: true }) });
  }
  return found;
}

export function keep(path: string, { name, guard, verdict, seconds }: Finding): void {
  const line: Kept = { name, verdict, seconds, of: markOf(guard) };
  appendFileSync(path, `${JSON.stringify(line)}\n`);
}

/** Written by `keep`. */
const isKept = (value: unknown): value is Kept => typeof value === 'object' && value !== null && 'name' in value && 'of' in value;
