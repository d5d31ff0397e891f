/**
 * LDAP messages (RFC 4511 §4.1.1). Requests are written by ldapts, whose filter classes carry an address as octets with a length: it
 * never becomes filter text, so nothing in it needs escaping (A25).
 *
 * Answers are read here. The client of ldapts is not used: a length inside a message that goes beyond the message makes its reader
 * allocate until the process dies, it keeps whatever a server sends for a search, and it takes a list that the server cut for a
 * whole one.
 */
import { AbandonRequest, BindRequest, EqualityFilter, ExtendedRequest, OrFilter, SearchRequest } from 'ldapts';
import { type Element, elements, endOfElement, malformed, next, startOfContent, wholeNumber } from './ber.ts';
import { AnswerRefused, unavailable } from './fault.ts';

/** Tags of RFC 4511 §4.2–4.14. */
const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const ENUMERATED = 0x0a;
const operations = {
  bindResponse: 0x61,
  searchResultEntry: 0x64,
  searchResultDone: 0x65,
  searchResultReference: 0x73,
  extendedResponse: 0x78,
} as const;

/** Of the result codes of RFC 4511 §4.1.9 those that are told apart. */
export const results = {
  success: 0,
  operationsError: 1,
  timeLimitExceeded: 3,
  sizeLimitExceeded: 4,
  strongerAuthRequired: 8,
  referral: 10,
  adminLimitExceeded: 11,
  confidentialityRequired: 13,
  noSuchObject: 32,
  inappropriateAuthentication: 48,
  invalidCredentials: 49,
  insufficientAccessRights: 50,
  busy: 51,
  unavailable: 52,
  unwillingToPerform: 53,
} as const;

export type Scope = 'sub' | 'one' | 'base';

/** What is asked of a directory: entries below `base` where one of the pairs holds, and of these some attributes. */
export interface Search {
  readonly base: string;
  readonly scope: Scope;
  /** Attribute and value, compared by the server with the equality rule of the attribute. One at least. */
  readonly anyOf: readonly { readonly attribute: string; readonly value: string }[];
  readonly attributes: readonly string[];
  /** Entries. */
  readonly sizeLimit: number;
  /** Seconds, for the server. */
  readonly timeLimit: number;
}

export interface Attribute {
  /** As the server writes it: `userCertificate;binary`. Hostile text. */
  readonly description: string;
  /** Lazily: an attribute may hold a hundred thousand values. */
  values(): Generator<Buffer, void, void>;
}

export interface Entry {
  /** The beginning of the distinguished name. Hostile text. */
  readonly name: string;
  readonly attributes: readonly Attribute[];
}

/** `reason`: the figures that Active Directory gives for a refused login beside the code, lower-case hex. */
export interface Result {
  readonly kind: 'result';
  readonly of: 'bind' | 'search' | 'extended';
  readonly code: number;
  readonly reason?: string | undefined;
}

export type Answer =
  | { readonly kind: 'entry'; readonly entry: Entry }
  /** To a part of the directory that another server holds. `peopled`: where entries of people may stand. */
  | { readonly kind: 'reference'; readonly peopled: boolean }
  | Result
  /** Of a kind that was not asked for. */
  | { readonly kind: 'other' };

export interface Message {
  readonly id: number;
  /** Reads what it carries. Throws `lookup-unavailable`. */
  answer(): Answer;
}

const STARTTLS_OID = '1.3.6.1.4.1.1466.20037'; // RFC 4511 §4.14.1

export const startTlsRequest = (messageId: number): Buffer => new ExtendedRequest({ messageId, oid: STARTTLS_OID }).write();

/** Simple bind (RFC 4511 §4.2). The caller vouches that the password is not empty, which would be no authentication (RFC 4513 §5.1.2). */
export const bindRequest = (messageId: number, dn: string, password: string): Buffer =>
  new BindRequest({ messageId, dn, password }).write();

/** The server stops working on `abandonId`; there is no answer to it (RFC 4511 §4.11). */
export const abandonRequest = (messageId: number, abandonId: number): Buffer => new AbandonRequest({ messageId, abandonId }).write();

/** RFC 4511 §4.5.1. */
export function searchRequest(messageId: number, { base, scope, anyOf, attributes, sizeLimit, timeLimit }: Search): Buffer {
  const filter = new OrFilter({ filters: anyOf.map((pair) => new EqualityFilter(pair)) });
  const asked = { baseDN: base, scope, derefAliases: 'never' as const, sizeLimit, timeLimit, attributes: [...attributes] };
  return new SearchRequest({ messageId, filter, ...asked }).write();
}

/** Where the LDAPMessage that begins at `start` ends; undefined while that is not known. Throws `lookup-unavailable`. */
export function endOfMessage(bytes: Buffer, start: number): number | undefined {
  // At the first octet: who speaks another protocol may be waiting for us.
  if (bytes.length > start && bytes[start] !== SEQUENCE) throw malformed();
  return endOfElement(bytes, start);
}

/** Octets of a messageID with its header; and no directory holds an entry of MAX_CLAIMED. */
const ID_OCTETS = 6;
const MAX_CLAIMED = 256 * 1024 * 1024;

/** Whose the message is that begins at `start`, of which the rest may be missing; undefined while that is not known. Throws as above. */
export function idOfMessage(bytes: Buffer, start: number): number | undefined {
  const [from, end] = [startOfContent(bytes, start), endOfElement(bytes, start)];
  if (from === undefined || end === undefined) return undefined;
  if (end - start > MAX_CLAIMED) throw unavailable(`a message of the directory server is longer than ${MAX_CLAIMED} octets`);
  const head = bytes.subarray(from, Math.min(end, from + ID_OCTETS));
  const idEnd = endOfElement(head, 0);
  if (idEnd === undefined || (idEnd > head.length && idEnd <= ID_OCTETS)) return undefined;
  return wholeNumber(next(elements(head.subarray(0, idEnd)), INTEGER));
}

/** Exactly one LDAPMessage. Throws `lookup-unavailable`. */
export function readMessage(bytes: Buffer): Message {
  const fields = elements(next(elements(bytes), SEQUENCE));
  const id = wholeNumber(next(fields, INTEGER));
  const { done, value: operation } = fields.next();
  if (done === true) throw malformed();
  return { id, answer: () => readAnswer(operation) };
}

function readAnswer({ tag, content }: Element): Answer {
  switch (tag) {
    case operations.searchResultEntry:
      return { kind: 'entry', entry: readEntry(content) };
    case operations.searchResultReference:
      return { kind: 'reference', peopled: isPeopled(content) };
    case operations.bindResponse:
      return readResult('bind', content);
    case operations.searchResultDone:
      return readResult('search', content);
    case operations.extendedResponse:
      return readResult('extended', content);
    default:
      return { kind: 'other' };
  }
}

/**
 * Active Directory ends every search from the top of a domain with references to three parts of its own: two of name servers and one of
 * settings. Nobody's entry stands there. The URIs of one reference name the same part (RFC 4511 §4.5.3).
 */
const UNPEOPLED = /^ldaps?:\/\/[^/]*\/(?:DC=ForestDnsZones|DC=DomainDnsZones|CN=Configuration),/i;

function isPeopled(content: Buffer): boolean {
  const uri = elements(content).next();
  return uri.done === true || !UNPEOPLED.test(uri.value.content.subarray(0, MAX_TEXT).toString('latin1'));
}

/** LDAPResult (RFC 4511 §4.1.9). Of its text for people only figures are taken, and where the server refers to others nothing. */
function readResult(of: Result['of'], content: Buffer): Result {
  const fields = elements(content);
  const code = wholeNumber(next(fields, ENUMERATED));
  next(fields, OCTET_STRING);
  const text = next(fields, OCTET_STRING).subarray(0, MAX_TEXT).toString('latin1');
  return { kind: 'result', of, code, reason: /^[0-9A-F]{8}: LdapErr: .*, data ([0-9a-f]{1,8}),/.exec(text)?.[1] };
}

/** Octets of a text that are looked at. */
const MAX_TEXT = 300;

/** Whoever writes an entry can put the same attribute into it under as many options as they like (RFC 4512 §2.5). */
const MAX_ATTRIBUTES = 1000;

function readEntry(content: Buffer): Entry {
  const fields = elements(content);
  const name = next(fields, OCTET_STRING).subarray(0, MAX_TEXT).toString('utf8');
  const attributes: Attribute[] = [];
  for (const { tag, content } of elements(next(fields, SEQUENCE))) {
    if (tag !== SEQUENCE) throw malformed();
    if (attributes.length >= MAX_ATTRIBUTES) throw new AnswerRefused(`an entry of more than ${MAX_ATTRIBUTES} attributes`);
    const parts = elements(content);
    const description = next(parts, OCTET_STRING).toString('latin1');
    const set = next(parts, SET);
    attributes.push({ description, values: () => readValues(set) });
  }
  return { name, attributes };
}

function* readValues(set: Buffer): Generator<Buffer, void, void> {
  for (const { tag, content } of elements(set)) {
    if (tag !== OCTET_STRING) throw malformed();
    yield content;
  }
}
