/**
 * The rules of policies/*.yaml, in the order of the file names, then of the file. Every fault of every file is told at once.
 * Nothing is passed over: a file that is not read, or a key that is not known, could be the rule that was to refuse.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { showFaults } from '../document/fault.ts';
import type { Fault, Reading } from '../document/fault.ts';
import { judge } from '../document/schema.ts';
import { readText, readYaml, unreadable } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import type { Rule } from './decide.ts';
import { ruleFile } from './schema.ts';

/** A rule and where it stands, `90-default.yaml:4:5`. */
interface PlacedRule {
  readonly rule: Rule;
  readonly place: string;
}

/** The rules of a folder in their order, frozen. Throws `policy-invalid` with every fault, or `file-unreadable`. */
export async function loadRules(folder: string): Promise<readonly Rule[]> {
  const read = await readRules(folder);
  if (read.kind === 'valid') return read.value;
  const count = read.faults.length === 1 ? '1 fault' : `${read.faults.length} faults`;
  throw new SealpostError('policy-invalid', { detail: `${count}\n${showFaults(read.faults)}` });
}

/** As `loadRules`, with the faults as values. Throws `file-unreadable` where the folder or a file cannot be read. */
export async function readRules(folder: string): Promise<Reading<readonly Rule[]>> {
  const names = await listFolder(folder);
  const faults: Fault[] = names.filter((name) => name.endsWith('.yml')).map((name) => misnamed(path.join(folder, name)));
  const placed: PlacedRule[] = [];
  for (const name of names.filter((name) => name.endsWith('.yaml'))) {
    const read = await readRuleFile(path.join(folder, name));
    if (read.kind === 'valid') placed.push(...read.value);
    else faults.push(...read.faults);
  }
  faults.push(...repeatedNames(placed));
  if (faults.length === 0 && placed.length === 0) faults.push(noRules(folder));
  return faults.length > 0
    ? { kind: 'invalid', faults }
    : { kind: 'valid', value: Object.freeze(placed.map(({ rule }) => Object.freeze(rule))) };
}

async function listFolder(folder: string): Promise<string[]> {
  try {
    // By code unit, which is what `LC_ALL=C ls` shows: an order that does not change with the locale.
    return (await readdir(folder)).sort();
  } catch (error) {
    throw unreadable(folder, error, 'policies names the folder of the rules; sealpost init makes one');
  }
}

async function readRuleFile(file: string): Promise<Reading<PlacedRule[]>> {
  const document = readYaml(file, await readText(file));
  if (document.kind === 'invalid') return document;
  const { value, place } = document.value;
  const judged = judge(ruleFile, value ?? {}, place);
  if (judged.kind === 'invalid') return judged;
  return { kind: 'valid', value: judged.value.rules.map((rule, index) => ({ rule, place: place(['rules', index, 'name'], 'value') })) };
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
function repeatedNames(placed: readonly PlacedRule[]): Fault[] {
  const seen = new Map<string, string>();
  return placed.flatMap(({ rule, place }) => {
    const before = seen.get(rule.name);
    seen.set(rule.name, before ?? place);
    const mend = 'give one of the two another name';
    return before === undefined ? [] : [{ place, key: 'name', wrong: `"${rule.name}" is the name of the rule at ${before}`, mend }];
  });
}
