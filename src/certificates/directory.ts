/**
 * The certificates of one address: sources asked in order, candidates judged by address, usability and trust, one choice (P9).
 * `absent` is a fact: every source was asked and answered. `unavailable` is never read as absent (P5). What is chosen, and why not
 * the others, says choose.ts; here stands who is asked, for how long, and how each candidate is judged.
 */
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { mailboxKey } from '../message/envelope.ts';
import type { Mailbox } from '../message/envelope.ts';
import { unplaced } from './cause.ts';
import { type Assessed, type Assessment, choose, type Consulted, type Lookup } from './choose.ts';
import { type KnownCertificates, makeHold } from './known.ts';
import type { Candidate, CertificateSource, SourceAnswer } from './source.ts';
import { within } from './time-box.ts';
import { makeSoftPatience, type SoftPatience } from './revocation/policy.ts';
import type { Trust } from './trust.ts';
import { usability } from './usability.ts';

export type { Chosen, Lookup, Rejection } from './choose.ts';

/** `thorough` asks every source, also where one has decided: for people. The answer is the same, with more candidates to show. */
export interface LookupWish {
  readonly thorough?: boolean;
}

/** Asked for one address. Never throws, and answers within its patience whatever a source does. */
export interface Directory {
  lookup(mailbox: Mailbox, wish?: LookupWish): Promise<Lookup>;
}

export interface DirectoryOptions {
  readonly sources: readonly CertificateSource[];
  readonly trust: Trust;
  /** ms */
  readonly now: () => number;
  readonly log: Logger;
  /** ms for one look-up, all its sources and what trust asks; beyond it the answer is unavailable. */
  readonly patience: number;
  /** Where certificates are pinned to those that are known. */
  readonly known?: KnownCertificates | undefined;
}

/** More certificates for one address are nobody's practice: the answer counts as none, rather than as a part of it. */
const MAX_CANDIDATES = 1000;
/** Candidates of one answer that are judged side by side: trust may have to ask elsewhere for each. */
const SIDE_BY_SIDE = 8;
/** Milliseconds of judging after which others get their turn. */
const TURN_MS = 10;

export function makeDirectory({ sources, trust, now, log, patience, known }: DirectoryOptions): Directory {
  return {
    lookup: async (mailbox, { thorough = false } = {}) => {
      const ends = performance.now() + patience;
      const left = (): number => (thorough ? patience : ends - performance.now());
      // One for all certificates: many that name one dead server cost a look-up no more than one does.
      const soft = makeSoftPatience();
      const hold = makeHold(known, mailboxKey(mailbox), left);
      const consulted: Consulted[] = [];
      for (const source of sources) {
        const remarks: readonly string[] = [];
        const answer = choose(consulted).kind;
        if (!thorough && answer !== 'absent') consulted.push({ source: source.name, answer: 'not needed', remarks });
        else consulted.push(await hold.apply(await consult(source, { mailbox, trust, now, left, soft })));
      }
      const lookup = hold.conclude(choose(consulted));
      if (lookup.kind === 'unavailable')
        log.warn({ source: lookup.source, err: unplaced(lookup.cause) }, 'certificate source is unavailable');
      return lookup;
    },
  };
}

interface Question {
  readonly mailbox: Mailbox;
  readonly trust: Trust;
  /** ms */
  readonly now: () => number;
  /** ms that may still be waited. */
  readonly left: () => number;
  readonly soft: SoftPatience;
}

async function consult(source: CertificateSource, question: Question): Promise<Consulted> {
  const answer = await ask(question, (signal) => source.lookup(question.mailbox, signal));
  const consulted = await read(source.name, answer, question);
  if (answer.kind !== 'found' || answer.again === undefined || isOfUse(consulted)) return consulted;
  // Nothing of what is remembered can be used: it may have been renewed since, which the source alone knows.
  return read(source.name, await ask(question, answer.again), question);
}

/** A source promises not to throw and to heed its signal; where one does not, that is no proof of absence. */
async function ask({ left }: Question, lookup: (signal: AbortSignal) => Promise<SourceAnswer>): Promise<SourceAnswer> {
  try {
    return await within(left(), lookup);
  } catch (cause) {
    return { kind: 'unavailable', cause };
  }
}

/** One that cannot be judged now is: the source would answer the same. */
const isOfUse = (consulted: Consulted): boolean =>
  consulted.answer === 'found' && consulted.candidates.some(({ verdict }) => verdict.kind !== 'rejected');

/** What an answer comes to, with a verdict of each candidate. */
async function read(source: string, answer: SourceAnswer, question: Question): Promise<Consulted> {
  if (answer.kind === 'unavailable') return { source, answer: 'unavailable', cause: answer.cause, remarks: [] };
  const { remarks = [] } = answer;
  if (answer.kind === 'absent') return { source, answer: 'absent', remarks };
  if (answer.candidates.length > MAX_CANDIDATES) {
    const cause = new Error(`more than ${MAX_CANDIDATES} certificates for one address`);
    return { source, answer: 'unavailable', cause, remarks };
  }
  const { candidates, incomplete } = answer;
  return { source, answer: 'found', candidates: await assess(candidates, question), remarks, incomplete };
}

async function assess(candidates: readonly Candidate[], question: Question): Promise<Assessed[]> {
  const assessed: Assessed[] = [];
  let turn = performance.now();
  for (let at = 0; at < candidates.length; at += SIDE_BY_SIDE) {
    const some = candidates.slice(at, at + SIDE_BY_SIDE);
    assessed.push(...(await Promise.all(some.map(async (one) => ({ ...one, verdict: await judge(one, question) })))));
    if (performance.now() - turn < TURN_MS) continue;
    await setImmediate();
    turn = performance.now();
  }
  return assessed;
}

async function judge({ certificate, vouched }: Candidate, { mailbox, trust, now, left, soft }: Question): Promise<Assessment> {
  // A source answers for what it finds, not for whom it names: an LDAP entry may hold somebody else's certificate.
  if (!certificate.addresses.includes(mailboxKey(mailbox))) return { kind: 'rejected', reason: 'it does not name this address' };
  const usable = usability(certificate, now());
  if (usable.kind === 'unusable') return { kind: 'rejected', reason: usable.reason };
  if (vouched !== undefined) return { kind: 'usable', path: [certificate], revocation: `vouched for by ${vouched}` };
  try {
    const verdict = await within(left(), (signal) => trust.judge(certificate, mailbox, signal, soft));
    if (verdict.kind === 'unavailable') return { kind: 'unknown', cause: verdict.cause };
    if (verdict.kind === 'untrusted') return { kind: 'rejected', reason: verdict.reason };
    return { kind: 'usable', path: verdict.path, revocation: verdict.revocation };
  } catch (cause) {
    return { kind: 'unknown', cause };
  }
}
