/**
 * What a mutant is: the relay with one of its guards taken out. A test that stays green without the guard proves nothing about the promise
 * that the guard keeps, and nobody would notice the day it is lost.
 */
import { globSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join, resolve } from 'node:path';

export const promises = {
  P1: 'no 250 before the sealed message is durable',
  P2: 'plaintext never reaches a file',
  P3: 'content leaves in clear only by a rule, over verified TLS',
  P4: 'at least once, retries byte-identical, duplicates counted',
  P5: '5xx only for permanent facts; unavailable is not absent',
  P6: 'memory, time, connections and recipients are bounded',
  P7: 'every accepted recipient ends, and the audit log says how',
  P8: 'nothing that reaches one reader names a Bcc recipient',
  P9: 'only a certificate that passes the written rule is used',
  P10: 'a damaged item is noticed, set aside, never sent',
} as const;

export type PromiseName = keyof typeof promises;

export const promiseNames = Object.keys(promises).filter((name): name is PromiseName => name in promises);

export interface Guard {
  readonly promise: PromiseName;
  /** The attack or attacks that it stops, as `A1`. */
  readonly attack?: string;
  /** What happens to whom without it, in words. */
  readonly without: string;
  /** Below the root of the checkout. */
  readonly file: string;
  /** Stands exactly once in the file. */
  readonly text: string;
  readonly by: string;
  /** Parts of the paths of the tests that should notice, as `npm test` takes them. */
  readonly tests: readonly string[];
  /** Names of the tests among them, as an expression; all where it is not set. */
  readonly named?: string;
}

/** By the name that `--only` takes. */
export type Guards = Readonly<Record<string, Guard>>;

export const root = resolve(import.meta.dirname, '../..');

export type Mutation = { readonly kind: 'mutated'; readonly source: string } | { readonly kind: 'unsound'; readonly fault: string };

/** The file without its guard. What does not parse would be noticed by anybody, and is no mutant. */
export function mutate(source: string, { text, by }: Pick<Guard, 'text' | 'by'>): Mutation {
  const found = source.split(text).length - 1;
  if (text === '' || found !== 1) return { kind: 'unsound', fault: `its text stands ${found} times in the file` };
  const mutated = source.replace(text, () => by);
  if (mutated === source) return { kind: 'unsound', fault: 'it changes nothing' };
  try {
    stripTypeScriptTypes(mutated);
  } catch {
    return { kind: 'unsound', fault: 'the file does not parse without it' };
  }
  return { kind: 'mutated', source: mutated };
}

/** The test files that a guard names, below the root; `npm test` finds the same. */
export function testFiles({ tests }: Pick<Guard, 'tests'>): string[] {
  return allTests().filter((file) => tests.some((word) => file.includes(word)));
}

let listed: string[] | undefined;
const allTests = (): string[] => (listed ??= globSync('test/**/*.test.ts', { cwd: root }).sort());

/** What is wrong with a guard before anything is run; undefined where it is sound. */
export function faultOf(guard: Guard): string | undefined {
  const mutation = mutate(readFileSync(join(root, guard.file), 'utf8'), guard);
  if (mutation.kind === 'unsound') return mutation.fault;
  const idle = guard.tests.find((word) => testFiles({ tests: [word] }).length === 0);
  if (guard.tests.length === 0 || idle !== undefined) return `no test file matches ${idle ?? 'it'}`;
  return undefined;
}
