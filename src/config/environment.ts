/** `SEALPOST_LIMITS__MESSAGE_BYTES=10MiB`: keys set from the environment, where a container has no file to edit. */
import { z } from 'zod';
import type { Fault, Path } from '../document/fault.ts';
import { nearest } from '../document/nearest.ts';
import { bare, keysOf } from '../document/schema.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

const PREFIX = 'SEALPOST_';
/** Names that are no keys: the file itself, and the stack of a fault in sealpost. */
const NOT_KEYS: ReadonlySet<string> = new Set(['SEALPOST_CONFIG', 'SEALPOST_DEBUG']);
/** What Kubernetes and Docker links set in every container beside a service that is named sealpost: nobody wrote these. */
const SERVICE_LINK =
  /^SEALPOST_(?:NAME|SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP)(?:_(?:ADDR|PORT|PROTO))?)?|ENV_\w+)$/;

export interface Override {
  readonly name: string;
  readonly path: Path;
  readonly value: string;
}

/** What the environment sets, and a fault for each name that sets nothing. */
export function readEnvironment(schema: z.core.$ZodType, env: Environment): { readonly overrides: Override[]; readonly faults: Fault[] } {
  const known = new Map(leavesOf(schema, []).map((leaf) => [environmentName(leaf.path), leaf]));
  const overrides: Override[] = [];
  const faults: Fault[] = [];
  for (const [name, value] of Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (value === undefined || !name.startsWith(PREFIX) || NOT_KEYS.has(name) || SERVICE_LINK.test(name)) continue;
    const leaf = known.get(name);
    if (leaf?.isList === false) overrides.push({ name, path: leaf.path, value });
    else faults.push(refuse(name, [...known.keys()], leaf !== undefined || insideList(name, known)));
  }
  return { overrides, faults };
}

function refuse(name: string, known: readonly string[], isList: boolean): Fault {
  const place = `environment ${name}`;
  if (isList) return { place, key: '', wrong: 'lists have no names in the environment', mend: 'write the list in the configuration file' };
  const like = nearest(name, known);
  const mend = like === undefined ? 'unset it; docs/configuration.md lists the names' : `did you mean ${like}?`;
  return { place, key: '', wrong: 'names no key', mend };
}

function insideList(name: string, known: ReadonlyMap<string, Leaf>): boolean {
  return [...known].some(([list, leaf]) => leaf.isList && name.startsWith(`${list}__`));
}

/** `limits.message_bytes` → `SEALPOST_LIMITS__MESSAGE_BYTES` */
export function environmentName(path: Path): string {
  return PREFIX + path.map((step) => String(step).toUpperCase()).join('__');
}

interface Leaf {
  readonly path: readonly string[];
  readonly isList: boolean;
}

/** Every key that has no keys below it; a list counts as one, whatever its entries hold. */
function leavesOf(schema: z.core.$ZodType, path: readonly string[]): Leaf[] {
  const keys = Object.entries(keysOf(schema));
  if (keys.length === 0) return [{ path, isList: bare(schema) instanceof z.ZodArray }];
  return keys.flatMap(([name, below]) => leavesOf(below, [...path, name]));
}

/** A copy of `written` with the overrides in place; sections that are not written are made. */
export function applyOverrides(written: unknown, overrides: readonly Override[]): unknown {
  return overrides.reduce((value, override) => withValue(value, override.path, override.value), written);
}

function withValue(written: unknown, path: Path, value: string): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return value;
  // Something else than a section stands here: left for the schema to tell of.
  if (written !== undefined && written !== null && (typeof written !== 'object' || Array.isArray(written))) return written;
  const section = new Map(Object.entries(written ?? {}));
  section.set(String(step), withValue(section.get(String(step)), rest, value));
  return Object.fromEntries(section);
}
