/**
 * Which certificates of an address are used: one pure function over what the sources answered (P9). docs/certificates.md says the
 * same in the same order, under "Choice":
 *
 *   1. Sources count in their order. The first that has a usable and trusted certificate decides; what later ones have is not used.
 *   2. A source that does not answer before that, or a certificate of the deciding source that cannot be judged now, makes the
 *      answer unavailable: it is never read as absent (P5), and the choice does not change with the weather. So does a source that
 *      could not read all it has, where nothing of what it found is usable.
 *   3. One certificate in two places of a source is one candidate, by the place that can be used: one place may be vouched for where
 *      the other is not. Of equal places the first in the order of the alphabet names it.
 *   4. Of the deciding source the newest is used: latest notBefore, then latest notAfter, then the smallest fingerprint.
 *   5. With it come up to two others of its key type, the newest first, so that a reader with two devices reads on both.
 *
 * Every other candidate keeps the reason why it is not used, a usable one too. The order within an answer changes nothing (A22).
 */
import { SealpostError } from '../errors.ts';
import type { Certificate } from './certificate.ts';
import type { Candidate } from './source.ts';

/** What address, usability, trust and revocation say of one candidate. `unknown`: it could not be judged now. */
export type Assessment =
  | { readonly kind: 'usable'; readonly path: readonly [Certificate, ...Certificate[]]; readonly revocation: string }
  | { readonly kind: 'rejected'; readonly reason: string }
  | { readonly kind: 'unknown'; readonly cause: unknown };

export interface Assessed extends Candidate {
  readonly verdict: Assessment;
}

/** One source and what it answered, in the order of the configuration; `not needed` where an earlier one decided. */
export type Consulted = { readonly source: string; readonly remarks: readonly string[] } & (
  | { readonly answer: 'found'; readonly candidates: readonly Assessed[]; readonly incomplete?: Error | undefined }
  | { readonly answer: 'absent' | 'not needed' }
  | { readonly answer: 'unavailable'; readonly cause: unknown }
);

/** A candidate that mail is sealed to. `revocation` is trust's word: `off`, `good: …`. `path` leads to the anchor. */
export interface Chosen extends Candidate {
  readonly path: readonly [Certificate, ...Certificate[]];
  readonly revocation: string;
}

/** A candidate that is not used, and why: `it expired on 2026-01-01`, `newer ones are used`. */
export interface Rejection extends Candidate {
  readonly reason: string;
  /** `usable` by itself, where another is used; `unknown` where it could not be judged. */
  readonly verdict: Assessment['kind'];
  /** Where trust has spoken. */
  readonly revocation: string | undefined;
}

/** What became of one source, for people. */
export interface Asked {
  readonly source: string;
  readonly answer: Consulted['answer'];
  readonly remarks: readonly string[];
  /** Why it is unavailable. */
  readonly cause?: unknown;
}

interface Account {
  /** Ranked: what could have been used first, then the newest. */
  readonly rejected: readonly Rejection[];
  readonly asked: readonly Asked[];
}

/** `chosen`: one to three, the newest first, all of its key type. */
export type Lookup = Account &
  (
    | { readonly kind: 'found'; readonly chosen: readonly [Chosen, ...Chosen[]] }
    | { readonly kind: 'absent' }
    /** `source`: who does not answer; `trust` where a certificate could not be judged, `pin` where one waits for approval. */
    | { readonly kind: 'unavailable'; readonly source: string; readonly cause: unknown }
  );

/** One reader is named by at most this many certificates: each costs a RecipientInfo in every message. */
export const MAX_CHOSEN = 3;

export function choose(consulted: readonly Consulted[]): Lookup {
  const asked = consulted.map(askedOf);
  const deciding = consulted.findIndex(decides);
  const outcome = outcomeOf(consulted[deciding]);
  const chosen = outcome.kind === 'found' ? outcome.chosen : [];
  const left: Left[] = consulted.flatMap((one, order) => {
    if (one.answer !== 'found') return [];
    const { first, again } = distinct(one.candidates);
    const why = (candidate: Assessed): string => reasonOf(candidate, { order, deciding, decider: consulted[deciding], chosen });
    return [
      ...first.filter((candidate) => order !== deciding || !isAmong(chosen, candidate)).map((one) => leave(one, order, why(one))),
      ...again.map(({ candidate, place }) => leave(candidate, order, `it is the same certificate as ${place}`)),
    ];
  });
  const rejected = left.sort(byRank).map(({ rejection }) => rejection);
  return { ...outcome, rejected, asked };
}

function askedOf(one: Consulted): Asked {
  const { source, answer, remarks } = one;
  return one.answer === 'unavailable' ? { source, answer, remarks, cause: one.cause } : { source, answer, remarks };
}

const decides = (one: Consulted): boolean =>
  one.answer === 'unavailable' ||
  (one.answer === 'found' && (one.incomplete !== undefined || one.candidates.some(({ verdict }) => verdict.kind !== 'rejected')));

type Outcome =
  | { readonly kind: 'found'; readonly chosen: readonly [Chosen, ...Chosen[]] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unavailable'; readonly source: string; readonly cause: unknown };

/** What the deciding source makes of the look-up; undefined is no such source. */
function outcomeOf(decider: Consulted | undefined): Outcome {
  if (decider?.answer === 'unavailable') return { kind: 'unavailable', source: decider.source, cause: decider.cause };
  if (decider?.answer !== 'found') return { kind: 'absent' };
  const { first } = distinct(decider.candidates);
  const unknown = first.find(({ verdict }) => verdict.kind === 'unknown');
  if (unknown?.verdict.kind === 'unknown') return { kind: 'unavailable', source: 'trust', cause: unknown.verdict.cause };
  const [newest, ...others] = first.flatMap(usableOne).sort(newestFirst);
  if (newest === undefined) {
    const { source, incomplete } = decider;
    return incomplete === undefined ? { kind: 'absent' } : { kind: 'unavailable', source, cause: incomplete };
  }
  const fellows = others.filter((other) => keyType(other) === keyType(newest));
  return { kind: 'found', chosen: [newest, ...fellows.slice(0, MAX_CHOSEN - 1)] };
}

const keyType = ({ certificate }: Candidate): string | undefined => certificate.key?.type;

function usableOne({ verdict, ...candidate }: Assessed): Chosen[] {
  return verdict.kind === 'usable' ? [{ ...candidate, path: verdict.path, revocation: verdict.revocation }] : [];
}

interface Place {
  readonly order: number;
  readonly deciding: number;
  readonly decider: Consulted | undefined;
  readonly chosen: readonly Chosen[];
}

/** Why a candidate that was not chosen was not. */
function reasonOf(candidate: Assessed, { order, deciding, decider, chosen }: Place): string {
  const { verdict } = candidate;
  if (verdict.kind === 'rejected') return verdict.reason;
  if (verdict.kind === 'unknown') return `it could not be judged now: ${causeText(verdict.cause)}`;
  const [newest] = chosen;
  if (order > deciding) {
    const what = newest === undefined ? 'gives no answer' : 'has a usable one';
    return `${decider?.source ?? 'another source'} is asked first and ${what}`;
  }
  if (newest === undefined) return 'another one of its source could not be judged now';
  return keyType(candidate) === keyType(newest) ? 'newer ones are used' : 'the newest has a key of another type';
}

/** Of a long message, which may name several lists with their URLs; a foreign one may hold anything, so it is for people's eyes behind an escape. */
const MAX_CAUSE = 600;

/** Why something is unavailable, in one line. */
export function causeText(cause: unknown): string {
  const own = cause instanceof SealpostError ? cause.detail : undefined;
  const text = (own ?? (cause instanceof Error && cause.message !== '' ? cause.message : 'no reason is known')).replaceAll(/\s+/g, ' ');
  return text.length > MAX_CAUSE ? `${text.slice(0, MAX_CAUSE)}…` : text;
}

/** A candidate that is left over, with the place of its source. */
interface Left {
  readonly rejection: Rejection;
  readonly order: number;
}

const leave = ({ verdict, ...candidate }: Assessed, order: number, reason: string): Left => ({
  rejection: { ...candidate, reason, verdict: verdict.kind, revocation: verdict.kind === 'usable' ? verdict.revocation : undefined },
  order,
});

const isAmong = (chosen: readonly Chosen[], { certificate }: Candidate): boolean =>
  chosen.some((one) => one.certificate.fingerprint === certificate.fingerprint);

interface Distinct {
  readonly first: readonly Assessed[];
  readonly again: readonly { readonly candidate: Assessed; readonly place: string }[];
}

/** A place whose verdict is worse hides nothing: the same record may be there as DANE-EE and as PKIX-EE. */
function distinct(candidates: readonly Assessed[]): Distinct {
  const first = new Map<string, Assessed>();
  const again: { candidate: Assessed; place: string }[] = [];
  for (const candidate of candidates.toSorted(byVerdict)) {
    const before = first.get(candidate.certificate.fingerprint);
    if (before === undefined) first.set(candidate.certificate.fingerprint, candidate);
    else again.push({ candidate, place: before.place });
  }
  return { first: [...first.values()], again };
}

const compare = (a: string | number, b: string | number): number => (a < b ? -1 : a > b ? 1 : 0);

function newestFirst(a: Candidate, b: Candidate): number {
  const [one, other] = [a.certificate, b.certificate];
  return (
    other.notBefore.getTime() - one.notBefore.getTime() ||
    other.notAfter.getTime() - one.notAfter.getTime() ||
    compare(one.fingerprint, other.fingerprint)
  );
}

const ranks: Readonly<Record<Assessment['kind'], number>> = { usable: 0, unknown: 1, rejected: 2 };

const byVerdict = (a: Assessed, b: Assessed): number => ranks[a.verdict.kind] - ranks[b.verdict.kind] || compare(a.place, b.place);

const byRank = (a: Left, b: Left): number =>
  ranks[a.rejection.verdict] - ranks[b.rejection.verdict] ||
  newestFirst(a.rejection, b.rejection) ||
  a.order - b.order ||
  compare(a.rejection.place, b.rejection.place);
