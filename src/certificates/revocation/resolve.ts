/**
 * Names of CAs' servers, asked of DNS itself. Not of getaddrinfo: that holds one of the four threads that all file work of the
 * process shares for as long as DNS is silent. So /etc/hosts does not count here.
 */
import { Resolver } from 'node:dns/promises';
import type { ResolveHost } from './fetch.ts';

const TIMEOUT_MS = 2000;
const TRIES = 2;

export function makeResolveHost(servers?: readonly string[]): ResolveHost {
  return async (host, signal) => {
    // One for each name, since cancel() ends all that one resolver asks.
    const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
    if (servers !== undefined) resolver.setServers(servers);
    const cancel = (): void => resolver.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
      const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
      const [first] = answers;
      if (addresses.length === 0 && first?.status === 'rejected') throw first.reason;
      return addresses;
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  };
}
