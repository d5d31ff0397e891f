/**
 * Certificates that the recipient's own domain publishes in DNS (RFC 8162): only what is authenticated by DNSSEC counts (A27).
 *
 * The resolver on this machine validates and says so with AD. What it answers is read like this:
 * - AD and records: their certificates are candidates. AD and none, or no such name: absent, a proven fact.
 * - No AD: the zone is not signed, so nothing of it is used: absent, with a remark. That is a fact about the zone only where the
 *   resolver validates at all, and it may have ceased to a moment ago: the root is asked each time, which costs a validating resolver
 *   nothing, and without AD there too it is unavailable (P5).
 * - SERVFAIL, which is also what signatures that do not fit come to, any other code, silence, nonsense: unavailable.
 */
import { SealpostError } from '../../errors.ts';
import type { Mailbox } from '../../message/envelope.ts';
import type { Candidate, CertificateSource, SourceAnswer } from '../source.ts';
import { ownerNames } from './owner.ts';
import { readSmimea } from './record.ts';
import type { Resolver } from './resolver.ts';
import { type DnsRecord, type DnsResponse, recordTypes, responseCodes } from './wire.ts';

export interface SmimeaOptions {
  readonly resolver: Resolver;
  /** `dnssec`: what DNSSEC authenticates as DANE-EE needs no anchor. */
  readonly trust: 'anchors' | 'dnssec';
  /** ms */
  readonly now: () => number;
}

/** A domain may publish more; nobody has more devices. */
const MAX_USED = 10;
/** RFC 2181 §10.1.1: more than one alias behind another is possible, and seldom. */
const MAX_ALIASES = 8;
/** Bounds of what a zone may say of how long its answers hold, in seconds. */
const LEAST_TTL = 60;
const MOST_TTL = 86_400;
/** RFC 2308 §5: three hours and more of a wrong absence have proved to be trouble. */
const MOST_ABSENT_TTL = 3_600;

/** The answer for one name; `proven` where DNSSEC says so. */
type Outcome = Exclude<SourceAnswer, { kind: 'unavailable' }> & { readonly proven: boolean; readonly until: number };

export function makeSmimeaSource({ resolver, trust, now }: SmimeaOptions): CertificateSource {
  const source = `smimea ${resolver.name}`;

  const judge = async (name: string, signal: AbortSignal): Promise<Outcome> => {
    const response = await resolver.ask(name, recordTypes.smimea, signal);
    assertAnswered(response, resolver);
    const records = recordsOf(response, name);
    const until = now() + lifeOf(response, records) * 1000;
    if (!response.authenticated) {
      await assertValidates(resolver, signal);
      const what = records.length > 0 ? 'its SMIMEA records are' : 'what DNS says of it is';
      return { kind: 'absent', proven: false, until, remarks: [`${name}: ${what} not used: the zone is not signed with DNSSEC`] };
    }
    const remarks: string[] = [];
    // In an order of our own: resolvers rotate theirs, and the choice shall be the same each time.
    const sorted = records.map(({ data }) => data).sort((a, b) => Buffer.compare(a, b));
    if (sorted.length > MAX_USED) remarks.push(`${name}: of ${sorted.length} SMIMEA records ${MAX_USED} are looked at`);
    const candidates: Candidate[] = [];
    for (const [index, data] of sorted.slice(0, MAX_USED).entries()) {
      const place = `${name}#${index + 1}`;
      const read = readSmimea(data);
      if (read.kind === 'passed over') remarks.push(`${place}: the SMIMEA record is not used: ${read.reason}`);
      else
        candidates.push({
          certificate: read.certificate,
          source,
          place,
          ...(read.vouched && trust === 'dnssec' ? { vouched: 'DNSSEC' } : {}),
        });
    }
    return candidates.length === 0
      ? { kind: 'absent', proven: records.length === 0, until, remarks }
      : { kind: 'found', proven: true, candidates, until, remarks };
  };

  return {
    name: source,
    close: () => {},
    // Case counts in what is asked (owner.ts): what stands under `Ben` alone is not there for `ben`.
    keyOf: (mailbox) => ownerNames(mailbox).join(' '),
    lookup: async (mailbox, signal) => {
      try {
        return await firstOf(mailbox, (name) => judge(name, signal));
      } catch (cause) {
        return { kind: 'unavailable', cause };
      }
    },
  };
}

/** Throws `lookup-unavailable` where the resolver does not validate: then the lack of AD says nothing about a zone. */
export async function assertValidates(resolver: Resolver, signal: AbortSignal): Promise<void> {
  const root = await resolver.ask('.', recordTypes.soa, signal);
  if (root.authenticated) return;
  const detail = `the resolver ${resolver.name} does not validate: not even its answer for the root is authenticated`;
  throw new SealpostError('lookup-unavailable', { detail, hint: 'use one that validates with DNSSEC; docs/smimea.md shows unbound' });
}

/** The second name is asked only where there is proof that the first does not exist: else a signed zone and its records decide. */
async function firstOf(mailbox: Mailbox, judge: (name: string) => Promise<Outcome>): Promise<SourceAnswer> {
  let until = Infinity;
  for (const name of ownerNames(mailbox)) {
    const { proven, ...answer } = await judge(name);
    if (answer.kind === 'found') return answer;
    // An absence that rests on two answers holds as long as both.
    until = Math.min(until, answer.until);
    if (!proven) return { ...answer, until };
  }
  return until === Infinity ? { kind: 'absent' } : { kind: 'absent', until };
}

function assertAnswered({ code, extendedError }: DnsResponse, { name }: Resolver): void {
  if (code === responseCodes.noError || code === responseCodes.nameError) return;
  const failed = code === responseCodes.serverFailure;
  throw new SealpostError('lookup-unavailable', {
    detail: `the resolver ${name} answers ${codeNames.get(code) ?? `code ${code}`}${extendedText(extendedError)}`,
    ...(failed ? { hint: "the domain's servers are down, or its DNSSEC signatures are wrong: the log of the resolver says which" } : {}),
  });
}

/** Only what a number of the registry means: the text beside it is the resolver's, and may quote anybody. */
function extendedText(code: number | undefined): string {
  return code === undefined ? '' : ` (${extendedErrors.get(code) ?? `extended error ${code}`})`;
}

/** RFC 8914 §4, those that tell a zone whose signatures are wrong from one whose servers are down. */
const extendedErrors: ReadonlyMap<number, string> = new Map([
  [5, 'DNSSEC indeterminate'],
  [6, 'DNSSEC bogus: its signatures do not fit'],
  [7, 'its DNSSEC signature has expired'],
  [8, 'its DNSSEC signature is not valid yet'],
  [9, 'no DNSKEY of it fits its DS'],
  [10, 'its DNSSEC signatures are missing'],
  [12, 'its proof of absence (NSEC) is missing'],
  [22, 'none of its servers can be reached'],
  [23, 'a network error on the way to its servers'],
]);

const codeNames: ReadonlyMap<number, string> = new Map([
  [responseCodes.formatError, 'FORMERR'],
  [responseCodes.serverFailure, 'SERVFAIL'],
  [responseCodes.notImplemented, 'NOTIMP'],
  [responseCodes.refused, 'REFUSED'],
]);

/**
 * Those of `name`, or of where its aliases lead within this one answer; AD speaks for all of it. Throws `lookup-unavailable` where they
 * lead on and on: what stands at their end was not seen, and is not absent.
 */
function recordsOf({ answers }: DnsResponse, name: string): readonly DnsRecord[] {
  let owner = name;
  const passed = new Set([owner]);
  for (let hop = 0; hop <= MAX_ALIASES; hop++) {
    const own = answers.filter((record) => record.owner === owner);
    const alias = own.find(({ type }) => type === recordTypes.cname)?.target;
    if (alias === undefined) return own.filter(({ type }) => type === recordTypes.smimea);
    if (passed.has(alias)) return [];
    passed.add(alias);
    owner = alias;
  }
  throw new SealpostError('lookup-unavailable', { detail: `${name}: more than ${MAX_ALIASES} aliases, one behind the other` });
}

/** Seconds for which the answer may be kept. */
function lifeOf({ answers, absentFor }: DnsResponse, records: readonly DnsRecord[]): number {
  const least = Math.min(...answers.map(({ ttl }) => ttl), ...(records.length === 0 ? [absentFor ?? 0, MOST_ABSENT_TTL] : [MOST_TTL]));
  return Math.max(least, LEAST_TTL);
}
