/**
 * The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): a proxy says in front of everything else whom it
 * speaks for. It is read from listed addresses only, and demanded of them: a proxy that forgot it would lend its own rights
 * to all of its clients. From everybody else it is a command that does not exist (A15).
 */
import { isIPv4, isIPv6 } from 'node:net';
import type { Socket } from 'node:net';
import { believe, UNKNOWN_ADDRESS } from './announced.ts';

/** Whom the proxy speaks for. */
export type Announced =
  | { readonly kind: 'client'; readonly address: string; readonly port: number }
  /** The proxy speaks for itself, to see whether we live (LOCAL). */
  | { readonly kind: 'proxy' }
  /** It does not know (UNKNOWN, a family without addresses). */
  | { readonly kind: 'unknown' };

export type HeaderVerdict =
  /** More octets are needed. */
  | { readonly kind: 'open' }
  | { readonly kind: 'invalid' }
  | { readonly kind: 'header'; readonly announced: Announced; readonly octets: number };

const SIGNATURE_1 = Buffer.from('PROXY ');
const SIGNATURE_2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n');
/** The longest header of version 1, with its CRLF (§2.1). */
const MAX_LINE = 107;
const LINE = /^PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?|(TCP[46]) (\S+) (\S+) (\d{1,5}) (\d{1,5}))$/;
const HIGHEST_PORT = 65_535;
/** Version 2: signature, version and command, family, length (§2.2). */
const FIXED = 16;
/** Of what follows. Addresses take 36 octets at most, what proxies add behind them some hundred. */
const MAX_REST = 4096;
const VERSION_2 = 2;
const commands = { local: 0, proxy: 1 } as const;
/** Address family and transport; a stream is the only one that SMTP runs over. */
const families = { tcp4: 0x11, tcp6: 0x21 } as const;
const LENGTHS: Readonly<Record<number, number>> = { [families.tcp4]: 12, [families.tcp6]: 36 };

const OPEN: HeaderVerdict = { kind: 'open' };
const INVALID: HeaderVerdict = { kind: 'invalid' };

/** Reads the header at the start of what came in so far. */
export function readProxyHeader(octets: Buffer): HeaderVerdict {
  if (beginsLike(octets, SIGNATURE_2)) return octets.length < FIXED ? OPEN : readVersion2(octets);
  if (beginsLike(octets, SIGNATURE_1)) return readVersion1(octets);
  return INVALID;
}

const beginsLike = (octets: Buffer, signature: Buffer): boolean => {
  const length = Math.min(octets.length, signature.length);
  return octets.subarray(0, length).equals(signature.subarray(0, length));
};

function readVersion1(octets: Buffer): HeaderVerdict {
  const end = octets.subarray(0, MAX_LINE).indexOf('\r\n');
  if (end < 0) return octets.length < MAX_LINE ? OPEN : INVALID;
  const match = LINE.exec(octets.toString('latin1', 0, end));
  if (match === null) return INVALID;
  const header = (announced: Announced): HeaderVerdict => ({ kind: 'header', announced, octets: end + 2 });
  const [, family, source = '', destination = '', port, toPort] = match;
  if (family === undefined) return header({ kind: 'unknown' });
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6;
  if (!isAddress(source) || !isAddress(destination) || source.includes('%')) return INVALID;
  if (Number(port) > HIGHEST_PORT || Number(toPort) > HIGHEST_PORT) return INVALID;
  return header({ kind: 'client', address: source.toLowerCase(), port: Number(port) });
}

function readVersion2(octets: Buffer): HeaderVerdict {
  const [versionAndCommand, family] = [octets.readUInt8(12), octets.readUInt8(13)];
  const rest = octets.readUInt16BE(14);
  const command = versionAndCommand & 0x0f;
  if (versionAndCommand >> 4 !== VERSION_2 || rest > MAX_REST) return INVALID;
  if (command !== commands.local && command !== commands.proxy) return INVALID;
  const wanted = LENGTHS[family];
  if (command === commands.proxy && wanted !== undefined && rest < wanted) return INVALID;
  if (octets.length < FIXED + rest) return OPEN;
  const header = (announced: Announced): HeaderVerdict => ({ kind: 'header', announced, octets: FIXED + rest });
  if (command === commands.local) return header({ kind: 'proxy' });
  const block = octets.subarray(FIXED, FIXED + rest);
  if (family === families.tcp4) return header({ kind: 'client', address: block.subarray(0, 4).join('.'), port: block.readUInt16BE(8) });
  if (family === families.tcp6) return header({ kind: 'client', address: showIPv6(block.subarray(0, 16)), port: block.readUInt16BE(32) });
  return header({ kind: 'unknown' });
}

const MAPPED = Buffer.from('00000000000000000000ffff', 'hex');

/** An IPv4 address in the form of an IPv6 one is the IPv4 address: that is what networks are written in. */
function showIPv6(octets: Buffer): string {
  if (octets.subarray(0, MAPPED.length).equals(MAPPED)) return octets.subarray(MAPPED.length).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => octets.readUInt16BE(index * 2).toString(16));
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

/** What the session is told of its client; nothing where that is the proxy itself. */
export function clientOf(announced: Announced, proxy: string): { readonly remoteAddress?: string; readonly remotePort?: number } {
  switch (announced.kind) {
    case 'proxy':
      return {};
    case 'unknown':
      return { remoteAddress: UNKNOWN_ADDRESS };
    case 'client':
      return { remoteAddress: believe(announced.address, proxy), remotePort: announced.port };
  }
}

/** §2.2 asks receivers to wait three seconds at least. */
const HEADER_MS = 5000;

/** What came of waiting for a header. */
export type Taken = Announced | { readonly kind: 'fault'; readonly fault: string };

/**
 * Takes the header off a socket that nobody has read from; what comes behind it, be it SMTP or TLS, stays in the socket. `then` is
 * called once; where there was no header in time the socket is to be destroyed.
 */
export function takeProxyHeader(socket: Socket, then: (taken: Taken) => void, ms = HEADER_MS): void {
  let octets = Buffer.alloc(0);
  const done = (taken: Taken): void => {
    clearTimeout(timer);
    socket.off('readable', read).off('end', left).off('close', left).off('error', left);
    // The stream forgets in the next tick that somebody asked for 'readable'; then a pipe or TLS may take it over.
    setImmediate(then, taken);
  };
  const left = (): void => done({ kind: 'fault', fault: 'the proxy left' });
  const read = (): void => {
    const chunk: unknown = socket.read();
    if (!Buffer.isBuffer(chunk)) return;
    octets = Buffer.concat([octets, chunk]);
    const verdict = readProxyHeader(octets);
    if (verdict.kind === 'open') return;
    if (verdict.kind === 'header' && octets.length > verdict.octets) socket.unshift(octets.subarray(verdict.octets));
    done(verdict.kind === 'header' ? verdict.announced : { kind: 'fault', fault: 'not a PROXY header' });
  };
  const timer = setTimeout(() => done({ kind: 'fault', fault: 'no header in time' }), ms);
  socket.on('readable', read).on('end', left).on('close', left).on('error', left);
}
