/** The patterns of conditions as operators write them: over addresses, networks, users, texts and header fields. */
import { BlockList, SocketAddress } from 'node:net';
import type { Judgement, Wrong } from '../document/schema.ts';
import { isDropped } from '../message/entity.ts';
import { mailboxKey } from '../message/envelope.ts';
import { isListed, type Network, readNetwork } from '../message/networks.ts';
import { type AddressPattern, anyOf, compileGlob, parsePattern } from '../message/pattern.ts';
import { NO_REACH } from '../message/reach.ts';
import type { Condition, TextPattern } from './condition.ts';
import { type Entries, type Lists, readEach, readEntries } from './entries.ts';
import { anyText, isExpression, parseExpression } from './text-pattern.ts';

const wrong = (what: string, mend: string): Wrong => ({ kind: 'wrong', wrong: what, mend });
const quote = (text: string): string => `"${text.slice(0, 64)}"`;

export function readAddresses(written: unknown, lists: Lists): Judgement<AddressPattern> {
  const read = readEntries(written, lists, '"*@clinic.example"');
  if (read.kind === 'wrong') return read;
  const patterns = readEach(read.value, readAddress);
  return patterns.kind === 'wrong' ? patterns : { kind: 'value', value: anyOf(patterns.value, read.value.said) };
}

function readAddress(text: string): Judgement<AddressPattern> {
  if (!isExpression(text)) {
    const verdict = parsePattern(text);
    return verdict.kind === 'pattern' ? { kind: 'value', value: verdict.pattern } : wrong(`${quote(text)} ${verdict.fault}`, verdict.mend);
  }
  const verdict = parseExpression(text);
  if (verdict.kind === 'fault') return wrong(`${quote(text)} ${verdict.fault}`, verdict.mend);
  const { pattern } = verdict;
  const other = { source: text, matches: (mailbox: Parameters<typeof mailboxKey>[0]) => pattern.matches(mailboxKey(mailbox)) };
  const matches: AddressPattern['matches'] = (mailbox) => mailbox !== null && other.matches(mailbox);
  return { kind: 'value', value: { source: text, reach: { ...NO_REACH, others: [other] }, matches } };
}

export function readTexts(written: unknown, lists: Lists): Judgement<TextPattern> {
  const read = readEntries(written, lists, '"*intake*" or /intake/i');
  if (read.kind === 'wrong') return read;
  // One by one first, for the place of what is wrong.
  const judged = readEach(read.value, (text): Judgement<true> => {
    const verdict = anyText([text]);
    return verdict.kind === 'pattern' ? { kind: 'value', value: true } : wrong(verdict.fault, verdict.mend);
  });
  if (judged.kind === 'wrong') return judged;
  const verdict = anyText(
    read.value.entries.map(({ text }) => text),
    read.value.said,
  );
  return verdict.kind === 'pattern' ? { kind: 'value', value: verdict.pattern } : wrong(verdict.fault, verdict.mend);
}

type Client = Condition & { readonly kind: 'client' };

export function readClients(written: unknown, lists: Lists): Judgement<Client> {
  const read = readEntries(written, lists, '192.0.2.0/24');
  if (read.kind === 'wrong') return read;
  const networks = readEach(read.value, (text): Judgement<Network> => {
    const network = readNetwork(text);
    return network === undefined
      ? wrong(`${quote(text)} is not an address or a network`, '192.0.2.7, 192.0.2.0/24 or "2001:db8::/32"')
      : { kind: 'value', value: network };
  });
  if (networks.kind === 'wrong') return networks;
  const single = new Set<string>();
  const list = new BlockList();
  for (const { address, length, family } of networks.value) {
    // A list of blocks is walked from end to end, and single addresses may be many.
    if (length === (family === 'ipv4' ? 32 : 128)) single.add(canonical(address, family));
    else list.addSubnet(address, length, family);
  }
  const matches = (address: string): boolean => (single.size > 0 && single.has(canonicalClient(address))) || isListed(list, address);
  return { kind: 'value', value: { kind: 'client', ...saidOf(read.value), matches } };
}

const canonical = (address: string, family: 'ipv4' | 'ipv6'): string => new SocketAddress({ address, family }).address;

function canonicalClient(address: string): string {
  const [bare = ''] = address.replace(/^::ffff:(?=\d+\.)/i, '').split('%');
  const network = readNetwork(bare);
  return network === undefined ? address : canonical(network.address, network.family);
}

/** How a rule says that nobody logged in. */
const NOBODY = '<none>';

type User = Condition & { readonly kind: 'user' };

/** Names of users are told apart by case, as their log-in is. */
export function readUsers(written: unknown, lists: Lists): Judgement<User> {
  const read = readEntries(written, lists, 'forms');
  if (read.kind === 'wrong') return read;
  const names = new Set<string>();
  const others: ((name: string) => boolean)[] = [];
  let nobody = false;
  for (const { text, at } of read.value.entries) {
    if (text === NOBODY) nobody = true;
    else if (isExpression(text)) {
      const verdict = parseExpression(text);
      if (verdict.kind === 'fault') return { ...wrong(`${quote(text)} ${verdict.fault}`, verdict.mend), ...at };
      others.push((name) => verdict.pattern.matches(name));
    } else if (!/^[A-Za-z0-9._@+*-]{1,128}$/.test(text)) {
      return { ...wrong(`${quote(text)} is not the name of a user`, 'as in the file of users, with * in it, or <none>'), ...at };
    } else if (text.includes('*')) others.push(compileGlob(text));
    else names.add(text);
  }
  const matches = (name: string | null): boolean => (name === null ? nobody : names.has(name) || others.some((one) => one(name)));
  return { kind: 'value', value: { kind: 'user', ...saidOf(read.value), matches } };
}

const saidOf = ({ entries, said }: Entries): { readonly source: string; readonly nothing: boolean } => ({
  source: said ?? entries.map(({ text }) => text).join(', '),
  nothing: entries.length === 0,
});

/** RFC 5322 §2.2. */
const FIELD_NAME = /^[\x21-\x39\x3b-\x7e]{1,76}$/;

type Header = Condition & { readonly kind: 'header' };

/** `{ List-Id: "*news*", Precedence: bulk }`: all of them must match. */
export function readHeader(written: unknown, lists: Lists): Judgement<Header[]> {
  const mend = '{ List-Id: "*news.clinic.example*" }';
  if (typeof written !== 'object' || written === null || Array.isArray(written)) return wrong('wants names of fields with patterns', mend);
  const conditions: Header[] = [];
  for (const [name, value] of Object.entries(written)) {
    const key = name.toLowerCase();
    if (!FIELD_NAME.test(name)) return { ...wrong(`${quote(name)} is not the name of a field`, mend), at: [name] };
    if (key.startsWith('x-sealpost-'))
      return { ...wrong('fields of this name are taken out, so that no sender steers the relay by them', 'take it out'), at: [name] };
    if (isDropped(key))
      return {
        ...wrong('this field is taken out of every message, and would not be there when held mail is released', 'take it out'),
        at: [name],
      };
    const pattern = readTexts(value, lists);
    if (pattern.kind === 'wrong') return { ...pattern, at: [name, ...(pattern.at ?? [])] };
    conditions.push({ kind: 'header', name: key, pattern: pattern.value });
  }
  return conditions.length === 0 ? wrong('names no field', mend) : { kind: 'value', value: conditions };
}
