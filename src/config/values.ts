/** The kinds of values that configuration keys take, each with its own words for what is wrong. */
import { isIP, isIPv4 } from 'node:net';
import path from 'node:path';
import { z } from 'zod';
import { leaf } from '../document/schema.ts';
import type { Judgement } from '../document/schema.ts';
import { foldDomain, parseMailbox } from '../message/envelope.ts';
import { parsePattern } from '../message/pattern.ts';
import { nearest } from '../document/nearest.ts';
import { readRate } from '../document/rate.ts';
import { readSize } from '../document/size.ts';
import { readDuration } from './units.ts';

const value = <T>(value: T): Judgement<T> => ({ kind: 'value', value });
const wrong = (what: string, mend?: string): Judgement<never> => ({ kind: 'wrong', wrong: what, ...(mend === undefined ? {} : { mend }) });

/** Text without control characters; `read` sees what is left. */
export function text<T>(what: string, read: (written: string) => Judgement<T>): z.ZodType<T> {
  return leaf((written) => {
    if (written === null || written === '') return wrong('is empty');
    if (typeof written !== 'string') return wrong(`wants ${what}, not ${kindOf(written)}`);
    if (/\p{Cc}/u.test(written)) return wrong('holds a control character');
    return read(written);
  });
}

function kindOf(written: unknown): string {
  if (Array.isArray(written)) return 'a list';
  if (typeof written === 'object') return 'keys';
  return typeof written === 'boolean' ? `${written}` : `a ${typeof written}`;
}

export const size = leaf(readSize);
export const duration = leaf(readDuration);
export const rate = leaf(readRate);

/** A whole number from `least` to `most`; digits in text too, since the environment has nothing else. */
export function wholeNumber(least: number, most: number): z.ZodType<number> {
  return leaf((written) => {
    const digits = typeof written === 'string' && /^\d{1,15}$/.test(written) ? Number(written) : written;
    if (typeof digits !== 'number' || !Number.isInteger(digits)) return wrong('wants a whole number');
    return digits < least || digits > most ? wrong(`is not between ${least} and ${most}`) : value(digits);
  });
}

/** One of a few words; another is answered with the nearest. */
export function oneOf<const Word extends string>(...words: readonly [Word, ...Word[]]): z.ZodType<Word> {
  return leaf((written) => {
    const word = words.find((word) => word === written);
    if (word !== undefined) return value(word);
    const like = typeof written === 'string' ? nearest(written, words) : undefined;
    const only = words.length === 1 ? `${words[0]} is the only value for now` : `one of ${words.join(', ')}`;
    return wrong(
      typeof written === 'string' ? `does not know "${written.slice(0, 32)}"` : 'wants a word',
      like === undefined ? only : `${only}; did you mean ${like}?`,
    );
  });
}

/** Yes or no, as YAML and people write it. */
export const yesOrNo: z.ZodType<boolean> = leaf((written) => {
  if (written === true || written === 'true' || written === 'on' || written === 'yes') return value(true);
  if (written === false || written === 'false' || written === 'off' || written === 'no') return value(false);
  return wrong('wants true or false');
});

export const domain = text('a host name', (written) => {
  const folded = foldDomain(written);
  return folded === undefined || folded.startsWith('[') ? wrong('is not a host name') : value(folded);
});

export const mailbox = text('a mail address', (written) => {
  const verdict = parseMailbox(written);
  return verdict.kind === 'mailbox' ? value(verdict.mailbox.address) : wrong(`is not a mail address: ${verdict.fault}`);
});

/** `clinic.example`, or `*.clinic.example` for all below it. */
export const domainPattern = text('a domain', (written) => {
  const verdict = parsePattern(`*@${written}`);
  if (written.includes('@') || verdict.kind === 'fault')
    return wrong('is not a domain', 'clinic.example, or *.clinic.example for all below it');
  // Whoever forges a sender would have notices sent to anybody.
  if (written.includes('*') && !/\.[^.*]+\.[^.*]+$/.test(written))
    return wrong("names other people's domains too", 'your own domains: clinic.example');
  return value(written);
});

/** Made absolute from the folder of the file, so that it means the same wherever sealpost is started. */
export const pathFrom = (folder: string): z.ZodType<string> => text('a path', (written) => value(path.resolve(folder, written)));

/** Where a secret stands: never in the configuration itself. secret.ts reads it. */
export type Secret = { readonly from: 'file'; readonly path: string } | { readonly from: 'env'; readonly name: string };

/** One value, or a list of different ones: a list either way. */
export const oneOrMore = <T>(entry: z.ZodType<T>): z.ZodType<readonly T[]> =>
  leaf((written): Judgement<readonly T[]> => {
    const list: readonly unknown[] = Array.isArray(written) ? written : [written];
    const read = list.map((one) => entry.safeParse(one));
    const fault = read.flatMap(({ error }) => error?.issues ?? [])[0];
    if (fault !== undefined) return wrong(fault.message);
    const values = read.flatMap(({ success, data }) => (success ? [data] : []));
    if (values.length === 0) return wrong('is an empty list');
    return new Set(values).size < values.length ? wrong('names one of them twice') : value(values);
  });

/** `file:PATH`, relative to the configuration file, or `env:NAME`. */
export const secretFrom = (folder: string): z.ZodType<Secret> =>
  text('file:PATH or env:NAME', (written): Judgement<Secret> => {
    const [, from, rest = ''] = /^(file|env):(.+)$/.exec(written) ?? [];
    if (from === 'file') return value({ from, path: path.resolve(folder, rest) });
    if (from === 'env' && /^[A-Za-z_]\w*$/.test(rest)) return value({ from, name: rest });
    return wrong('is not a place of a secret', 'file:PATH or env:NAME: secrets do not stand in this file');
  });

/** What a listener binds: names are not asked of DNS, since a start must not hang on it. */
export const bindAddress = text('an address', (written) =>
  written === 'localhost' || isIP(written) !== 0
    ? value(written)
    : wrong('is not an IP address', 'an address of this machine, 127.0.0.1 for itself alone, 0.0.0.0 for all'),
);

/** True for 127.0.0.0/8, ::1 and localhost (RFC 6761 §6.3): what leaves for them never leaves the machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

const DNS_PORT = 53;

/** `127.0.0.1`, `127.0.0.1:5353`, `[::1]:5353`. What another machine says of DNSSEC could be forged on the way (A27). */
export const loopbackResolver = text('an address', (written): Judgement<{ readonly address: string; readonly port: number }> => {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(written) ?? [];
  const address = bracketed ?? plain ?? written;
  const port = digits === undefined ? DNS_PORT : Number(digits);
  if (isIP(address) === 0 || port < 1 || port > 65_535)
    return wrong('is not an IP address', 'for example 127.0.0.1, 127.0.0.1:5353 or "[::1]:53"');
  if (!isLoopback(address))
    return wrong(
      'is not on this machine: its answers could be forged on the way',
      'a validating resolver on this machine, such as unbound: 127.0.0.1',
    );
  return value({ address, port });
});

/** A name or an IP address; what a certificate is held to, so it is kept as it is written but for its case. */
export const host = text('a host', (written) => {
  if (isIP(written) !== 0) return value(written);
  const folded = foldDomain(written);
  return folded === undefined || folded.startsWith('[') || /^[\d.]+$/.test(folded)
    ? wrong('is neither a host name nor an IP address', 'for example smtp.clinic.example, 192.0.2.7 or ::1')
    : value(folded);
});

/** What is wrong with a network that holds every address, and what is meant. */
type WholeInternet = readonly [wrong: string, mend: string];

/** `127.0.0.0/8`, `::1`: written back with its prefix length. */
const networkUnless = ([fault, mend]: WholeInternet): z.ZodType<string> =>
  text('a network', (written) => {
    const [address = '', length, ...more] = written.split('/');
    const version = isIP(address);
    if (version === 0 || more.length > 0 || address.includes('%'))
      return wrong('is not a network', 'an address, or an address and a prefix length: 192.168.1.0/24');
    const bits = version === 4 ? 32 : 128;
    if (length === undefined) return value(`${address}/${bits}`);
    if (!/^\d{1,3}$/.test(length) || Number(length) > bits)
      return wrong(`has a prefix length that is not between 1 and ${bits}`, `for example ${address}/${bits}`);
    if (Number(length) === 0) return wrong(`is the whole internet: ${fault}`, mend);
    return value(`${address}/${Number(length)}`);
  });

/** Whoever may submit may send to anywhere: every address would make an open relay (A15). */
export const network = networkUnless(['an open relay', 'the networks your scripts run in']);
/** Whoever makes a certificate names what is fetched: this machine and the metadata of a cloud among it (A24). */
export const fetchNetwork = networkUnless([
  'a certificate could name what only this machine reaches',
  'the networks your own CA is in; public addresses need none',
]);

/** A list with at least one entry. */
export const listOf = <S extends z.ZodType>(entry: S): z.ZodArray<S> => z.array(entry).min(1);

/** A name to log in with. */
export const userName = text('a name', (written) => value(written));
