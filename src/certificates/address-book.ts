/**
 * Whose certificates stand for a recipient: its own; by `aliases` those of one other address; by `groups` those of several; and
 * where a rule says so those of its domain's gateway (RFC 3183). The book leads to addresses in one step, never to another entry; what is
 * found for each address is the directory's word alone.
 *
 * A group whose members partly have none is found: its message is sealed to the others, and `lacking` names who is left out. Where a
 * member's look-up is unavailable the group's is: nobody is left out because a source is down (P5).
 */
import { type Mailbox, mailboxKey, parseMailbox } from '../message/envelope.ts';
import type { Chosen } from './choose.ts';
import type { Directory, Lookup, LookupWish } from './directory.ts';

export interface BookEntries {
  readonly aliases?: readonly { readonly address: Mailbox; readonly target: Mailbox }[] | undefined;
  readonly groups?: readonly { readonly address: Mailbox; readonly members: readonly Mailbox[] }[] | undefined;
  readonly domains?: readonly { readonly domain: string; readonly address: Mailbox }[] | undefined;
}

/** Whether the certificate of a whole domain is used: not at all, where the person has none, or always. */
export type DomainCertificate = 'never' | 'fallback' | 'only';

export interface ResolveWish extends LookupWish {
  readonly domain?: DomainCertificate;
}

/** By which way certificates stand for the recipient. */
export type Way = 'address' | 'alias' | 'group' | 'domain';

/** One address that was asked for, and what its look-up said. */
export interface Part {
  readonly way: Way;
  readonly address: string;
  readonly lookup: Lookup;
}

/** The certificates of one address that the message is sealed to. */
export interface Share {
  readonly address: string;
  readonly chosen: readonly [Chosen, ...Chosen[]];
}

/**
 * `parts`: every address that was asked for, in order; of a `fallback` first the recipient's own. `way`: of the certificates that are
 * used, or of the last that were looked for. `lacking`: members of a group that have none.
 */
export type Resolution = { readonly way: Way; readonly parts: readonly Part[]; readonly lacking: readonly string[] } & (
  | { readonly kind: 'found'; readonly shares: readonly [Share, ...Share[]] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unavailable'; readonly source: string; readonly cause: unknown }
);

/** What relay and commands ask for a recipient. Never throws. */
export interface AddressBook {
  resolve(recipient: Mailbox, wish?: ResolveWish): Promise<Resolution>;
}

/** RecipientInfos of one group's message: each costs octets in it, and a public-key operation. */
export const MAX_SHARED = 50;

/** RFC 3183: who reads for a domain that has not said otherwise. */
const DOMAIN_AUTHORITY = 'domain-confidentiality-authority';

export function makeAddressBook(directory: Directory, { aliases = [], groups = [], domains = [] }: BookEntries = {}): AddressBook {
  const targets = new Map(aliases.map(({ address, target }) => [mailboxKey(address), target]));
  const members = new Map(groups.map((group) => [mailboxKey(group.address), group.members]));
  const gateways = new Map(domains.map(({ domain, address }) => [domain, address]));

  const ask = async (way: Way, mailboxes: readonly Mailbox[], wish: LookupWish): Promise<Part[]> =>
    Promise.all(mailboxes.map(async (mailbox) => ({ way, address: mailbox.address, lookup: await directory.lookup(mailbox, wish) })));
  const askOwn = (recipient: Mailbox, wish: LookupWish): Promise<Part[]> => {
    const key = mailboxKey(recipient);
    const [target, group] = [targets.get(key), members.get(key)];
    if (group !== undefined) return ask('group', group, wish);
    return target === undefined ? ask('address', [recipient], wish) : ask('alias', [target], wish);
  };
  return {
    resolve: async (recipient, { domain = 'never', ...wish } = {}) => {
      const own = domain === 'only' ? [] : await askOwn(recipient, wish);
      const verdict = conclude(own);
      if (domain === 'never' || (domain === 'fallback' && verdict.kind !== 'absent')) return verdict;
      const gateway = gateways.get(recipient.domain) ?? authorityOf(recipient.domain);
      // An address literal has none, and who has asked for the gateway itself has its answer.
      if (gateway === undefined || own.some(({ address }) => address === gateway.address)) return verdict;
      const parts = await ask('domain', [gateway], wish);
      return { ...conclude(parts), parts: [...own, ...parts] };
    },
  };
}

function authorityOf(domain: string): Mailbox | undefined {
  const verdict = parseMailbox(`${DOMAIN_AUTHORITY}@${domain}`);
  return verdict.kind === 'mailbox' && !domain.startsWith('[') ? verdict.mailbox : undefined;
}

/** What the look-ups of one step say together; pure. */
function conclude(parts: readonly Part[]): Resolution {
  const account = { way: parts[0]?.way ?? 'domain', parts };
  const lacking = parts.filter(({ lookup }) => lookup.kind === 'absent').map(({ address }) => address);
  for (const { lookup } of parts)
    if (lookup.kind === 'unavailable') return { ...account, lacking, kind: 'unavailable', source: lookup.source, cause: lookup.cause };
  const [first, ...others] = shareRoom(parts);
  if (first === undefined) return { ...account, lacking: [], kind: 'absent' };
  return { ...account, lacking, kind: 'found', shares: [first, ...others] };
}

/** The newest certificate of everybody; then the second ones in the order of the members, then the third ones, while there is room. */
function shareRoom(parts: readonly Part[]): Share[] {
  const found = parts.flatMap(({ address, lookup }) => (lookup.kind === 'found' ? [{ address, chosen: lookup.chosen }] : []));
  const taken = new Set(found.map(({ chosen: [newest] }) => newest));
  const rest = [1, 2].flatMap((rank) => found.flatMap(({ chosen }) => chosen[rank] ?? []));
  for (const one of rest) if (taken.size < MAX_SHARED) taken.add(one);
  return found.map(({ address, chosen: [newest, ...others] }) => ({
    address,
    chosen: [newest, ...others.filter((other) => taken.has(other))],
  }));
}

/** Every certificate of the shares once: a certificate may name two members. */
export function certificatesOf(shares: readonly Share[]): Chosen['certificate'][] {
  return [...new Map(shares.flatMap(({ chosen }) => chosen.map(({ certificate }) => [certificate.fingerprint, certificate]))).values()];
}

/** True where readers that take only one type of key in a message do not open this one. */
export function mixesKeyTypes(shares: readonly Share[]): boolean {
  return new Set(certificatesOf(shares).map(({ key }) => key?.type)).size > 1;
}
