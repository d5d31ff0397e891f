/** The release in a command, where no relay runs: what relay.ts joins, for the few messages of one request. */
import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import type { Certificate } from '../certificates/certificate.ts';
import type { Config } from '../config.ts';
import type { ControlHandlers } from '../control.ts';
import { openHold } from '../site/hold-keys.ts';
import { assertSigners, openIdentities } from '../site/identities.ts';
import { type AlgorithmPolicy, makeRuleSet } from '../policy/decide.ts';
import { loadRules } from '../policy/rules.ts';
import type { QueueStore } from '../queue/queue.ts';
import { releaseHandlers } from '../release/control.ts';
import { makeRelease } from '../release/release.ts';
import { chooseForm } from '../seal/algorithms.ts';
import { loadCapabilities } from '../upkeep/capabilities.ts';
import { pathsOf } from './certificates/paths.ts';
import { withSite } from './certificates/site.ts';
import type { Terminal } from './terminal.ts';

export const releaseHere = (queue: QueueStore, config: Config, terminal: Terminal): ControlHandlers => ({
  'queue-release': (request) =>
    withSite(pathsOf(config, terminal.env), terminal, async ({ addressBook }) => {
      const around = { now: Date.now, log: pino({ level: 'silent' }) };
      const rules = makeRuleSet(await loadRules(config.policies));
      const capabilities = await loadCapabilities(queue, around.log);
      const hold = await openHold(config, terminal.env, around);
      const signers = await openIdentities(config, { env: terminal.env, ...around });
      try {
        // As at the start of the relay: a rule must not sign for somebody whom its identity does not name.
        assertSigners(rules.rules, signers.identities());
        const releasing = makeRelease({
          ...around,
          hostname: config.hostname,
          addressBook,
          pinned: config.certificates.pin,
          rules: () => rules,
          queue,
          chooseForm: (list: readonly Certificate[], said?: AlgorithmPolicy) =>
            chooseForm(
              list.map((one) => ({ capabilities: capabilities.of(one) })),
              config.profile,
              said,
            ),
          signers,
          // What an upstream takes is known when it is asked.
          largest: () => undefined,
          onQueued: () => {},
          randomBytes,
        });
        return await releaseHandlers({ ...around, queue, releasing, hold })['queue-release']?.(request);
      } finally {
        signers.close();
      }
    }),
});
