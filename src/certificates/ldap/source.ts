/**
 * Certificates in an LDAP directory: the source asks for entries that hold the mail address, and found.ts reads what they hold. The
 * address is compared by the server as a whole; that an entry has it says nothing about the certificates in it, which the directory
 * (directory.ts) judges one by one.
 */
import { domainToUnicode } from 'node:url';
import { type Mailbox, mailboxKey } from '../../message/envelope.ts';
import type { CertificateSource } from '../source.ts';
import { AnswerRefused, asUnavailable } from './fault.ts';
import { MAX_ENTRIES, readFound } from './found.ts';
import type { Scope, Search } from './message.ts';
import { makeRefusals } from './refusals.ts';
import { answerPatience, type LdapSecrets, makeServers } from './servers.ts';
import type { ServerAddress } from './socket.ts';

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
  readonly references: 'unavailable' | 'ignore';
}

export interface LdapSourceOptions {
  readonly secrets: () => Promise<LdapSecrets>;
  /** ms */
  readonly now: () => number;
  /** ms for one look-up. */
  readonly patience: number;
}

export function makeLdapSource(places: LdapPlaces, { secrets, now, patience }: LdapSourceOptions): CertificateSource {
  const servers = makeServers({ addresses: addressesOf(places), dn: places.bind?.dn, secrets, now, patience });
  const refusals = makeRefusals(now);
  const name = `ldap ${places.url.map(({ scheme, host, port }) => `${scheme}://${host}:${port}`).join(' ')}`;
  return {
    name,
    close: () => servers.close(),
    lookup: async (mailbox, signal) => {
      const key = mailboxKey(mailbox);
      try {
        const before = refusals.get(key);
        if (before !== undefined) return { kind: 'unavailable', cause: before };
        const found = await servers.search(searchFor(mailbox, places, patience), signal);
        return await readFound(found, { asked: places, source: name, signal });
      } catch (fault) {
        if (fault instanceof AnswerRefused) refusals.put(key, fault);
        return { kind: 'unavailable', cause: asUnavailable(fault, 'the directory gave no answer') };
      }
    },
  };
}

/** In the order they are asked. */
export const addressesOf = ({ url, starttls }: Pick<LdapPlaces, 'url' | 'starttls'>): ServerAddress[] =>
  url.map(({ scheme, host, port }) => ({ host, port, tls: scheme === 'ldaps' ? 'implicit' : starttls ? 'starttls' : 'off' }));

function searchFor(mailbox: Mailbox, { base, scope, mailAttributes, certificateAttributes }: LdapPlaces, patience: number): Search {
  const anyOf = mailAttributes.flatMap((attribute) =>
    spellings(mailbox).map((address) => ({ attribute, value: valueOf(attribute, address) })),
  );
  // Less than is waited for, so that the server says itself what takes so long.
  const timeLimit = Math.max(1, Math.ceil(answerPatience(patience) / 1000) - 1);
  return { base, scope, anyOf, attributes: certificateAttributes, sizeLimit: MAX_ENTRIES, timeLimit };
}

/** As it is sent, and with the domain as people write it, where that differs (RFC 5890 §2.3.2.1). Case is the server's to fold. */
function spellings({ address, localPart, domain }: Mailbox): string[] {
  const unicode = domainToUnicode(domain);
  return unicode === '' || unicode === domain ? [address] : [address, `${localPart}@${unicode}`];
}

/** Active Directory keeps every address of a mailbox as `smtp:anna@clinic.example`, the first one in capitals; it compares without case. */
const valueOf = (attribute: string, address: string): string =>
  attribute.toLowerCase() === 'proxyaddresses' ? `smtp:${address}` : address;
