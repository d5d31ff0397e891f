/** Names of a certificate: the distinguished name for people, the addresses for matching. */
import { mailboxKey, parseMailbox } from '../message/envelope.ts';
import { CONTEXT, expectTag, isConstructed, isContext, malformed, oidText, tags, UNIVERSAL } from './der.ts';
import type { Tlv } from './der.ts';
import { smtpUtf8Mailbox } from './oids.ts';

/** Short names of RFC 4514 §3 and of what mail certificates carry; other types show as their OID. */
const attributeNames: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.4': 'SN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.9': 'street',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.12': 'title',
  '2.5.4.42': 'givenName',
  '2.5.4.97': 'organizationIdentifier',
  '0.9.2342.19200300.100.1.1': 'UID',
  '0.9.2342.19200300.100.1.25': 'DC',
  '1.2.840.113549.1.9.1': 'emailAddress',
};

/** A name is shown, never matched: what is longer is cut, so that no certificate floods a terminal or a log line. */
const MAX_NAME = 500;

/** Name (RFC 5280 §4.1.2.4) as RFC 4514 writes it, most specific part first; controls and direction marks escaped. */
export function nameText(name: Tlv): string {
  const parts = expectTag(name, UNIVERSAL, tags.sequence, 'a name').children.map((rdn) =>
    expectTag(rdn, UNIVERSAL, tags.set, 'a relative distinguished name')
      .children.map((attribute) => {
        const [type, value] = attribute.children;
        const oid = oidText(type, 'an attribute type');
        if (value === undefined) throw malformed('an attribute without a value');
        return `${attributeNames[oid] ?? oid}=${escaped(decoded(value))}`;
      })
      .join('+'),
  );
  const text = parts.toReversed().join(',');
  return text.length > MAX_NAME ? `${text.slice(0, MAX_NAME)}…` : text;
}

/** The text of an attribute value, for people; what is no text comes out as some. */
function decoded(value: Tlv): string {
  const { content } = value;
  switch (value.tag) {
    case tags.bmpString:
      return Buffer.from(content.subarray(0, content.length & ~1))
        .swap16()
        .toString('utf16le');
    case tags.universalString:
      return codePoints(content);
    case tags.teletexString:
      // T.61 in name, ISO 8859-1 in every certificate that was ever made with it.
      return content.toString('latin1');
    default:
      return content.toString('utf8');
  }
}

function codePoints(content: Buffer): string {
  let text = '';
  for (let at = 0; at + 4 <= content.length && text.length <= MAX_NAME; at += 4) {
    const point = content.readUInt32BE(at);
    text += point <= 0x10ffff ? String.fromCodePoint(point) : '\ufffd';
  }
  return text;
}

/** Safe for terminals and log lines. */
export const escaped = (text: string): string =>
  text
    .slice(0, MAX_NAME)
    .replace(/[,+"\\<>;]/g, '\\$&')
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (character) =>
      [...Buffer.from(character)].map((octet) => `\\${octet.toString(16).padStart(2, '0')}`).join(''),
    );

/** GeneralName choices of RFC 5280 §4.2.1.6. */
const OTHER_NAME = 0;
const RFC822_NAME = 1;
const DIRECTORY_NAME = 4;
const LAST_CHOICE = 8;
/** otherName, x400Address, directoryName and ediPartyName; the others are strings and the like. */
const constructedChoices: ReadonlySet<number> = new Set([OTHER_NAME, 3, DIRECTORY_NAME, 5]);

/** The TLV where it is a GeneralName as far as its outer parts go, else a fault that names the field. */
export function expectGeneralName(name: Tlv | undefined, field: string): Tlv {
  if (name === undefined) throw malformed(`${field} is missing`);
  if (name.tagClass !== CONTEXT || name.tag > LAST_CHOICE) throw malformed(`${field} holds a name of no form`);
  const { children } = name;
  if (isConstructed(name) !== constructedChoices.has(name.tag)) throw malformed(`${field} holds a name in the wrong form`);
  if (name.tag === DIRECTORY_NAME) expectTag(onlyOne(children, field), UNIVERSAL, tags.sequence, `a directory name in ${field}`);
  if (name.tag === OTHER_NAME) {
    const [type, ...values] = children;
    oidText(type, `the type of an otherName in ${field}`);
    onlyOne(expectTag(onlyOne(values, field), CONTEXT, 0, `an otherName in ${field}`).children, field);
  }
  return name;
}

function onlyOne(parts: readonly Tlv[], field: string): Tlv {
  const [one, ...more] = parts;
  if (one === undefined || more.length > 0) throw malformed(`${field} holds a name of ${parts.length} parts`);
  return one;
}

/** GeneralNames; `list` may stand under a tag of its own. */
export const generalNames = (list: Tlv, field: string): readonly Tlv[] => list.children.map((name) => expectGeneralName(name, field));

/**
 * mailboxKey() forms of the mail addresses in a SubjectAltName. An address with white space, NUL or a control character
 * refuses the whole certificate: what its CA checked and what is read here may be two addresses (CVE-2026-2748, A21). One that
 * is no address at all is no address of anybody and is passed over.
 */
export function addressesOf(subjectAltName: Tlv): string[] {
  const keys = new Set<string>();
  for (const name of generalNames(expectTag(subjectAltName, UNIVERSAL, tags.sequence, 'subjectAltName'), 'subjectAltName')) {
    const address = isContext(name, RFC822_NAME) ? rfc822Name(name) : isContext(name, OTHER_NAME) ? utf8Mailbox(name) : undefined;
    if (address !== undefined) keys.add(address);
  }
  return [...keys];
}

function rfc822Name(name: Tlv): string | undefined {
  const { content } = name;
  if (content.some((octet) => octet <= 0x20 || octet === 0x7f)) {
    throw malformed('an address in subjectAltName holds white space, NUL or a control character');
  }
  // IA5String is ASCII (RFC 5280 §4.2.1.6); octets above it mean one thing to this reader and another to the next.
  if (content.some((octet) => octet > 0x7f)) throw malformed('an rfc822Name in subjectAltName holds octets outside ASCII');
  const verdict = parseMailbox(content.toString('latin1'));
  return verdict.kind === 'mailbox' ? mailboxKey(verdict.mailbox) : undefined;
}

/** RFC 9598 §3: only for a local part outside ASCII, since an ASCII one has rfc822Name and would be matched by other rules. */
function utf8Mailbox(name: Tlv): string | undefined {
  const [type, value] = name.children;
  if (oidText(type, 'the type of an otherName') !== smtpUtf8Mailbox) return undefined;
  const inner = expectTag(value, CONTEXT, 0, 'SmtpUTF8Mailbox').children[0];
  const { content } = expectTag(inner, UNIVERSAL, tags.utf8String, 'SmtpUTF8Mailbox');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  } catch (cause) {
    throw malformed('a SmtpUTF8Mailbox is not UTF-8', cause);
  }
  if (/[\p{Cc}\p{Cf}\p{Z}]/u.test(text)) {
    throw malformed('an address in subjectAltName holds white space, NUL or a control character');
  }
  const verdict = parseMailbox(text);
  return verdict.kind === 'mailbox' && verdict.mailbox.needsSmtputf8 ? mailboxKey(verdict.mailbox) : undefined;
}
