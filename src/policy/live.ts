/**
 * The rules, live: a change to the folder or to a list counts within seconds, without a signal or a restart. The files are polled, as
 * certificates and users are.
 *
 * A change is taken once everything has rested for one look, since a file may be caught half-written. Rules with faults, or that cannot
 * be read, leave those from before in place and are logged with every fault: mail is never decided by half of a policy.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';
import type { Fault, Reading } from '../document/fault.ts';
import { readText, systemCode } from '../document/yaml.ts';
import { makeRuleSet, type Rule, type RuleSet } from './decide.ts';
import { policyRemarks, sayRemark } from './remarks.ts';
import { type FileReader, listFolder, type LoadedRules, readRuleFolder, rulesInvalid } from './rules.ts';

/** What became of the rules: for the audit log. */
export type RulesNews =
  | { readonly kind: 'loaded'; readonly rules: number; readonly sha256: string }
  /** Those from before stay. */
  | { readonly kind: 'kept'; readonly faults: number };

export interface RulesOptions {
  readonly log: Logger;
  /** What else is wrong with rules: an identity that the site has not, say. */
  readonly verify?: ((rules: readonly Rule[]) => Promise<readonly Fault[]>) | undefined;
  /** Milliseconds between two looks. */
  readonly restMs?: number;
}

export interface Watching {
  /** Called with the rules of the start, too. */
  readonly onNews: (news: RulesNews) => void;
  /** Makes what new rules want before they count; where it rejects, those from before stay. */
  readonly prepare?: (rules: readonly Rule[]) => Promise<void>;
}

export interface LiveRules {
  readonly current: () => RuleSet;
  /** From here on changes are looked for. Rejects where the rules of the start cannot be prepared. */
  readonly watch: (watching: Watching) => Promise<void>;
  readonly close: () => void;
}

const REST_MS = 1000;
/** Faults and remarks of one log line; `check` tells all. */
const MAX_TOLD = 20;
/** Rules are compared with those before them, while mail waits: of more, `check` alone tells. */
const MAX_REMARKED = 2000;

/** Throws `policy-invalid` with every fault, or `file-unreadable`: a relay does not start with rules that it cannot keep. */
export async function openRules(folder: string, { log, verify, restMs = REST_MS }: RulesOptions): Promise<LiveRules> {
  const live = new LiveFolder(folder, { log, verify });
  await live.start();
  let timer: NodeJS.Timeout | undefined;
  let looking = false;
  const look = async (): Promise<void> => {
    if (looking) return;
    looking = true;
    await live.look();
    looking = false;
  };
  return {
    current: () => live.current,
    async watch(watching) {
      await live.watch(watching);
      timer = setInterval(() => void look(), restMs);
      timer.unref();
    },
    close: () => clearInterval(timer),
  };
}

/** The folder as it was read last; exported for its tests. */
export class LiveFolder {
  readonly #folder: string;
  readonly #options: Pick<RulesOptions, 'log' | 'verify'>;
  #watching: Watching = { onNews: () => {} };
  #sha256 = '';
  #current: RuleSet = makeRuleSet([]);
  /** Lists that the last reading asked for, whether they were there or not. */
  #lists: ReadonlySet<string> = new Set();
  /** Of what was read last, and of the last look. */
  #read = '';
  #seen = '';

  constructor(folder: string, options: Pick<RulesOptions, 'log' | 'verify'>) {
    this.#folder = folder;
    this.#options = options;
  }

  get current(): RuleSet {
    return this.#current;
  }

  /** Throws where the rules are wrong. */
  async start(): Promise<void> {
    const read = await this.#load();
    if (read.kind === 'invalid') throw rulesInvalid(read.faults);
    this.#take(read.value);
  }

  async watch(watching: Watching): Promise<void> {
    this.#watching = watching;
    const { rules } = this.#current;
    await watching.prepare?.(rules);
    this.#remark(rules);
    watching.onNews({ kind: 'loaded', rules: rules.length, sha256: this.#sha256 });
  }

  async look(): Promise<void> {
    const stamp = await this.#stamp();
    const rested = stamp === this.#seen;
    this.#seen = stamp;
    if (stamp === this.#read || !rested) return;
    try {
      const read = await this.#load();
      if (read.kind === 'invalid') return this.#keep(rulesInvalid(read.faults), read.faults);
      const { rules, sha256 } = read.value;
      await this.#watching.prepare?.(rules);
      this.#take(read.value);
      this.#options.log.info({ folder: this.#folder, rules: rules.length, sha256 }, 'rules read');
      this.#remark(rules);
      this.#watching.onNews({ kind: 'loaded', rules: rules.length, sha256 });
    } catch (error) {
      this.#keep(error);
    }
  }

  #take({ rules, sha256 }: LoadedRules): void {
    this.#current = makeRuleSet(rules);
    this.#sha256 = sha256;
  }

  /** What `check` would say: a rule above all others that was not meant so would go unseen till mail is missed. */
  #remark(rules: readonly Rule[]): void {
    if (rules.length > MAX_REMARKED) return;
    const remarks = policyRemarks(rules).map(sayRemark);
    if (remarks.length === 0) return;
    const first = remarks.slice(0, MAX_TOLD);
    this.#options.log.warn({ folder: this.#folder, remarks: remarks.length, first }, 'rules that are never reached or never match');
  }

  #keep(error: unknown, faults: readonly Fault[] = []): void {
    // One by one: a log line has no lines in it.
    const told = faults.slice(0, MAX_TOLD).map(({ place, key, wrong, mend }) => `${place}: ${key}: ${wrong}; mend: ${mend}`);
    const why = faults.length === 0 ? { err: error } : { count: faults.length, faults: told };
    this.#options.log.error({ folder: this.#folder, ...why }, 'the rules are faulty, those from before stay');
    this.#watching.onNews({ kind: 'kept', faults: Math.max(1, faults.length) });
  }

  /** What it reads is stamped before, so that a change in between shows at the next look. */
  async #load(): Promise<Reading<LoadedRules>> {
    const stamps = new Map<string, string>();
    const lists = new Set<string>();
    const files: FileReader = {
      names: async (folder) => {
        const names = await listFolder(folder);
        for (const file of ruleFiles(folder, names)) stamps.set(file, await stampOf(file));
        return names;
      },
      text: async (file, most) => {
        if (!stamps.has(file)) {
          lists.add(file);
          stamps.set(file, await stampOf(file));
        }
        return readText(file, undefined, most);
      },
    };
    try {
      const read = await readRuleFolder(this.#folder, files);
      const faults = read.kind === 'valid' ? ((await this.#options.verify?.(read.value.rules)) ?? []) : read.faults;
      return read.kind === 'valid' && faults.length > 0 ? { kind: 'invalid', faults } : read;
    } finally {
      this.#lists = lists;
      this.#read = join(stamps);
      this.#seen = this.#read;
    }
  }

  async #stamp(): Promise<string> {
    const stamps = new Map<string, string>();
    try {
      for (const file of ruleFiles(this.#folder, await listFolder(this.#folder))) stamps.set(file, await stampOf(file));
    } catch {
      // A folder that is not there has no files; reading it will say why.
    }
    for (const list of this.#lists) stamps.set(list, await stampOf(list));
    return join(stamps);
  }
}

/** Those with the wrong ending are a fault, until they are renamed. */
const ruleFiles = (folder: string, names: readonly string[]): string[] =>
  names.filter((name) => name.endsWith('.yaml') || name.endsWith('.yml')).map((name) => path.join(folder, name));

const join = (stamps: ReadonlyMap<string, string>): string =>
  [...stamps]
    .map(([file, stamp]) => `${file}\0${stamp}`)
    .sort()
    .join('\0\0');

/** What changes with the content: where two are alike, so is the file. */
async function stampOf(file: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    return `absent ${systemCode(error) ?? ''}`;
  }
}
