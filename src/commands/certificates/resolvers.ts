/** For `check`: whether the resolvers that the configuration names answer, and validate with DNSSEC. */
import { randomBytes } from 'node:crypto';
import { makeResolver } from '../../certificates/smimea/resolver.ts';
import { assertValidates } from '../../certificates/smimea/source.ts';
import type { Config } from '../../config.ts';
import type { Fault } from '../../document/fault.ts';
import { asSealpostError } from '../../errors.ts';

/** Mail to whom no earlier source knows would be deferred, and a log line alone would say so. */
export async function resolverFaults({ certificates, timeouts, file }: Config): Promise<Fault[]> {
  const checked = certificates.sources.map(async ({ smimea }, index): Promise<readonly Fault[]> => {
    if (smimea === undefined) return [];
    try {
      await assertValidates(makeResolver({ ...smimea.resolver, randomBytes }), AbortSignal.timeout(timeouts.lookup));
      return [];
    } catch (error) {
      const { detail, message, hint } = asSealpostError(error);
      return [{ place: file, key: `certificates.sources[${index}].smimea.resolver`, wrong: detail ?? message, mend: hint }];
    }
  });
  return (await Promise.all(checked)).flat();
}
