/** `certificates.aliases`, `groups` and `domains`: addresses whose mail is sealed to the certificates of others. */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { foldDomain, type Mailbox, mailboxKey, parseMailbox } from '../message/envelope.ts';

/** Each member costs a RecipientInfo at least, in every message; the relay seals to as many at most. */
const MAX_MEMBERS = 50;

export type Read<T> =
  | { readonly kind: 'value'; readonly value: T }
  | { readonly kind: 'wrong'; readonly wrong: string; readonly mend?: string };

/** A map whose keys are the operator's own, as a list of entries; each fault has the place of its entry. */
export function mapOf<Entry>(what: string, read: (name: string, written: unknown) => Read<Entry>): z.ZodType<readonly Entry[]> {
  return z.unknown().transform((written, context): readonly Entry[] => {
    const tell = (wrong: string, mend: string | undefined, path: string[] = []): void => {
      context.issues.push({ code: 'custom', message: wrong, input: written, path, params: { mend } });
    };
    if (typeof written !== 'object' || written === null || Array.isArray(written)) {
      tell('wants keys below it', what);
      return z.NEVER;
    }
    return Object.entries(written).flatMap(([name, below]) => {
      const judged = read(name, below);
      if (judged.kind === 'value') return [judged.value];
      tell(judged.wrong, judged.mend ?? what, [name]);
      return [];
    });
  });
}

const wrong = (what: string): { readonly kind: 'wrong'; readonly wrong: string } => ({ kind: 'wrong', wrong: what });

function address(written: unknown): Read<Mailbox> {
  if (typeof written !== 'string') return wrong('wants a mail address');
  const verdict = parseMailbox(written);
  return verdict.kind === 'mailbox' ? { kind: 'value', value: verdict.mailbox } : wrong(`is not a mail address: ${verdict.fault}`);
}

const ALIAS = 'sales@clinic.example: anna@clinic.example';
const GROUP = 'info@clinic.example: [anna@clinic.example, ben@clinic.example]';
const DOMAIN = 'partner.example: gateway@partner.example';

const aliases = mapOf(ALIAS, (name, written): Read<{ readonly address: Mailbox; readonly target: Mailbox }> => {
  const [own, target] = [address(name), address(written)];
  if (own.kind === 'wrong') return own;
  if (target.kind === 'wrong') return wrong(`the certificate's address ${target.wrong}`);
  return { kind: 'value', value: { address: own.value, target: target.value } };
});

const groups = mapOf(GROUP, (name, written): Read<{ readonly address: Mailbox; readonly members: readonly Mailbox[] }> => {
  const own = address(name);
  if (own.kind === 'wrong') return own;
  if (!Array.isArray(written) || written.length === 0) return wrong('wants a list of its members');
  if (written.length > MAX_MEMBERS) return wrong(`has more than ${MAX_MEMBERS} members`);
  const members: Mailbox[] = [];
  for (const [index, entry] of written.entries()) {
    const member = address(entry);
    if (member.kind === 'wrong') return wrong(`member ${index + 1} ${member.wrong}`);
    members.push(member.value);
  }
  return { kind: 'value', value: { address: own.value, members } };
});

const domains = mapOf(DOMAIN, (name, written): Read<{ readonly domain: string; readonly address: Mailbox }> => {
  const domain = foldDomain(name);
  if (domain === undefined) return wrong('is not a domain');
  const own = address(written);
  return own.kind === 'wrong' ? own : { kind: 'value', value: { domain, address: own.value } };
});

export const addressBook = () => ({
  aliases: key(aliases.optional(), {
    meaning: 'Addresses whose mail is sealed to the certificate of another one.',
    unit: 'addresses',
    example: `{ ${ALIAS} }`,
  }),
  groups: key(groups.optional(), {
    meaning: `Addresses whose mail is sealed to the certificates of several people, at most ${MAX_MEMBERS}.`,
    unit: 'addresses',
    example: `{ ${GROUP} }`,
  }),
  domains: key(domains.optional(), {
    meaning:
      'Whose certificate stands for a whole domain, where a rule says `domain_certificate`; for a domain that is not listed, `domain-confidentiality-authority@` the domain (RFC 3183).',
    unit: 'addresses',
    example: `{ ${DOMAIN} }`,
  }),
});

interface Book {
  readonly aliases?: readonly { readonly address: Mailbox; readonly target: Mailbox }[] | undefined;
  readonly groups?: readonly { readonly address: Mailbox; readonly members: readonly Mailbox[] }[] | undefined;
  readonly domains?: readonly { readonly domain: string; readonly address: Mailbox }[] | undefined;
}

interface BookFault {
  readonly key: keyof Book;
  readonly wrong: string;
  readonly mend: string;
}

/** What no entry can tell alone. Nothing is nested: each address here leads to certificates in one step. */
export function addressBookFaults({ aliases = [], groups = [], domains = [] }: Book): BookFault[] {
  const faults: BookFault[] = [];
  const taken = new Map<string, 'an alias' | 'a group'>();
  const take = (key: keyof Book, { address }: { readonly address: Mailbox }, as: 'an alias' | 'a group'): void => {
    const before = taken.get(mailboxKey(address));
    const mend = 'take one of the two out';
    if (before !== undefined) faults.push({ key, wrong: `${address.address} stands there twice, and is ${before} already`, mend });
    taken.set(mailboxKey(address), as);
  };
  for (const alias of aliases) take('aliases', alias, 'an alias');
  for (const group of groups) take('groups', group, 'a group');
  const reach = (key: keyof Book, by: string, target: Mailbox): void => {
    const nested = taken.get(mailboxKey(target));
    if (nested === undefined) return;
    const mend = nested === 'a group' ? 'write its members instead' : 'write the address that it leads to';
    faults.push({ key, wrong: `${by} names ${target.address}, which is ${nested} itself`, mend });
  };
  for (const { address, target } of aliases) reach('aliases', address.address, target);
  for (const { address, members } of groups) {
    const seen = new Set<string>();
    for (const member of members) {
      reach('groups', address.address, member);
      if (seen.has(mailboxKey(member)))
        faults.push({ key: 'groups', wrong: `${address.address} names ${member.address} twice`, mend: 'once is enough' });
      seen.add(mailboxKey(member));
    }
  }
  const listed = new Set<string>();
  for (const { domain, address } of domains) {
    if (listed.has(domain)) faults.push({ key: 'domains', wrong: `${domain} stands there twice`, mend: 'take one of the two out' });
    listed.add(domain);
    reach('domains', domain, address);
  }
  return faults;
}
