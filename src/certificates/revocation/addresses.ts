/**
 * Which addresses may be connected to for a URL that stands in somebody's certificate (A24): those of the public internet, and
 * those of the networks that the operator names. Else a certificate could make the relay talk to what only the relay can reach.
 */
import { BlockList, isIP, isIPv4 } from 'node:net';

/** The special-purpose registries of RFC 6890: nothing there is a CA on the internet. */
const specialV4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8], // this network
  ['10.0.0.0', 8],
  ['100.64.0.0', 10], // behind a carrier's NAT, RFC 6598
  ['127.0.0.0', 8],
  ['169.254.0.0', 16], // link-local; the metadata of cloud machines
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24], // documentation, RFC 5737
  ['192.88.99.0', 24], // relays of 6to4, RFC 7526
  ['192.168.0.0', 16],
  ['198.18.0.0', 15], // benchmarks, RFC 2544
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4], // multicast
  ['240.0.0.0', 4], // reserved, and the broadcast address
];

/** Within 2000::/3; everything outside of that is no global unicast (RFC 4291 §2.4), IPv4-mapped and NAT64 addresses among it. */
const specialV6: readonly (readonly [string, number])[] = [
  ['2001::', 23], // protocols, Teredo among them, which holds an IPv4 address
  ['2001:db8::', 32], // documentation
  ['2002::', 16], // 6to4, which holds an IPv4 address
  ['3fff::', 20], // documentation, RFC 9637
];
const GLOBAL_UNICAST = ['2000::', 3] as const;

const special = listed([...specialV4, ...specialV6]);
const globalUnicast = listed([GLOBAL_UNICAST]);

function listed(networks: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [address, bits] of networks) list.addSubnet(address, bits, isIPv4(address) ? 'ipv4' : 'ipv6');
  return list;
}

export interface FetchNetworks {
  /** Apart, since a BlockList takes an IPv4 address for one of IPv6 too: ::/1 would list this machine. */
  readonly ipv4: BlockList;
  readonly ipv6: BlockList;
}

/** `networks` as the configuration writes them: `10.0.0.0/8`. */
export function parseFetchNetworks(networks: readonly string[]): FetchNetworks {
  const parsed = networks.map((network) => {
    const [address = '', bits = ''] = network.split('/');
    return [address, bits === '' ? (isIPv4(address) ? 32 : 128) : Number(bits)] as const;
  });
  return {
    ipv4: listed(parsed.filter(([address]) => isIPv4(address))),
    ipv6: listed(parsed.filter(([address]) => !isIPv4(address))),
  };
}

export type AddressVerdict = 'public' | 'listed' | 'refused';

/** `address` is an IP address as the system writes it; what is none is refused. */
export function judgeAddress(address: string, networks: FetchNetworks): AddressVerdict {
  const version = isIP(address);
  // A zone belongs to link-local addresses.
  if (version === 0 || address.includes('%')) return 'refused';
  const family = version === 4 ? 'ipv4' : 'ipv6';
  if (networks[family].check(address, family)) return 'listed';
  if (special.check(address, family)) return 'refused';
  return version === 4 || globalUnicast.check(address, 'ipv6') ? 'public' : 'refused';
}
