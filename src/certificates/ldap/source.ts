/**
 * Certificates in an LDAP directory: the source asks for entries that hold the mail address and reads the certificate attributes.
 *
 * An address counts as absent only when the directory answered the whole search: no entry, or entries without a certificate. An answer
 * that was cut, at whatever limit, is `unavailable`: another time it would be cut elsewhere, and the choice among certificates would be the
 * server's (A22). References to other servers are not followed, since whoever writes them would send the relay anywhere (A26). They
 * do not make an answer incomplete: Active Directory puts some into every search from the top of a domain.
 */
import { domainToUnicode } from 'node:url';
import type { Mailbox } from '../../message/envelope.ts';
import type { Candidate, CertificateSource, SourceAnswer } from '../source.ts';
import type { Found } from './connection.ts';
import { asUnavailable, unavailable } from './fault.ts';
import { type Attribute, type Entry, results, type Scope, type Search } from './message.ts';
import { type LdapSecrets, makeServers } from './servers.ts';
import type { ServerAddress } from './socket.ts';
import { readValue } from './value.ts';

/** Where a secret stands; it is read by whoever opens the source. */
export type SecretPlace = { readonly from: 'file'; readonly path: string } | { readonly from: 'env'; readonly name: string };

/** One `ldap` of `certificates.sources`; absolute paths. */
export interface LdapPlaces {
  readonly url: readonly { readonly scheme: 'ldap' | 'ldaps'; readonly host: string; readonly port: number }[];
  readonly starttls: boolean;
  readonly base: string;
  readonly scope: Scope;
  readonly ca?: string | undefined;
  readonly bind?: { readonly dn: string; readonly password: SecretPlace } | undefined;
  readonly mailAttributes: readonly string[];
  readonly certificateAttributes: readonly string[];
}

export interface LdapSourceOptions {
  readonly secrets: () => Promise<LdapSecrets>;
  /** ms */
  readonly now: () => number;
  /** ms for one look-up. */
  readonly patience: number;
}

/** Entries for one address: a person, perhaps twice, or those who share a mailbox. More than these are no answer. */
const MAX_ENTRIES = 20;
/** Values for one address; a certificate costs up to a millisecond to read. */
const MAX_VALUES = 500;
const MAX_REMARKS = 10;
const MAX_NAME = 120;

export function makeLdapSource(places: LdapPlaces, { secrets, now, patience }: LdapSourceOptions): CertificateSource {
  const addresses = places.url.map(({ scheme, host, port }): ServerAddress => {
    return { host, port, tls: scheme === 'ldaps' ? 'implicit' : places.starttls ? 'starttls' : 'off' };
  });
  const servers = makeServers({ addresses, dn: places.bind?.dn, secrets, now, patience });
  const name = `ldap ${places.url.map(({ scheme, host, port }) => `${scheme}://${host}:${port}`).join(' ')}`;
  return {
    name,
    close: () => servers.close(),
    lookup: async (mailbox, signal) => {
      try {
        return await answer(await servers.search(searchFor(mailbox, places, patience), signal), places, name);
      } catch (fault) {
        return { kind: 'unavailable', cause: asUnavailable(fault, 'the directory gave no answer') };
      }
    },
  };
}

function searchFor(mailbox: Mailbox, { base, scope, mailAttributes, certificateAttributes }: LdapPlaces, patience: number): Search {
  const anyOf = mailAttributes.flatMap((attribute) =>
    spellings(mailbox).map((address) => ({ attribute, value: valueOf(attribute, address) })),
  );
  return {
    base,
    scope,
    anyOf,
    attributes: certificateAttributes,
    sizeLimit: MAX_ENTRIES,
    timeLimit: Math.max(1, Math.ceil(patience / 1000)),
  };
}

/** As it is sent, and with the domain as people write it, where that differs (RFC 5890 §2.3.2.1). Case is the server's to fold. */
function spellings({ address, localPart, domain }: Mailbox): string[] {
  const unicode = domainToUnicode(domain);
  return unicode === '' || unicode === domain ? [address] : [address, `${localPart}@${unicode}`];
}

/** Active Directory keeps every address of a mailbox as `smtp:anna@clinic.example`, the first one in capitals; it compares without case. */
const valueOf = (attribute: string, address: string): string =>
  attribute.toLowerCase() === 'proxyaddresses' ? `smtp:${address}` : address;

async function answer(found: Found, places: LdapPlaces, source: string): Promise<SourceAnswer> {
  assertWhole(found, places.base);
  const candidates: Candidate[] = [];
  const remarks: string[] = [];
  const remark = (text: string): void => {
    if (remarks.length < MAX_REMARKS) remarks.push(text);
  };
  let values = 0;
  for (const entry of found.entries) {
    for (const attribute of entry.attributes) {
      if (!isAsked(attribute, places.certificateAttributes)) continue;
      let number = 0;
      for (const value of attribute.values()) {
        if (++values > MAX_VALUES) throw unavailable(`more than ${MAX_VALUES} certificates for one address`, { hint: TIDY });
        const place = `${shown(entry)} ${shownText(attribute.description)}#${++number}`;
        const { certificates, fault } = await readValue(value);
        for (const certificate of certificates) candidates.push({ certificate, source, place });
        if (fault !== undefined) remark(`${place}: ${fault}`);
      }
    }
  }
  if (found.references > 0) remark(`${found.references} references to other servers are not followed`);
  const said = remarks.length > 0 ? { remarks } : {};
  return candidates.length > 0 ? { kind: 'found', candidates, ...said } : { kind: 'absent', ...said };
}

const TIDY = 'take expired certificates out of the entry, or name only the attribute that mail uses in certificate_attributes';

/** Throws `lookup-unavailable` where the server did not answer all of the search. */
function assertWhole({ code }: Found, base: string): void {
  switch (code) {
    case results.success:
      return;
    case results.sizeLimitExceeded:
      throw unavailable(
        `the directory has more entries for one address than the ${MAX_ENTRIES} that are taken, or than it gives to the relay`,
        {
          hint: 'is the address in the entries of other people too? does the directory limit what this login may read?',
        },
      );
    case results.noSuchObject:
      throw unavailable('the directory knows no such base', {
        hint: `is ${base} written as the directory writes it, and may the login of the relay see it?`,
      });
    case results.referral:
      throw unavailable('this server refers to another one for the base', { hint: 'name the server that holds the base in url' });
    case results.confidentialityRequired:
    case results.strongerAuthRequired:
      throw unavailable(`the directory wants TLS or a login first (LDAP result ${code})`, {
        hint: 'ldaps:// in url, or starttls: true, and bind',
      });
    case results.insufficientAccessRights:
    case results.unwillingToPerform:
    case results.operationsError:
      throw unavailable(`the directory does not let this login search (LDAP result ${code})`, {
        hint: 'Active Directory wants bind; elsewhere the access rules of the directory say who may search',
      });
    case results.timeLimitExceeded:
    case results.adminLimitExceeded:
      throw unavailable(`the search took the directory too long (LDAP result ${code})`, {
        hint: 'the attributes of mail_attributes want an equality index in the directory',
      });
    default:
      throw unavailable(`the directory answers with LDAP result ${code}`);
  }
}

/** By the name of the attribute: `userCertificate;binary` is one. Throws where the server cut its values (Active Directory from 1500 on). */
function isAsked({ description }: Attribute, asked: readonly string[]): boolean {
  const [base = '', ...options] = description.toLowerCase().split(';');
  if (!asked.some((name) => name.toLowerCase().split(';')[0] === base)) return false;
  if (options.some((option) => option.startsWith('range=')))
    throw unavailable(`an entry holds more values than the directory gives at once`, { hint: TIDY });
  return true;
}

const shown = ({ name }: Entry): string => shownText(name);

/** For people: without what a terminal or log would take for more than text. */
const shownText = (text: string): string => text.slice(0, MAX_NAME).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '\ufffd');
