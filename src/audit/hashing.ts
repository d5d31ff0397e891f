/**
 * Addresses as keyed hashes, where the site wants no clear ones in its audit log: HMAC-SHA-256 under a key of its own, so that nobody
 * without the key can try addresses, and who has it can look for one. The same address is the same hash in every line.
 */
import { createHmac } from 'node:crypto';
import type { AuditEvent } from '../audit.ts';

/** So that the same key used elsewhere would say nothing about these. */
const DOMAIN = 'sealpost audit address v1\n';
/** Hex digits of a hash: 128 bits. */
const HEX_DIGITS = 32;

export type HashAddress = (address: string) => string;

/** `key`: 32 octets. Upper and lower case are one address. */
export function makeHashAddress(key: Uint8Array): HashAddress {
  return (address) => {
    const mac = createHmac('sha256', key).update(DOMAIN).update(address.normalize('NFC').toLowerCase());
    return `h:${mac.digest('hex').slice(0, HEX_DIGITS)}`;
  };
}

/**
 * Attributes that are text about something else than a person: an address within them is hashed, the rest stays. One that is in neither
 * list is taken for a person: what is added to an event and forgotten here is hashed, not shown.
 */
const TEXTS: ReadonlySet<string> = new Set(
  `queue_id rule size client tls tls_cipher tls_verified protocol cipher key certificate_sha256 certificate_issuer certificate_serial
  revocation signed_by signed_form signed_certificate_sha256 domain_certificate because came_sealed reason upstream attempt class clear
  reply phase due counts notice kind about row was operator old_sha256 same_issuer waits listed from not_after issuer number revoked rules
  sha256 faults version hostname profile reencrypted segments first_seq last_seq last_sha256 newest overridden renews recipients`.split(
    /\s+/,
  ),
);
/** What is a person, whatever it looks like: a name to log in with need have no @. Lists are joined by ", ". */
const PERSONS: ReadonlySet<string> = new Set([
  'sender',
  'recipient',
  'about_recipient',
  'to',
  'user',
  'submitter',
  'member',
  'members',
  'alias_of',
  'address',
  'addresses',
]);
/** `files: recipients/anna.pem`: the kind stays, the place may be called after the person; of several. */
const SOURCES: ReadonlySet<string> = new Set(['certificate_source']);
const NEXT_SOURCE = /, (?=[a-z]+: )/;
/** What others say of a recipient, with the local part alone too. */
const SAID: ReadonlySet<string> = new Set(['reply', 'reason']);
/** An address within other text, such as an upstream's reply, which quotes it; quoted local parts too (RFC 5321 §4.1.2). */
const WITHIN = /(?:"(?:[^"\\]|\\.){1,256}"|[^\s<>()[\]{},;:"\\@]{1,256})@(?:\[[^\]\s]{1,256}\]|[^\s<>()[\]{},;:"'=/\\@]{1,256})/gu;

/** Whether hashing knows what the attribute is. */
export const isDeclared = (name: string): boolean => TEXTS.has(name) || PERSONS.has(name) || SOURCES.has(name);

/** The event with every address hashed, in every attribute. */
export function withHashedAddresses(event: AuditEvent, hash: HashAddress): AuditEvent {
  const members = Object.entries(event).map(([name, value]) => {
    if (name === 'event' || name === 'queue_id' || typeof value !== 'string' || value === '') return [name, value] as const;
    if (SOURCES.has(name)) return [name, value.split(NEXT_SOURCE).map(hashPlace(hash)).join(', ')] as const;
    if (!TEXTS.has(name)) return [name, hashList(value, hash)] as const;
    const text = value.replace(WITHIN, (address) => hash(address));
    return [name, SAID.has(name) ? withoutLocalPart(text, event.recipient, hash) : text] as const;
  });
  return { ...event, ...Object.fromEntries(members) };
}

/** A quoted local part may hold a comma: then it is one address. */
const hashList = (value: string, hash: HashAddress): string => (value.includes('"') ? hash(value) : value.split(', ').map(hash).join(', '));

const hashPlace =
  (hash: HashAddress) =>
  (source: string): string => {
    const end = source.indexOf(': ');
    return end < 0 ? hash(source) : `${source.slice(0, end + 2)}${hash(source.slice(end + 2))}`;
  };

/** "user anna is unknown", as some upstreams say it. */
function withoutLocalPart(text: string, recipient: string | undefined, hash: HashAddress): string {
  const at = recipient?.lastIndexOf('@') ?? -1;
  if (recipient === undefined || at < 1) return text;
  const local = recipient.slice(0, at).replaceAll(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
  return text.replace(new RegExp(`(?<![\\p{L}\\p{N}])${local}(?![\\p{L}\\p{N}]|:[0-9a-f]{${HEX_DIGITS}})`, 'giu'), () => hash(recipient));
}
