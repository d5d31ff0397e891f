/** `sealpost seal` without --cert: by the configuration, the rules and the sources of the site. */
import type { Logger } from 'pino';
import { openSiteCertificates } from '../../certificates/site.ts';
import { loadConfig } from '../../config.ts';
import { SealpostError } from '../../errors.ts';
import { makeRuleSet, type Rule } from '../../policy/decide.ts';
import { loadRules } from '../../policy/rules.ts';
import { assertSigners, openIdentities } from '../../site/identities.ts';
import { pathsOf } from '../certificates/paths.ts';
import type { Terminal } from '../terminal.ts';
import { formFor, type Options, type Site } from './options.ts';

export async function openSite(options: Options, file: string | undefined, { env, cwd }: Terminal, log: Logger): Promise<Site> {
  if (options.subject !== undefined) {
    throw new SealpostError('usage', { detail: '--subject goes with --cert', hint: 'the rules of the site say which subject is shown' });
  }
  const config = await loadConfig({ file, env, cwd });
  const rules = makeRuleSet((await loadRules(config.policies)).map(holdingNothing));
  const certificates = openSiteCertificates(config.certificates, { ...pathsOf(config, env).options, now: Date.now, log });
  const form = formFor(options, config.profile);
  const signing = rules.rules.some(({ sign }) => sign !== undefined);
  // Keys are nothing for whoever only wants to see what is sealed.
  const signers = signing ? await openIdentities(config, { env, now: Date.now, log }) : undefined;
  assertSigners(rules.rules, signers?.identities() ?? []);
  return {
    parts: { hostname: config.hostname, rules: () => rules, addressBook: certificates.addressBook, chooseForm: form, signers },
    close: async () => {
      signers?.close();
      await certificates.close();
    },
  };
}

/** There is nowhere to hold a message here: what cannot be sealed is told. */
const holdingNothing = (rule: Rule): Rule => (rule.then === 'seal' ? { ...rule, missing: 'refuse', unavailable: 'retry' } : rule);
