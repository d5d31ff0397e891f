/**
 * What a search brought, as the answer of a source.
 *
 * An address counts as absent only where the directory answered the whole search: no entry, or entries without a certificate. An answer
 * that was cut, at whatever limit, is `unavailable`: another time it would be cut elsewhere, and the choice among certificates would be
 * the server's (A22). References to other servers are not followed, since whoever writes them would send the relay anywhere (A26). Where
 * nothing else came back, the entry may stand there: that is not absence, unless the operator says that nobody's does. Those that Active
 * Directory puts into every search from the top of a domain lead to nobody's entry.
 */
import type { Candidate, SourceAnswer } from '../source.ts';
import type { Found } from './connection.ts';
import { AnswerRefused, unavailable } from './fault.ts';
import { type Attribute, type Entry, results } from './message.ts';
import { makeReading, readValue, TIDY, tooMany } from './value.ts';

/** What was asked. */
export interface Asked {
  readonly base: string;
  readonly certificateAttributes: readonly string[];
  /** What a search is that brought no certificate and a reference to another server. */
  readonly references: 'unavailable' | 'ignore';
}

/** Entries for one address: a person, perhaps twice, or those who share a mailbox. More than these are no answer. */
export const MAX_ENTRIES = 20;
/** Values for one address, and certificates in them. */
const MAX_VALUES = 500;
const MAX_REMARKS = 10;
const MAX_NAME = 120;

export interface ReadOptions {
  readonly asked: Asked;
  /** The name of it. */
  readonly source: string;
  /** Once it is aborted nobody waits, and the reading stops. */
  readonly signal: AbortSignal;
}

/** Throws `lookup-unavailable` where the answer is not whole, `AnswerRefused` where it is too much. */
export async function readFound(found: Found, { asked, source, signal }: ReadOptions): Promise<SourceAnswer> {
  const { base, certificateAttributes, references } = asked;
  assertWhole(found, base);
  const candidates: Candidate[] = [];
  const remarks: string[] = [];
  const remark = (text: string): void => {
    if (remarks.length < MAX_REMARKS) remarks.push(kept(text));
  };
  const reading = makeReading(signal);
  let values = 0;
  for (const entry of found.entries) {
    for (const attribute of entry.attributes) {
      if (!isAsked(attribute, certificateAttributes)) continue;
      let number = 0;
      for (const value of attribute.values()) {
        if (++values > MAX_VALUES) throw tooMany(MOST);
        await reading.part();
        const place = `${shown(entry)} ${shownText(attribute.description)}#${++number}`;
        const { certificates, fault } = await readValue(value, reading);
        for (const certificate of certificates) candidates.push({ certificate, source, place });
        if (candidates.length > MAX_VALUES) throw tooMany(MOST);
        if (fault !== undefined) remark(`${place}: ${fault}`);
      }
    }
  }
  const elsewhere = references === 'unavailable' && found.references.peopled > 0 ? unread(candidates.length) : undefined;
  if (candidates.length === 0 && elsewhere !== undefined) throw elsewhere;
  if (found.references.all > 0) remark(`${found.references.all} references to other servers are not followed`);
  const said = remarks.length > 0 ? { remarks } : {};
  if (candidates.length === 0) return { kind: 'absent', ...said };
  return elsewhere === undefined ? { kind: 'found', candidates, ...said } : { kind: 'found', candidates, incomplete: elsewhere, ...said };
}

const unread = (candidates: number): Error =>
  unavailable(candidates === 0 ? 'nothing but references to other servers came back' : 'references to other servers came back beside it', {
    hint: 'ask a server that holds all of it, such as a global catalog; or references: ignore, where nobody has an entry there',
  });

const MOST = `${MAX_VALUES} certificates`;

/** Throws `lookup-unavailable` where the server did not answer all of the search. */
export function assertWhole({ code }: Pick<Found, 'code'>, base: string): void {
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
    throw new AnswerRefused('an entry holds more values than the directory gives at once', TIDY);
  return true;
}

const shown = ({ name }: Entry): string => shownText(name);

/** For people: without what a terminal or log would take for more than text. */
const shownText = (text: string): string => kept(text.slice(0, MAX_NAME).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '\ufffd'));

/** A part of a text is a view that keeps all of it in memory: what outlives the answer is a copy (P6). */
const kept = (text: string): string => Buffer.from(text).toString();
