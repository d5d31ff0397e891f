/**
 * What the rules ask of a site and do not find there: identities to sign with, a certificate to hold mail under, the key of the spool. One
 * place for all who ask: `check` tells it, a start fails by it, and new rules that want what is not there are not taken.
 */
import type { Config } from '../config.ts';
import type { Environment } from '../config/environment.ts';
import type { Fault } from '../document/fault.ts';
import { holdFaults, mayHold } from './hold-keys.ts';
import { asFault, describeIdentity, signFaults, surveyIdentities } from './identities.ts';
import type { Rule } from '../policy/decide.ts';
import { spoolFaults } from './spool-faults.ts';

export interface SiteFaults {
  readonly faults: readonly Fault[];
  /** Those of them with which these rules cannot do what they say. A certificate that expired last night stops no start. */
  readonly ofRules: readonly Fault[];
  readonly notes: readonly string[];
}

export interface FaultsAt {
  readonly env: Environment;
  /** Ms since the epoch. */
  readonly now: number;
}

type SiteConfig = Pick<Config, 'file' | 'hold' | 'identities' | 'keys' | 'policies'>;

export async function siteFaults(config: SiteConfig, rules: readonly Rule[], at: FaultsAt): Promise<SiteFaults> {
  const { identities, faults: broken } = await surveyIdentities(config, at);
  // Of an identity that cannot be read its own fault is told, not also that rules do not find it.
  const unread = new Set((config.identities ?? []).map(({ name }) => name));
  for (const { name } of identities) unread.delete(name);
  const signing = signFaults(
    rules.filter(({ sign }) => sign === undefined || !unread.has(sign.identity)),
    identities,
  ).map((fault) => asFault(fault.place === '' ? { ...fault, place: config.policies } : fault));
  const hold = await holdFaults(rules, config, at);
  const spool = await spoolFaults(config.keys, rules);
  const unheld = rules.some(mayHold) ? hold.faults.filter(({ key }) => key === 'hold.certificate') : [];
  return {
    faults: [...broken, ...signing, ...hold.faults, ...spool.faults],
    ofRules: [...signing, ...unheld, ...spool.faults],
    notes: [...identities.map((one) => `identity ${describeIdentity(one, at.now)}`), ...hold.notes, ...spool.notes],
  };
}
