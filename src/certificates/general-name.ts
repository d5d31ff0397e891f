/**
 * GeneralName (RFC 5280 §4.2.1.6) made comparable, for name constraints: addresses with their domain as lower-case A-labels,
 * distinguished names folded, and every other form known by what it is called. A name that cannot be compared for certain is
 * `incomparable`: where its form is constrained, its certificate is refused.
 */
import { foldDomain } from '../message/envelope.ts';
import { CERTIFICATE_LIMITS, CONTEXT, oidText, readDer, tags, UNIVERSAL } from './der.ts';
import type { Tlv } from './der.ts';
import { escaped, nameText } from './name.ts';
import { emailAddress, smtpUtf8Mailbox } from './oids.ts';

/** `form` is what constraints and names have in common. */
export type ComparableName =
  | { readonly kind: 'mail'; readonly form: 'mail address'; readonly localPart: string; readonly domain: string }
  | { readonly kind: 'host'; readonly form: 'host name' | 'URI'; readonly host: string }
  | { readonly kind: 'ip'; readonly form: 'IP address'; readonly octets: Buffer }
  /** One text for each RDN, from the top down. */
  | { readonly kind: 'directory'; readonly form: 'directory name'; readonly rdns: readonly string[] }
  | { readonly kind: 'incomparable'; readonly form: string };

/** Choices of GeneralName, by tag. otherName (0) is known by its type. */
const forms = [
  undefined,
  'mail address',
  'host name',
  'x400Address',
  'directory name',
  'ediPartyName',
  'URI',
  'IP address',
  'registeredID',
];

/** What the form of a GeneralName is called; `otherName 1.2.3` where nobody here knows its type. */
export function formOf(name: Tlv): string {
  if (name.tagClass !== CONTEXT) return 'name of no form';
  return (
    forms[name.tag] ?? (name.tag === 0 ? `otherName ${oidText(name.children[0], 'the type of an otherName')}` : `name of form ${name.tag}`)
  );
}

/**
 * Every name that constraints may speak of (RFC 5280 §4.2.1.10): subjectAltName, the subject, and mail addresses in the subject.
 * Those the RFC lets pass where subjectAltName has an address; they count here in any case, as they do for OpenSSL.
 */
export function namesOf({
  subjectDer,
  subjectAltName,
}: {
  readonly subjectDer: Buffer;
  readonly subjectAltName: Buffer | undefined;
}): readonly ComparableName[] {
  const subject = readDer(subjectDer, CERTIFICATE_LIMITS);
  const names: ComparableName[] = subject.children.length === 0 ? [] : [directoryName(subject)];
  for (const { children } of subject.children.flatMap((rdn) => rdn.children)) {
    const [type, value] = children;
    if (value !== undefined && oidText(type, 'an attribute type') === emailAddress)
      names.push(
        value.tag === tags.ia5String ? mailName(value.content.toString('latin1')) : { kind: 'incomparable', form: 'mail address' },
      );
  }
  if (subjectAltName === undefined) return names;
  return [...names, ...readDer(subjectAltName, CERTIFICATE_LIMITS).children.map(comparable)];
}

function comparable(name: Tlv): ComparableName {
  const form = formOf(name);
  const text = name.content.toString('latin1');
  switch (form) {
    case 'mail address':
      return mailName(text);
    // RFC 9598 §6: it is under the constraints of mail addresses.
    case `otherName ${smtpUtf8Mailbox}`:
      return mailName(name.children[1]?.children[0]?.content.toString('utf8') ?? '');
    case 'host name':
      return hostName(form, text);
    case 'URI':
      // Nothing but a plain host behind `//`: with user names and the like, readers differ on what the host is.
      return hostName(form, /^[a-z][a-z0-9+.-]*:\/\/([^/?#:@[\]\\]+)(?::\d*)?(?:[/?#][^@\\]*)?$/i.exec(text)?.[1] ?? '');
    case 'IP address':
      return { kind: 'ip', form, octets: name.content };
    case 'directory name':
      return directoryName(name.children[0]);
    default:
      return { kind: 'incomparable', form };
  }
}

function mailName(text: string): ComparableName {
  const form = 'mail address';
  const at = text.lastIndexOf('@');
  const domain = at < 1 || /[\p{Cc}\p{Z}]/u.test(text) ? undefined : foldDomain(text.slice(at + 1));
  return domain === undefined ? { kind: 'incomparable', form } : { kind: 'mail', form, localPart: text.slice(0, at), domain };
}

function hostName(form: 'host name' | 'URI', text: string): ComparableName {
  // A wildcard is not in a certificate for mail, and what it stands for cannot be compared.
  const host = foldDomain(text);
  return host === undefined || host.startsWith('[') ? { kind: 'incomparable', form } : { kind: 'host', form, host };
}

/** Name. Attributes of one RDN are a set, so their order does not count. */
export function directoryName(name: Tlv | undefined): ComparableName {
  const form = 'directory name';
  if (name?.tagClass !== UNIVERSAL || name.tag !== tags.sequence) return { kind: 'incomparable', form };
  const rdns: string[] = [];
  for (const rdn of name.children) {
    const parts = rdn.children.flatMap(({ children: [type, value] }) => foldedAttribute(type, value) ?? []);
    if (parts.length === 0 || parts.length < rdn.children.length) return { kind: 'incomparable', form };
    rdns.push(parts.sort((a, b) => (a < b ? -1 : 1)).join('+'));
  }
  return { kind: 'directory', form, rdns };
}

/** Strings whose text is certain. TeletexString and UniversalString have no one reading, and are too rare to matter. */
const stringTags: ReadonlySet<number> = new Set([tags.utf8String, tags.printableString, tags.ia5String, tags.bmpString]);
const uncertainTags: ReadonlySet<number> = new Set([tags.teletexString, tags.universalString]);

/**
 * RFC 5280 §7.1, in its simple part: white space at the ends is dropped, inside it is one blank, ASCII letters are without case,
 * whatever type of string. Undefined where that cannot be told.
 */
function foldedAttribute(type: Tlv | undefined, value: Tlv | undefined): string | undefined {
  if (value === undefined || uncertainTags.has(value.tag) || type?.tag !== tags.oid) return undefined;
  const oid = type.content.toString('hex');
  if (value.tagClass !== UNIVERSAL || !stringTags.has(value.tag)) return `${oid}=#${value.bytes.toString('hex')}`;
  const text = value.tag === tags.bmpString ? utf16(value.content) : utf8(value.content);
  const folded = text
    ?.trim()
    .replace(/\s+/g, ' ')
    .replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
  return folded === undefined ? undefined : `${oid}=${JSON.stringify(folded)}`;
}

const utf8 = (octets: Buffer): string | undefined => {
  const text = octets.toString('utf8');
  return text.includes('\ufffd') ? undefined : text;
};
const utf16 = (octets: Buffer): string | undefined =>
  octets.length % 2 === 0 ? Buffer.from(octets).swap16().toString('utf16le') : undefined;

/** For people, as it stands there; throws where a directory name is none. */
export function generalNameText(name: Tlv): string {
  const [inner] = name.children;
  if (formOf(name) === 'directory name' && inner !== undefined) return nameText(inner);
  return formOf(name) === 'IP address' ? name.content.toString('hex') : escaped(name.content.toString('latin1'));
}
