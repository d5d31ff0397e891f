/** What a campaign comes to, and how it is shown. */
import type { Account } from '../sets.ts';

/** One line that may be written over. */
export type Progress = (line: string) => void;

export interface Figures {
  readonly part: string;
  /** What was done to it, in the plural, and how often. */
  readonly what: string;
  readonly times: number;
  readonly seconds: number;
  readonly accounts: readonly (Account & { readonly looked?: number; readonly inClear?: number })[];
  /** Further lines for the report. */
  readonly notes: readonly string[];
  /** A plot for docs/. */
  readonly plot?: { readonly name: string; readonly svg: string };
}

export interface Summary {
  readonly part: string;
  readonly what: string;
  readonly times: number;
  readonly seconds: number;
  readonly messages: number;
  readonly recipients: number;
  readonly delivered: number;
  readonly bounced: number;
  readonly removed: number;
  readonly held: number;
  readonly waiting: number;
  readonly damaged: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly ambiguous: number;
  readonly opened: number;
  readonly inClear: number;
  readonly faults: readonly string[];
}

export function summarize({ part, what, times, seconds, accounts }: Figures): Summary {
  const sum = (of: (one: Figures['accounts'][number]) => number): number => accounts.reduce((total, one) => total + of(one), 0);
  return {
    part,
    what,
    times,
    seconds: Math.round(seconds),
    messages: sum((one) => one.messages),
    recipients: sum((one) => one.recipients),
    delivered: sum(({ fates }) => fates.delivered),
    bounced: sum(({ fates }) => fates.bounced),
    removed: sum(({ fates }) => fates.removed),
    held: sum(({ fates }) => fates.held),
    waiting: sum(({ fates }) => fates.waiting),
    damaged: sum(({ fates }) => fates.damaged),
    lost: sum((one) => one.lost),
    duplicated: sum((one) => one.duplicated),
    ambiguous: sum((one) => one.ambiguous),
    opened: sum((one) => one.looked ?? 0),
    inClear: sum((one) => one.inClear ?? 0),
    faults: accounts.flatMap((one) => one.faults),
  };
}

export const lineOf = (one: Summary): string =>
  `${one.part}: ${one.times} ${one.what} in ${one.seconds} s; ${one.messages} messages taken for ${one.recipients} recipients: ` +
  `${one.delivered} delivered, ${one.bounced} bounced, ${one.removed} removed, ${one.held} held, ${one.damaged} damaged, ` +
  `${one.waiting} waiting; lost ${one.lost}, duplicated ${one.duplicated} (${one.ambiguous} told as ambiguous), in clear ${one.inClear}; ` +
  `${one.opened} opened; ${one.faults.length} faults`;
