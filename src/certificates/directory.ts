/**
 * The certificates of a recipient: sources asked in order, candidates judged by usability and trust, one choice (P9).
 * `absent` is a fact: every source was asked and answered. `unavailable` is never read as absent (P5).
 *
 * The rule. Sources are asked in the order of the configuration, and the first that has a usable and trusted certificate for the
 * address decides; later ones are not asked. A source that cannot answer before that ends the look-up as unavailable. Within the
 * source the newest certificate wins (latest notBefore, then latest notAfter, then the smallest fingerprint), and with it come up
 * to two others of its key type, so that a reader with two devices reads on both. What is not trusted is never
 * chosen, however new it is (A22).
 */
import type { Logger } from 'pino';
import { mailboxKey } from '../message/envelope.ts';
import type { Mailbox } from '../message/envelope.ts';
import type { Candidate, CertificateSource, SourceAnswer } from './source.ts';
import type { Trust } from './trust.ts';
import { usability } from './usability.ts';

/** A candidate that is not used, and why: `expired on 2026-01-01`, `for signing only`, `no path to an anchor: …`. */
export interface Rejection extends Candidate {
  readonly reason: string;
}

/** `chosen`: one to three, the newest first, all of its key type. `rejected` is kept for explain and the log. */
export type Lookup =
  | { readonly kind: 'found'; readonly chosen: readonly [Candidate, ...Candidate[]]; readonly rejected: readonly Rejection[] }
  | { readonly kind: 'absent'; readonly rejected: readonly Rejection[] }
  | { readonly kind: 'unavailable'; readonly source: string; readonly cause: unknown };

/** What relay and explain ask. Never throws. */
export interface Directory {
  lookup(mailbox: Mailbox): Promise<Lookup>;
}

export interface DirectoryOptions {
  readonly sources: readonly CertificateSource[];
  readonly trust: Trust;
  /** ms */
  readonly now: () => number;
  readonly log: Logger;
  /** ms for one look-up, all its sources and what trust asks; beyond it the answer is unavailable. */
  readonly patience: number;
}

/** One reader is named by at most this many certificates: each costs a RecipientInfo in every message. */
const MAX_CHOSEN = 3;

export function makeDirectory({ sources, trust, now, log, patience }: DirectoryOptions): Directory {
  return {
    lookup: async (mailbox) => {
      const rejected: Rejection[] = [];
      const signal = AbortSignal.timeout(patience);
      for (const source of sources) {
        const answer = await ask(source, mailbox, signal);
        if (answer.kind === 'unavailable') {
          log.warn({ source: source.name, err: answer.cause }, 'certificate source is unavailable');
          return { kind: 'unavailable', source: source.name, cause: answer.cause };
        }
        if (answer.kind === 'absent') continue;
        const good: Candidate[] = [];
        for (const candidate of distinct(answer.candidates)) {
          const verdict = await judge(candidate, { mailbox, trust, now: now(), signal });
          if (verdict.kind === 'unavailable') {
            log.warn({ source: 'trust', err: verdict.cause }, 'certificate source is unavailable');
            return { kind: 'unavailable', source: 'trust', cause: verdict.cause };
          }
          if (verdict.kind === 'good') good.push(candidate);
          else rejected.push({ ...candidate, reason: verdict.reason });
        }
        const [newest, ...others] = good.sort(newestFirst);
        if (newest === undefined) continue;
        const fellows = others.filter(({ certificate }) => certificate.key?.type === newest.certificate.key?.type);
        return { kind: 'found', chosen: [newest, ...fellows.slice(0, MAX_CHOSEN - 1)], rejected };
      }
      return { kind: 'absent', rejected };
    },
  };
}

/** A source promises not to throw; where one does, that is no proof of absence. */
async function ask(source: CertificateSource, mailbox: Mailbox, signal: AbortSignal): Promise<SourceAnswer> {
  try {
    return await source.lookup(mailbox, signal);
  } catch (cause) {
    return { kind: 'unavailable', cause };
  }
}

type Judgement =
  | { readonly kind: 'good' }
  | { readonly kind: 'bad'; readonly reason: string }
  | { readonly kind: 'unavailable'; readonly cause: unknown };

interface Question {
  readonly mailbox: Mailbox;
  readonly trust: Trust;
  /** ms */
  readonly now: number;
  readonly signal: AbortSignal;
}

async function judge({ certificate, vouched }: Candidate, { mailbox, trust, now, signal }: Question): Promise<Judgement> {
  // A source answers for what it finds, not for whom it names: an LDAP entry may hold somebody else's certificate.
  if (!certificate.addresses.includes(mailboxKey(mailbox))) return { kind: 'bad', reason: 'it does not name this address' };
  const usable = usability(certificate, now);
  if (usable.kind === 'unusable') return { kind: 'bad', reason: usable.reason };
  if (vouched !== undefined) return { kind: 'good' };
  const verdict = await trust.judge(certificate, mailbox, signal);
  if (verdict.kind === 'unavailable') return verdict;
  return verdict.kind === 'trusted' ? { kind: 'good' } : { kind: 'bad', reason: verdict.reason };
}

/** The same certificate in two files is one candidate, named by the first place. */
const distinct = (candidates: readonly Candidate[]): readonly Candidate[] => {
  const seen = new Set<string>();
  return candidates.filter(({ certificate: { fingerprint } }) => !seen.has(fingerprint) && seen.add(fingerprint));
};

function newestFirst(a: Candidate, b: Candidate): number {
  const [one, other] = [a.certificate, b.certificate];
  return (
    other.notBefore.getTime() - one.notBefore.getTime() ||
    other.notAfter.getTime() - one.notAfter.getTime() ||
    (one.fingerprint < other.fingerprint ? -1 : 1)
  );
}
