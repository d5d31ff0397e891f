/**
 * The rules, live: a change to the folder or to a list counts within seconds, without a signal or a restart. The files are polled, as
 * certificates and users are.
 *
 * A change is taken once everything has rested for one look, since a file may be caught half-written. Rules with faults, or that cannot
 * be read, leave those from before in place and are logged with every fault: mail is never decided by half of a policy. What the files
 * are not to blame for (a disk, a certificate that lacks, an identity that is not there yet) is tried again and again, and told once.
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
/** Looks from one try to the next at most: opening what rules sign with costs time. */
const MOST_LOOKS = 10;

/** Rules that are right by themselves, and cannot be taken yet. */
interface Waiting {
  readonly tries: number;
  /** Until the next try. */
  looks: number;
  /** What the log was told. */
  readonly told: string;
}

/** `unmet`: the rules want what the site has not, or a list that cannot be read. */
type Loaded = Reading<LoadedRules> | { readonly kind: 'unmet'; readonly faults: readonly Fault[] };

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

interface FolderOptions extends Pick<RulesOptions, 'log' | 'verify'> {
  /** Reads a file; from the disk where it is not given. */
  readonly read?: typeof readText | undefined;
}

/** The folder as it was read last; exported for its tests. */
export class LiveFolder {
  readonly #folder: string;
  readonly #options: FolderOptions;
  #watching: Watching = { onNews: () => {} };
  #sha256 = '';
  #current: RuleSet = makeRuleSet([]);
  /** Lists that the last reading asked for, whether they were there or not. */
  #lists: ReadonlySet<string> = new Set();
  /** Of what was read last, and of the last look. */
  #read = '';
  #seen = '';
  #waiting: Waiting | undefined;

  constructor(folder: string, options: FolderOptions) {
    this.#folder = folder;
    this.#options = options;
  }

  get current(): RuleSet {
    return this.#current;
  }

  /** Throws where the rules are wrong. */
  async start(): Promise<void> {
    const read = await this.#load();
    if (read.kind !== 'valid') throw rulesInvalid(read.faults);
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
    if (!rested) this.#waiting = undefined;
    if (!rested || (stamp === this.#read && !this.#isTurn())) return;
    try {
      const read = await this.#load();
      if (read.kind === 'unmet') return this.#wait(rulesInvalid(read.faults), read.faults);
      if (read.kind === 'invalid') return this.#keep(rulesInvalid(read.faults), read.faults);
      const { rules, sha256 } = read.value;
      await this.#watching.prepare?.(rules);
      this.#take(read.value);
      this.#waiting = undefined;
      this.#options.log.info({ folder: this.#folder, rules: rules.length, sha256 }, 'rules read');
      this.#remark(rules);
      this.#watching.onNews({ kind: 'loaded', rules: rules.length, sha256 });
    } catch (error) {
      this.#wait(error);
    }
  }

  /** Whether what waits is to be tried at this look. */
  #isTurn(): boolean {
    return this.#waiting !== undefined && --this.#waiting.looks <= 0;
  }

  /** They are tried again, at the next look first, then ever more seldom. */
  #wait(error: unknown, faults: readonly Fault[] = []): void {
    const { tries, told } = this.#waiting ?? { tries: 0, told: undefined };
    const tell = String(error);
    this.#waiting = { tries: tries + 1, looks: Math.min(2 ** tries, MOST_LOOKS), told: tell };
    if (tell !== told) this.#keep(error, faults);
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
  async #load(): Promise<Loaded> {
    const stamps = new Map<string, string>();
    const lists = new Set<string>();
    let unread = false;
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
        try {
          return await (this.#options.read ?? readText)(file, undefined, most);
        } catch (error) {
          unread = true;
          throw error;
        }
      },
    };
    let read: Reading<LoadedRules>;
    try {
      read = await readRuleFolder(this.#folder, files);
    } catch (error) {
      // Lists that it did not come to are still those of the rules in force.
      this.#lists = new Set([...this.#lists, ...lists]);
      this.#read = this.#seen = await this.#stamp();
      throw error;
    }
    this.#lists = lists;
    this.#read = this.#seen = join(stamps);
    if (read.kind === 'invalid') return unread ? { kind: 'unmet', faults: read.faults } : read;
    const faults = (await this.#options.verify?.(read.value.rules)) ?? [];
    return faults.length > 0 ? { kind: 'unmet', faults } : read;
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
