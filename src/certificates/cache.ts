/**
 * What a remote source answered, kept for a while. Files need none of this: their folder is live.
 *
 * An answer is fresh for `found` or `absent`; then the source is asked anew. Where it does not answer, what it found before is used
 * up to `stale`, and that is logged: a directory that is restarted stops no mail. For half a minute the address is then not asked
 * for again, since a source that hangs would make every message wait. Absence is never used beyond its age: somebody may have got a
 * certificate since (P5). `unavailable` is no answer and is not kept. A source may say itself how long its answer holds (`until`).
 *
 * What was found proves no absence either once none of it can be used: the certificate has expired, and the next one may be there.
 * Such an answer carries `again`, which asks the source past the memory; what comes of that proves absence for the age of `absent`,
 * so that mail to an address whose certificate is useless asks no more often than mail to one that has none.
 *
 * An address is asked for once at a time: whoever asks meanwhile waits for the same flight. A flight has a time box of its own, so
 * that whoever asked first and goes away takes it from nobody. Found and absent answers are kept apart, each the last ones used
 * within its bounds: a run of made-up addresses drives no certificate out (P6).
 */
import type { Logger } from 'pino';
import { mailboxKey } from '../message/envelope.ts';
import type { Mailbox } from '../message/envelope.ts';
import type { CertificateSource, SourceAnswer } from './source.ts';
import { heeding, unlessAborted, within } from './time-box.ts';

/** ms */
export interface CacheAges {
  /** How long what was found is used without asking. */
  readonly found: number;
  readonly absent: number;
  /** How long, from when it was found, it is used while the source does not answer. */
  readonly stale: number;
}

export interface CacheOptions {
  readonly ages: CacheAges;
  /** ms */
  readonly now: () => number;
  readonly log: Logger;
  /** ms for one flight; where an old answer is at hand, nobody waits for more than half of it. */
  readonly patience: number;
  readonly bounds?: Partial<CacheBounds>;
}

export interface CacheBounds {
  /** Of each kind of answer. */
  readonly entries: number;
  /** Of all that is kept, about. */
  readonly octets: number;
}

const usualBounds: CacheBounds = { entries: 10_000, octets: 64 * 1024 * 1024 };
/** Memory that was measured: a certificate that was read takes about so many octets and times its DER; an entry by itself so many. */
const CERTIFICATE_OCTETS = 3072;
const READ_TO_DER = 4;
const ENTRY_OCTETS = 512;
/** ms between two log lines about one source. */
const QUIET_MS = 60_000;
/** ms for which an old answer is used without asking, behind a question that got none. */
const REST_MS = 30_000;

type Known = Exclude<SourceAnswer, { kind: 'unavailable' }>;

interface Kept<Answer> {
  readonly answer: Answer;
  /** ms */
  readonly at: number;
  readonly octets: number;
}

interface Found extends Kept<Extract<Known, { kind: 'found' }>> {
  /** ms: until then the source is not asked again, since it has just given no answer. */
  restUntil: number;
  /** The source was asked past the memory for it: for the age of `absent` it counts as first-hand. */
  confirmed: boolean;
}
type Absent = Kept<Extract<Known, { kind: 'absent' }>>;

export function makeCachedSource(source: CertificateSource, { ages, now, log, patience, bounds }: CacheOptions): CertificateSource {
  const limits = { ...usualBounds, ...bounds };
  const [found, absent] = [makeShelf<Found>(limits), makeShelf<Absent>(limits)];
  const flights = new Map<string, Promise<SourceAnswer>>();
  const keyOf = (mailbox: Mailbox): string => source.keyOf?.(mailbox) ?? mailboxKey(mailbox);
  let quietUntil = -Infinity;

  /** A clock that was set back makes an answer of the future: it is asked for anew. */
  const isWithin = ({ at, answer: { until = Infinity } }: Kept<Known>, age: number): boolean => {
    const time = now();
    return at <= time && time < Math.min(at + age, until);
  };
  /** Also false where the clock was set back by more than `longest`. */
  const isBefore = (time: number, longest: number): boolean => now() < time && time - now() <= longest;
  const keep = (key: string, answer: SourceAnswer): void => {
    if (answer.kind === 'unavailable') return;
    const at = now();
    found.remove(key);
    absent.remove(key);
    if (answer.kind === 'absent') absent.put(key, { answer, at, octets: octetsOf(answer) });
    else found.put(key, { answer, at, octets: octetsOf(answer), restUntil: -Infinity, confirmed: false });
  };
  const fly = async (key: string, mailbox: Mailbox): Promise<SourceAnswer> => {
    try {
      const answer = await within(patience, (signal) => source.lookup(mailbox, signal));
      keep(key, answer);
      return answer;
    } catch (cause) {
      return { kind: 'unavailable', cause };
    } finally {
      flights.delete(key);
    }
  };
  const join = async (key: string, mailbox: Mailbox, signal: AbortSignal): Promise<SourceAnswer> => {
    const flight = flights.get(key) ?? fly(key, mailbox);
    flights.set(key, flight);
    try {
      return await unlessAborted(signal, () => flight);
    } catch (cause) {
      return { kind: 'unavailable', cause };
    }
  };
  const isConfirmed = (one: Found): boolean => one.confirmed && isWithin(one, ages.absent);
  /** Past the memory, for one to whom `old` was of no use; where others asked meanwhile, what they heard. */
  const askAgain = async (key: string, mailbox: Mailbox, old: Found, signal: AbortSignal): Promise<SourceAnswer> => {
    if (!flights.has(key)) {
      const kept = found.get(key) ?? absent.get(key);
      if (kept !== undefined && (kept !== old || isConfirmed(old))) return kept.answer;
      if (isBefore(old.restUntil, REST_MS)) return resting;
    }
    const answer = await join(key, mailbox, signal);
    const kept = found.get(key);
    if (answer.kind === 'unavailable') old.restUntil = now() + REST_MS;
    else if (kept?.answer === answer) kept.confirmed = true;
    return answer;
  };
  const remembered = (key: string, mailbox: Mailbox, old: Found): Found['answer'] =>
    isConfirmed(old) ? old.answer : { ...old.answer, again: (signal) => askAgain(key, mailbox, old, signal) };
  const tell = (at: number, cause: unknown): void => {
    if (isBefore(quietUntil, QUIET_MS)) return;
    quietUntil = now() + QUIET_MS;
    log.warn(
      { source: source.name, age_seconds: Math.round((now() - at) / 1000), err: cause },
      'certificate source is unavailable: what it found before is used',
    );
  };
  return {
    name: source.name,
    close: () => source.close(),
    lookup: async (mailbox, signal) => {
      const key = keyOf(mailbox);
      const [old, nothing] = [found.get(key), absent.get(key)];
      if (old !== undefined && isWithin(old, ages.found)) return remembered(key, mailbox, old);
      if (nothing !== undefined && isWithin(nothing, ages.absent)) return nothing.answer;
      if (old === undefined || !isWithin(old, ages.stale)) return join(key, mailbox, signal);
      const answer = isBefore(old.restUntil, REST_MS)
        ? resting
        : await heeding(signal, patience / 2, (enough) => join(key, mailbox, enough));
      // Its age may have ended while the source was waited for.
      if (answer.kind !== 'unavailable' || !isWithin(old, ages.stale)) return answer;
      if (answer !== resting) old.restUntil = now() + REST_MS;
      tell(old.at, answer.cause);
      const remarks = [...(old.answer.remarks ?? []), `answered at ${timeText(old.at)}; it does not answer now`];
      return { ...remembered(key, mailbox, old), remarks };
    },
  };
}

const resting: SourceAnswer = { kind: 'unavailable', cause: new Error('it gave no answer a moment ago') };

const timeText = (at: number): string => new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');

/** Two octets for each code unit of a text, which may be outside Latin-1. */
const octetsOf = (answer: Known): number =>
  (answer.kind === 'found' ? answer.candidates : []).reduce(
    (sum, { certificate, place }) => sum + CERTIFICATE_OCTETS + READ_TO_DER * certificate.der.length + 2 * place.length,
    (answer.remarks ?? []).reduce((sum, remark) => sum + 2 * remark.length, ENTRY_OCTETS),
  );

/** The entries that were used last, within bounds. */
interface Shelf<Entry> {
  get(key: string): Entry | undefined;
  put(key: string, entry: Entry): void;
  remove(key: string): void;
}

function makeShelf<Entry extends { readonly octets: number }>({ entries: most, octets: room }: CacheBounds): Shelf<Entry> {
  // A Map keeps the order in which keys came: the first is the one that was not used for longest.
  const entries = new Map<string, Entry>();
  let octets = 0;
  const remove = (key: string): void => {
    octets -= entries.get(key)?.octets ?? 0;
    entries.delete(key);
  };
  return {
    remove,
    get: (key) => {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      entries.delete(key);
      entries.set(key, entry);
      return entry;
    },
    put: (key, entry) => {
      remove(key);
      if (entry.octets > room) return;
      entries.set(key, entry);
      octets += entry.octets;
      for (const oldest of entries.keys()) {
        if (entries.size <= most && octets <= room) break;
        remove(oldest);
      }
    },
  };
}
