/**
 * Schemas that carry what is said of each key, and the faults of a value held to one. Used by config/ and policy/: the meaning
 * and the mend of a key stand where the key is declared.
 */
import { z } from 'zod';
import { inOrder, showPath } from './fault.ts';
import type { Fault, Path, Place, Reading } from './fault.ts';
import { nearest } from './nearest.ts';

/** What the reference prints about a key and what a fault offers as its mend. */
export interface KeyFacts {
  readonly meaning: string;
  /** `octets`, `duration`, `path`, …: how the value is written. */
  readonly unit: string;
  /** A value that is right, as it is written in YAML flow style. */
  readonly example: string;
}

/** Facts of the schemas made by `key`; zod keeps them weakly, so a schema takes its facts along when it goes. */
const facts = z.registry<KeyFacts>();

/** Declares one key: the schema with its default (as `prefault`, written as an operator would), and all that is said of it. */
export function key<S extends z.ZodType>(schema: S, keyFacts: KeyFacts): S {
  // A clone, since facts are kept by identity and one kind of value serves many keys.
  const own = schema.clone();
  facts.add(own, keyFacts);
  return own;
}

export function factsOf(schema: z.core.$ZodType): KeyFacts | undefined {
  return facts.get(schema);
}

/** What is wrong with a value. */
export interface Wrong {
  readonly kind: 'wrong';
  readonly wrong: string;
  readonly mend?: string | undefined;
  /** Where in the value it is wrong. */
  readonly at?: readonly (string | number)[];
  /** Where it is wrong in another file that the value names. */
  readonly place?: string;
}

export type Judgement<T> = { readonly kind: 'value'; readonly value: T } | Wrong;

/** A value without keys of its own: `read` sees it as YAML gave it and answers the value or what is wrong with it. */
export function leaf<T>(read: (written: unknown) => Judgement<T>): z.ZodType<T> {
  return z.unknown().transform((written, context): T => {
    const judged: Judgement<T> = written === undefined ? { kind: 'wrong', wrong: 'is missing' } : read(written);
    if (judged.kind === 'value') return judged.value;
    const { wrong, mend, at = [], place } = judged;
    context.issues.push({ code: 'custom', message: wrong, input: written, path: [...at], params: { mend, place } });
    return z.NEVER;
  });
}

/** Each fault is looked up in its file, and told: a file of the wrong kind has one in every line. */
const MOST_FAULTS = 100;

/** Holds `written` to `schema`. `place` says where a path stands; the faults are told in the order of the file. */
export function judge<S extends z.ZodType>(schema: S, written: unknown, place: Place): Reading<z.output<S>> {
  const result = schema.safeParse(written, { reportInput: true });
  if (result.success) return { kind: 'valid', value: result.data };
  const faults: Fault[] = [];
  let further = 0;
  for (const issue of result.error.issues) {
    const room = MOST_FAULTS - faults.length;
    if (room > 0) faults.push(...faultsOf(schema, issue, place, room));
    further += Math.max(0, (issue.code === 'unrecognized_keys' ? issue.keys.length : 1) - room);
  }
  const rest = { place: place([], 'value'), key: '', wrong: `${further} further faults are not told`, mend: 'mend the others first' };
  return { kind: 'invalid', faults: [...inOrder(faults), ...(further > 0 ? [rest] : [])] };
}

/** `room` of them at most. */
function faultsOf(schema: z.ZodType, issue: z.core.$ZodIssue, place: Place, room: number): Fault[] {
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(keysOf(schemaAt(schema, issue.path)));
    return issue.keys.slice(0, room).map((name) => ({
      place: place([...issue.path, name], 'key'),
      key: showPath([...issue.path, name]),
      wrong: 'no such key',
      mend: mendUnknown(name, known),
    }));
  }
  const at = schemaAt(schema, issue.path);
  const elsewhere: unknown = issue.code === 'custom' ? issue.params?.['place'] : undefined;
  const where = typeof elsewhere === 'string' ? elsewhere : place(issue.path, 'value');
  return [{ place: where, key: showPath(issue.path), wrong: sayIssue(issue), mend: mendOf(issue, at) }];
}

function mendUnknown(name: string, known: readonly string[]): string {
  const like = nearest(name, known);
  return like === undefined ? `here stand: ${known.join(', ')}` : `did you mean ${like}?`;
}

function sayIssue(issue: z.core.$ZodIssue): string {
  if (issue.code === 'too_small') return 'an empty list';
  if (issue.code !== 'invalid_type') return issue.message;
  const empty = issue.input === undefined || issue.input === null;
  if (issue.expected === 'array') return empty ? 'is missing: a list' : 'wants a list';
  return empty ? 'is empty: wants keys below it' : 'wants keys below it';
}

function mendOf(issue: z.core.$ZodIssue, schema: z.core.$ZodType | undefined): string {
  if (issue.code === 'custom' && typeof issue.params?.['mend'] === 'string') return issue.params['mend'];
  const name = issue.path.findLast((step) => typeof step === 'string');
  const example = schema === undefined ? undefined : factsOf(schema)?.example;
  if (example !== undefined && typeof name === 'string') return `for example ${name}: ${example}`;
  const keys = schema === undefined ? [] : Object.keys(keysOf(schema));
  if (keys.length === 0 && issue.code === 'too_small') return 'name at least one, or take the key out';
  return keys.length > 0 ? `here stand: ${keys.join(', ')}` : 'docs/configuration.md shows every key';
}

/** The schema of a path, through defaults; undefined where a leaf or no key is met on the way. */
export function schemaAt(schema: z.core.$ZodType, path: Path): z.core.$ZodType | undefined {
  let at: z.core.$ZodType | undefined = schema;
  for (const step of path) {
    if (at === undefined) return undefined;
    const inner = bare(at);
    at = inner instanceof z.ZodArray ? inner.element : keysOf(inner)[String(step)];
  }
  return at;
}

/** The keys of a section; none where the schema is no section. */
export function keysOf(schema: z.core.$ZodType | undefined): Readonly<Record<string, z.core.$ZodType>> {
  const inner = schema === undefined ? undefined : bare(schema);
  return inner instanceof z.ZodObject ? inner.shape : {};
}

/** The schema behind its default, or before its transformation. */
export function bare(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) return bare(schema.unwrap());
  return schema instanceof z.ZodPipe ? bare(schema.in) : schema;
}
