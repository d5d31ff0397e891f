import { BlockList, isIP } from 'node:net';
import { SealpostError } from '../errors.ts';

/** Reads `clients.networks`: addresses, or CIDR networks such as `127.0.0.0/8`. Throws `config-invalid` naming the bad one. */
export function parseNetworks(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix, ...more] = network.split('/');
    const family = isIP(address);
    const bits = family === 4 ? 32 : 128;
    const length = prefix === undefined ? bits : Number(prefix);
    if (family === 0 || more.length > 0 || !/^\d{1,3}$/.test(prefix ?? '0') || length > bits) {
      throw new SealpostError('config-invalid', { detail: `clients.networks: ${JSON.stringify(network)} is not an address or a network` });
    }
    list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6');
  }
  return list;
}

/** Whether `address` (as a socket reports it, a zone or the IPv4-mapped form included) lies in the networks. */
export function isListed(networks: BlockList, address: string): boolean {
  const [bare = ''] = address.replace(/^::ffff:(?=\d+\.)/i, '').split('%');
  const family = isIP(bare);
  return family !== 0 && networks.check(bare, family === 4 ? 'ipv4' : 'ipv6');
}
