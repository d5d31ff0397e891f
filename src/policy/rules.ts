/**
 * The rules of policies/*.yaml, in the order of the file names, then of the file, with the files of lists that they name. Every fault of
 * every file is told at once. Nothing is passed over: a file that is not read, or a key that is not known, could be the rule that was
 * to refuse.
 */
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { inOrder, showFaults } from '../document/fault.ts';
import type { Fault, Reading } from '../document/fault.ts';
import { judge } from '../document/schema.ts';
import { readText, readYaml, unreadable } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import type { Rule } from './decide.ts';
import { type List, type Lists, listLines } from './entries.ts';
import { ruleFileSchema } from './schema.ts';

/** How rule files and lists are read: live.ts notes what it read, to see when it is another. */
export interface FileReader {
  /** Sorted. */
  names(folder: string): Promise<readonly string[]>;
  text(file: string, most?: number): Promise<string>;
}

const plainFiles: FileReader = { names: listFolder, text: (file, most) => readText(file, undefined, most) };

export interface LoadedRules {
  readonly rules: readonly Rule[];
  /** Hex, over the names and texts of all files: docs/policies.md says how, for who wants to prove which rules decided. */
  readonly sha256: string;
}

/** The rules of a folder in their order, frozen. Throws `policy-invalid` with every fault, or `file-unreadable`. */
export const loadRules = async (folder: string): Promise<readonly Rule[]> => (await loadPolicy(folder)).rules;

/** As `loadRules`, with their hash. */
export async function loadPolicy(folder: string): Promise<LoadedRules> {
  const read = await readPolicy(folder);
  if (read.kind === 'valid') return read.value;
  throw rulesInvalid(read.faults);
}

export function rulesInvalid(faults: readonly Fault[]): SealpostError {
  const count = faults.length === 1 ? '1 fault' : `${faults.length} faults`;
  return new SealpostError('policy-invalid', { detail: `${count}\n${showFaults(faults)}` });
}

/** As `loadRules`, with the faults as values. Throws `file-unreadable` where the folder or a file cannot be read. */
export async function readRules(folder: string): Promise<Reading<readonly Rule[]>> {
  const read = await readPolicy(folder);
  return read.kind === 'valid' ? { kind: 'valid', value: read.value.rules } : read;
}

/** As `readRules`, with their hash. */
export const readPolicy = (folder: string): Promise<Reading<LoadedRules>> => readRuleFolder(folder, plainFiles);

/** As `readPolicy`, by `files`. */
export async function readRuleFolder(folder: string, files: FileReader): Promise<Reading<LoadedRules>> {
  const names = await files.names(folder);
  const faults: Fault[] = names.filter((name) => name.endsWith('.yml')).map((name) => misnamed(path.join(folder, name)));
  const rules: Rule[] = [];
  const hash = createHash('sha256');
  const hashed: FileReader = {
    ...files,
    text: async (file, most) => {
      const text = await files.text(file, most);
      hash.update(`${path.relative(folder, file)}\n${text.length}\n${text}`);
      return text;
    },
  };
  for (const name of names.filter((name) => name.endsWith('.yaml'))) {
    const read = await readRuleFile(path.join(folder, name), hashed);
    if (read.kind === 'valid') rules.push(...read.value);
    else faults.push(...read.faults);
  }
  faults.push(...repeatedNames(rules));
  if (faults.length === 0 && rules.length === 0) faults.push(noRules(folder));
  return faults.length > 0
    ? { kind: 'invalid', faults }
    : { kind: 'valid', value: { rules: Object.freeze(rules.map((rule) => Object.freeze(rule))), sha256: hash.digest('hex') } };
}

export async function listFolder(folder: string): Promise<string[]> {
  try {
    // By code unit, which is what `LC_ALL=C ls` shows: an order that does not change with the locale.
    return (await readdir(folder)).sort();
  } catch (error) {
    throw unreadable(folder, error, 'policies names the folder of the rules; sealpost init makes one');
  }
}

async function readRuleFile(file: string, files: FileReader): Promise<Reading<Rule[]>> {
  const document = readYaml(file, await files.text(file));
  if (document.kind === 'invalid') return document;
  const { value, place } = document.value;
  const lists = await readLists(path.dirname(file), value, files);
  const judged = judge(ruleFileSchema(lists), value ?? {}, place);
  if (judged.kind === 'invalid') return judged;
  return {
    kind: 'valid',
    value: judged.value.rules.map((rule, index) => ({ ...rule, place: place(['rules', index, 'name'], 'value') })),
  };
}

/** A hundred thousand addresses, and as much again. */
const MAX_LIST = 16 * 1024 * 1024;

/** The files that `{ file: NAME }` somewhere in the rules may mean, in memory; the schema knows which of them are meant. */
async function readLists(folder: string, value: unknown, files: FileReader): Promise<Lists> {
  const lists = new Map<string, List>();
  for (const name of new Set(fileNames(value))) {
    const file = path.resolve(folder, name);
    try {
      lists.set(name, { kind: 'list', lines: listLines(file, await files.text(file, MAX_LIST)) });
    } catch (error) {
      if (!(error instanceof SealpostError) || error.code !== 'file-unreadable') throw error;
      lists.set(name, { kind: 'fault', fault: `cannot be read: ${error.detail ?? ''}` });
    }
  }
  return (name) => lists.get(name) ?? { kind: 'fault', fault: 'cannot be read' };
}

/** YAML aliases make this a graph, and never a circle. */
function fileNames(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]: [string, unknown]) =>
    key === 'file' && typeof inner === 'string' ? [inner] : fileNames(inner),
  );
}

function misnamed(file: string): Fault {
  return {
    place: file,
    key: '',
    wrong: 'would not be read: rules stand in files that end in .yaml',
    mend: `rename it to ${path.basename(file, '.yml')}.yaml`,
  };
}

function noRules(folder: string): Fault {
  return {
    place: folder,
    key: '',
    wrong: 'no rule in the whole folder, so all mail would be refused',
    mend: 'sealpost init writes 90-default.yaml, which seals everything',
  };
}

/** Names are how logs and people tell rules apart. */
function repeatedNames(rules: readonly Rule[]): Fault[] {
  const seen = new Map<string, string>();
  const faults = rules.flatMap(({ name, place = '' }) => {
    const before = seen.get(name);
    seen.set(name, before ?? place);
    const mend = 'give one of the two another name';
    return before === undefined ? [] : [{ place, key: 'name', wrong: `"${name}" is the name of the rule at ${before}`, mend }];
  });
  return inOrder(faults);
}
