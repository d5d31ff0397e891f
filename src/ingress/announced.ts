/** Addresses that somebody else says the client has: by the PROXY protocol, or by XCLIENT. */
import { BlockList } from 'node:net';
import { isListed } from '../message/networks.ts';

/** The client that nobody can name (RFC 4291 §2.5.2, the absence of an address): it lies in no network. */
export const UNKNOWN_ADDRESS = '::';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether what comes from `address` never left this machine. */
export const isLoopbackAddress = (address: string): boolean => isListed(loopback, address);

/**
 * The address that counts for rights and in the log. Another machine cannot speak for a client on this one, and its own loopback is
 * none of ours: loopback may do what others may not.
 */
export function believe(announced: string, peer: string): string {
  return isLoopbackAddress(announced) && !isLoopbackAddress(peer) ? UNKNOWN_ADDRESS : announced;
}
