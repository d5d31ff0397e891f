import type { BlockList } from 'node:net';
import { SealpostError } from '../../errors.ts';
import { isListed, parseNetworks } from '../../message/networks.ts';

/** What is looked at of a listener of the configuration. */
interface Listed {
  readonly host: string;
  readonly port: number;
  readonly tls: string;
  readonly auth: string;
  readonly clientCertificates: string;
}

export interface Site {
  readonly file: string;
  readonly listen: readonly Listed[];
  readonly clients: { readonly networks: readonly string[]; readonly proxy: readonly string[] };
}

export interface Place {
  readonly host: string;
  readonly port: number;
}

/**
 * The first listener that takes mail of a program on this machine as it is: over loopback, so that TLS would add nothing, and
 * without a login. Throws `config-invalid` saying why each does not.
 */
export function findListener({ file, listen, clients }: Site): Place {
  const networks = parseNetworks(clients.networks);
  const proxies = parseNetworks(clients.proxy);
  const reasons: string[] = [];
  for (const listed of listen) {
    const host = loopbackOf(listed.host);
    const reason = host === undefined ? 'not on loopback' : unusable(listed, host, networks, proxies);
    if (host !== undefined && reason === undefined) return { host, port: listed.port };
    reasons.push(`${listed.host} port ${listed.port} (${reason})`);
  }
  throw new SealpostError('config-invalid', {
    detail: `${file}: no listener takes mail of programs on this machine: ${reasons.join(', ')}`,
    hint: 'add { host: 127.0.0.1, port: 2525, tls: off } to listen, and 127.0.0.0/8 to clients.networks',
  });
}

const V4 = '127.0.0.1';
const V6 = '::1';

/** Where on loopback an address of `listen` is reached. */
function loopbackOf(host: string): string | undefined {
  if (host === '0.0.0.0' || host === 'localhost') return V4;
  if (host === '::' || host === V6) return V6;
  return host.startsWith('127.') ? host : undefined;
}

function unusable(
  { port, tls, auth, clientCertificates }: Listed,
  host: string,
  networks: BlockList,
  proxies: BlockList,
): string | undefined {
  if (port === 0) return 'any free port';
  if (tls === 'implicit') return 'TLS from the first octet';
  if (auth === 'required') return 'wants a login';
  if (clientCertificates === 'required') return 'wants a client certificate';
  // What connects to 127.x comes from the first address of loopback.
  const self = host === V6 ? V6 : V4;
  if (isListed(proxies, self)) return 'loopback is in clients.proxy';
  return isListed(networks, self) ? undefined : 'loopback is not in clients.networks';
}
