/** Networks of clients: read, and asked whether an address lies in them. */
import { BlockList, isIP, isIPv6 } from 'node:net';
import { SealpostError } from '../errors.ts';

/** Reads the list of the key `name`: addresses, or CIDR networks such as `127.0.0.0/8`. Throws `config-invalid` naming the bad one. */
export function parseNetworks(networks: readonly string[], name = 'clients.networks'): BlockList {
  const list = new BlockList();
  for (const written of networks) {
    const network = readNetwork(written);
    if (network === undefined)
      throw new SealpostError('config-invalid', { detail: `${name}: ${JSON.stringify(written)} is not an address or a network` });
    list.addSubnet(network.address, network.length, network.family);
  }
  return list;
}

export interface Network {
  readonly address: string;
  /** Bits of the prefix; all of them where it is one address. */
  readonly length: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** An address, or a network in CIDR; undefined where it is neither. */
export function readNetwork(written: string): Network | undefined {
  const [address = '', prefix, ...more] = written.split('/');
  const family = isIP(address);
  const bits = family === 4 ? 32 : 128;
  const length = prefix === undefined ? bits : Number(prefix);
  if (family === 0 || more.length > 0 || !/^\d{1,3}$/.test(prefix ?? '0') || length > bits) return undefined;
  return { address, length, family: family === 4 ? 'ipv4' : 'ipv6' };
}

/** Whether `address` (as a socket reports it, a zone or the IPv4-mapped form included) lies in the networks. */
export function isListed(networks: BlockList, address: string): boolean {
  const [bare = ''] = address.replace(/^::ffff:(?=\d+\.)/i, '').split('%');
  const family = isIP(bare);
  return family !== 0 && networks.check(bare, family === 4 ? 'ipv4' : 'ipv6');
}

/** Under what a client is counted: whoever has one IPv6 address has its /64, and its first four groups stand for it. */
export function clientKey(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined || !isIPv6(address)) return mapped ?? address;
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? [];
  const groups = head === '' ? [] : head.split(':');
  const behind = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array.from({ length: Math.max(0, 8 - groups.length - behind.length) }, () => '0');
  const first = [...groups, ...zeros, ...behind].slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${first.join(':')}::/64`;
}
