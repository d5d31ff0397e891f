/** What a site's configuration adds to an account: algorithms, where held mail goes, who may take mail that is passed. */
import type { Certificate } from '../../certificates/certificate.ts';
import { readDatabase } from '../../change-control.ts';
import type { Config } from '../../config.ts';
import type { Environment } from '../../config/environment.ts';
import { isLoopback } from '../../config/values.ts';
import { type Fault, showFaults } from '../../document/fault.ts';
import type { Dress, Rule } from '../../policy/decide.ts';
import { readRecords } from '../../queue/record-rows.ts';
import { chooseForm, type Form } from '../../seal/algorithms.ts';
import { siteFaults } from '../../site/faults.ts';
import { KIND } from '../../upkeep/capabilities.ts';
import type { SiteWords } from './show.ts';

/** With what readers said that they can open, where this user may look into the data folder. */
export function siteForms({ queue, profile }: Config): (certificates: readonly Certificate[], dress: Dress) => Form {
  let known: ReadonlyMap<string, string> | undefined;
  const read = (): ReadonlyMap<string, string> => {
    try {
      return new Map((readDatabase(queue.sqlite, (db) => readRecords(db, KIND)) ?? []).map(({ key, value }) => [key, value]));
    } catch {
      return new Map();
    }
  };
  return (certificates, { algorithms }) => {
    known ??= read();
    const readers = certificates.map(({ fingerprint, capabilities }) => ({
      capabilities: known?.get(fingerprint)?.split(' ') ?? capabilities,
    }));
    return chooseForm(readers, profile, algorithms);
  };
}

/** What keeps the relay from taking these rules, though each is well written: identities that are not there, or not for that From. */
export async function signingFaults(
  config: Parameters<typeof siteFaults>[0],
  rules: readonly Rule[],
  env: Environment,
): Promise<readonly Fault[]> {
  if (rules.every(({ sign }) => sign === undefined)) return [];
  const { ofRules } = await siteFaults(config, rules, { env, now: Date.now() });
  return ofRules.filter(({ key }) => key === 'sign');
}

/** For stderr; '' where there is nothing to say. */
export const sayNotTaken = (faults: readonly Fault[]): string =>
  faults.length === 0 ? '' : `sealpost: the relay does not take these rules as they are:\n${showFaults(faults)}\n`;

export function siteWords({ upstream }: Config): SiteWords {
  const fit = upstream.filter(({ host, tls, verify }) => isLoopback(host) || (tls !== 'off' && verify));
  const names = fit.map(({ host, port }) => `${host}:${port}`);
  return {
    held: ['sealed to the hold certificate, and kept: sealpost queue list --held'],
    passed: [
      names.length === 0 ? 'no upstream may take it: none is on this machine or under verified TLS' : `by ${names.join(', ')} alone`,
    ],
  };
}
