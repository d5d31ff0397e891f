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
]);
/** An address within other text, such as an upstream's reply, which quotes it; quoted local parts too (RFC 5321 §4.1.2). */
const WITHIN = /(?:"(?:[^"\\]|\\.){1,256}"|[^\s<>()[\]{},;:"'=/\\@]{1,256})@[^\s<>()[\]{},;:"'=/\\@]{1,256}/gu;

/** The event with every address hashed, in every attribute. */
export function withHashedAddresses(event: AuditEvent, hash: HashAddress): AuditEvent {
  const members = Object.entries(event).map(([name, value]) => {
    if (name === 'event' || name === 'queue_id' || typeof value !== 'string' || value === '') return [name, value] as const;
    if (PERSONS.has(name)) return [name, hashList(value, hash)] as const;
    return [name, value.replace(WITHIN, (address) => hash(address))] as const;
  });
  return { ...event, ...Object.fromEntries(members) };
}

/** A quoted local part may hold a comma: then it is one address. */
const hashList = (value: string, hash: HashAddress): string => (value.includes('"') ? hash(value) : value.split(', ').map(hash).join(', '));
