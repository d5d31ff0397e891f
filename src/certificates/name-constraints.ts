/**
 * Name constraints (RFC 5280 §4.2.1.10, RFC 9549, RFC 9598): for which names a CA may speak. Each CA's constraints are held
 * against every certificate below it, which comes to the same as the RFC's running intersection and union, and can tell which
 * CA it was. Where two readings are possible, `permitted` is read narrowly and `excluded` widely.
 */
import { foldDomain, parseMailbox } from '../message/envelope.ts';
import { contextFields, expectTag, malformed, tags, UNIVERSAL } from './der.ts';
import type { Tlv } from './der.ts';
import { directoryName, formOf, generalNameText } from './general-name.ts';
import type { ComparableName } from './general-name.ts';
import { expectGeneralName } from './name.ts';

/** One GeneralSubtree. */
interface Subtree {
  readonly form: string;
  /** For people: `partner.example`, `*.partner.example`, `O=Clinic`. */
  readonly text: string;
  /** Undefined where it cannot be acted upon: an unknown form, a base that is none, minimum or maximum (§4.2.1.10 forbids them). */
  readonly base: Base | undefined;
}

/** `below`: subdomains only, or the domain and its subdomains. */
type Base =
  | { readonly kind: 'mailbox'; readonly localPart: string; readonly domain: string }
  | { readonly kind: 'domain'; readonly domain: string; readonly itself: boolean; readonly below: boolean }
  | { readonly kind: 'network'; readonly address: Buffer; readonly mask: Buffer }
  | { readonly kind: 'directory'; readonly rdns: readonly string[] };

export interface NameConstraints {
  readonly permitted: readonly Subtree[];
  readonly excluded: readonly Subtree[];
}

/** Throws `certificate-malformed`; what is merely not understood is kept, since it matters only where such a name comes. */
export function readNameConstraints(value: Tlv | undefined): NameConstraints | undefined {
  if (value === undefined) return undefined;
  const field = 'nameConstraints';
  const lists = contextFields(expectTag(value, UNIVERSAL, tags.sequence, field).children, ['constructed', 'constructed'], field);
  const [permitted = [], excluded = []] = lists.map((list) => list?.children.map(readSubtree));
  // An empty list may mean that nothing is permitted, or all: there is none (RFC 5280 appendix A).
  if (lists.some((list) => list?.children.length === 0)) throw malformed('a list of name constraints is empty');
  return { permitted, excluded };
}

/** The content of INTEGER 0. */
const ZERO = Buffer.of(0);

function readSubtree(subtree: Tlv): Subtree {
  const [first, ...bounds] = expectTag(subtree, UNIVERSAL, tags.sequence, 'a name constraint').children;
  const base = expectGeneralName(first, 'a name constraint');
  const [minimum, maximum] = contextFields(bounds, ['primitive', 'primitive'], 'a name constraint');
  // `minimum` is 0 by default and so absent in DER; OpenSSL takes it where it is written out, and so does this.
  const bounded = maximum !== undefined || (minimum !== undefined && !minimum.content.equals(ZERO));
  const form = formOf(base);
  const text = base.content.toString('latin1');
  return { form, text: textOf(form, base, text), base: bounded ? undefined : readBase(form, base, text) };
}

/** A domain is shown as the configuration writes it: `*.` for what is below. */
const textOf = (form: string, base: Tlv, text: string): string =>
  (form === 'mail address' || form === 'URI') && text.startsWith('.') ? `*${generalNameText(base)}` : generalNameText(base);

function readBase(form: string, tlv: Tlv, text: string): Base | undefined {
  switch (form) {
    case 'mail address':
      return text.includes('@') ? mailboxBase(text) : domainBase(text, 'host');
    case 'URI':
      return domainBase(text, 'host');
    case 'host name':
      return domainBase(text, 'tree');
    case 'IP address': {
      const half = tlv.content.length / 2;
      return half === 4 || half === 16
        ? { kind: 'network', address: tlv.content.subarray(0, half), mask: tlv.content.subarray(half) }
        : undefined;
    }
    case 'directory name': {
      const name = directoryName(tlv.children[0]);
      return name.kind === 'directory' ? { kind: 'directory', rdns: name.rdns } : undefined;
    }
    default:
      return undefined;
  }
}

function mailboxBase(text: string): Base | undefined {
  const verdict = parseMailbox(text);
  return verdict.kind === 'mailbox' ? { kind: 'mailbox', localPart: verdict.mailbox.localPart, domain: verdict.mailbox.domain } : undefined;
}

/** Mail addresses and URIs: a host alone, or `.domain` for all below. Host names: a domain and all below. */
function domainBase(text: string, kind: 'host' | 'tree'): Base | undefined {
  const dotted = text.startsWith('.');
  const domain = foldDomain(dotted ? text.slice(1) : text);
  if (domain === undefined) return undefined;
  return { kind: 'domain', domain, itself: !dotted, below: dotted || kind === 'tree' };
}

/** Comparisons that one verdict may cost: 60,000 take a few ms, and no CA in use needs a hundredth. */
export const MAX_COMPARISONS = 65_536;

/** What reading names widely costs beside: so many octets are one comparison more. 256 KiB in all take 20 ms. */
const FOLDED_OCTETS = 4;

/** Comparisons that are left; the caller's, for a whole search. */
export interface ComparisonBudget {
  left: number;
  /** Texts as they are read widely, each folded once: a letter outside ASCII may become eighteen. */
  readonly localParts: Map<string, string>;
  readonly rdns: Map<string, string>;
}

export const makeComparisonBudget = (): ComparisonBudget => ({ left: MAX_COMPARISONS, localParts: new Map(), rdns: new Map() });

const TOO_MUCH = `carries more name constraints than are compared (${MAX_COMPARISONS} comparisons)`;

/** Why names under these constraints may not stand there; undefined where they may. To be read behind the CA's name. */
export function constraintFault(
  { permitted, excluded }: NameConstraints,
  names: readonly ComparableName[],
  budget: ComparisonBudget,
): string | undefined {
  budget.left -= names.length * (permitted.length + excluded.length);
  if (budget.left < 0) return TOO_MUCH;
  for (const name of names) {
    const allowing = permitted.filter(({ form }) => form === name.form);
    const forbidding = excluded.filter(({ form }) => form === name.form);
    const all = [...allowing, ...forbidding];
    const strange = all.find(({ base }) => base === undefined);
    if (strange !== undefined) return `constrains names in a way that is not understood: ${strange.form} ${strange.text}`;
    if (all.length > 0 && name.kind === 'incomparable') return `constrains each ${name.form}, and one below it cannot be compared`;
    if (allowing.length > 0 && !allowing.some(({ base }) => base !== undefined && within(name, base, exactly)))
      return `allows ${plural(name.form)} of ${listed(allowing)} only (name constraints)`;
    const hit = forbidding.find(({ base }) => base !== undefined && within(name, base, widely(budget)));
    if (budget.left < 0) return TOO_MUCH;
    if (hit !== undefined) return `forbids ${plural(name.form)} of ${hit.text} (name constraints)`;
  }
  return undefined;
}

const plural = (form: string): string => (form === 'mail address' || form === 'IP address' ? `${form}es` : `${form}s`);

const MAX_LISTED = 3;

function listed(subtrees: readonly Subtree[]): string {
  const texts = [...new Set(subtrees.map(({ text }) => text))];
  const shown = texts.slice(0, MAX_LISTED).join(', ');
  return texts.length > MAX_LISTED ? `${shown} and ${texts.length - MAX_LISTED} others` : shown;
}

/** How two texts of a name are read: the same, or not. */
interface Reading {
  readonly localPart: (one: string, other: string) => boolean;
  readonly rdn: (one: string, other: string) => boolean;
}

const same = (one: string, other: string): boolean => one === other;
const exactly: Reading = { localPart: same, rdn: same };

/** Only its own host may fold a local part (RFC 5321 §2.4), and what is quoted there means the same without quotes. */
const bare = (localPart: string): string => localPart.replace(/^"|"$/g, '').replace(/\\(.)/g, '$1').toLowerCase();
/** Upper case first: `ß` and `SS` are one. */
const wide = (text: string): string => text.normalize('NFKC').toUpperCase().toLowerCase();

function widely(budget: ComparisonBudget): Reading {
  const by =
    (known: Map<string, string>, fold: (text: string) => string) =>
    (text: string): string => {
      const before = known.get(text);
      if (before !== undefined) return before;
      budget.left -= Math.ceil(Buffer.byteLength(text) / FOLDED_OCTETS);
      // Of no use to anybody any more, and not to be paid for.
      if (budget.left < 0) return '';
      const folded = fold(text);
      known.set(text, folded);
      return folded;
    };
  const [localPart, rdn] = [by(budget.localParts, bare), by(budget.rdns, wide)];
  return {
    localPart: (one, other) => one === other || localPart(one) === localPart(other),
    rdn: (one, other) => one === other || rdn(one) === rdn(other),
  };
}

function within(name: ComparableName, base: Base, reading: Reading): boolean {
  switch (base.kind) {
    case 'mailbox':
      return name.kind === 'mail' && name.domain === base.domain && reading.localPart(name.localPart, base.localPart);
    case 'domain': {
      const domain = name.kind === 'mail' ? name.domain : name.kind === 'host' ? name.host : undefined;
      return (base.itself && domain === base.domain) || (base.below && domain?.endsWith(`.${base.domain}`) === true);
    }
    case 'network':
      return name.kind === 'ip' && isWithinNetwork(name.octets, base);
    case 'directory':
      return name.kind === 'directory' && base.rdns.every((rdn, index) => startsWith(name.rdns[index], rdn, reading));
  }
}

const startsWith = (one: string | undefined, other: string, { rdn }: Reading): boolean => one !== undefined && rdn(one, other);

function isWithinNetwork(octets: Buffer, { address, mask }: { readonly address: Buffer; readonly mask: Buffer }): boolean {
  if (octets.length !== address.length) return false;
  return octets.every((octet, index) => ((octet ^ (address[index] ?? 0)) & (mask[index] ?? 0)) === 0);
}
