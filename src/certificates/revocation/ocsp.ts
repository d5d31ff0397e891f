/**
 * Asking OCSP responders (RFC 6960 appendix A.1: POST over HTTP), and remembering what they said.
 *
 * An answer counts until its nextUpdate, and is asked for anew in the background when half of that has passed, so that no look-up
 * waits for a responder that was there this morning. What came to nothing is remembered too, for a time that grows: a responder
 * that answers nonsense costs one look-up its time and not each (P6), and one that is dead `fetch` leaves alone. Askers for one
 * certificate share one request.
 *
 * `revoked` counts for good, but for a hold: who has the key need only keep us from the responder for as long as an answer lasts.
 * And an answer that has ended, kept on disk, still tells which ones are older (A23).
 */
import { createHash } from 'node:crypto';
import type { Certificate } from '../certificate.ts';
import { FetchRefused } from './fetch.ts';
import { certIdOf, ocspRequest, ocspRequestType } from './ocsp-request.ts';
import { isFinal, judgeOcspResponse, OCSP_LIMITS } from './ocsp-response.ts';
import type { OcspQuestion, OcspVerdict } from './ocsp-response.ts';
import { heeding } from '../time-box.ts';
import type { CertId } from './ocsp-request.ts';
import type { FetchDocument, RevocationSource, RevocationStatus } from './revocation.ts';

/** Where answers outlive the process. Neither throws; what comes back is judged like any stranger's octets. */
export interface AnswerStore {
  /** `name` is 64 hexadecimal digits. */
  read(name: string): Promise<Buffer | undefined>;
  write(name: string, octets: Buffer): Promise<void>;
}

export interface OcspOptions {
  readonly fetch: FetchDocument;
  /** ms */
  readonly now: () => number;
  readonly store?: AnswerStore;
  /** What lists that are at hand say of a responder's certificate. Never throws. */
  readonly listed?: (certificate: Certificate, issuer: Certificate) => Promise<RevocationStatus>;
}

/** One request, whoever waits for it. */
const REQUEST_MS = 10_000;
/** Responders of one certificate that are asked, in its order. */
const MAX_RESPONDERS = 3;
const MAX_REMEMBERED = 10_000;
/** A failure is remembered for this long, twice as long each time it repeats, and at most so long. */
const FIRST_PAUSE_MS = 30_000;
const LONGEST_PAUSE_MS = 5 * 60_000;
/** However long an answer lasts, a revocation of today should be known tomorrow. */
const LONGEST_REST_MS = 24 * 3_600_000;
/** What nobody asked about for so long after it came due is not taken unasked: its renewal is waited for. */
const OVERDUE_MS = LONGEST_REST_MS;
/** And for so long, since it counts where nobody answers. */
const RENEWAL_PATIENCE_MS = 3000;

interface Known {
  readonly status: RevocationStatus;
  /** ms: when it was learned. Where that is still to come the clock was ahead, and no time that was reckoned from it holds. */
  readonly at: number;
  /** ms: thisUpdate of the answer; 0 where there is none. */
  readonly since: number;
  /** ms: the status counts so long. */
  readonly until: number;
  /** ms: asked for anew from then on. */
  readonly renewAt: number;
  readonly failures: number;
}

/** The store stays the caller's. */
export function makeOcspSource({ fetch, now, store, listed }: OcspOptions): RevocationSource {
  const known = new Map<string, Known>();
  const flights = new Map<string, Promise<RevocationStatus>>();
  const closing = new AbortController();

  const remember = (key: string, entry: Known): RevocationStatus => {
    known.delete(key);
    known.set(key, entry);
    for (const oldest of known.keys()) {
      if (known.size <= MAX_REMEMBERED) break;
      known.delete(oldest);
    }
    return entry.status;
  };

  /** Octets from one responder, or why there are none. */
  const request = async (url: string, octets: Buffer, issuer: Certificate): Promise<Buffer | Unanswered> => {
    try {
      closing.signal.throwIfAborted();
      const asked = { url, of: issuer.fingerprint, body: { type: ocspRequestType, octets }, maxBytes: OCSP_LIMITS.bytes };
      return await heeding(closing.signal, REQUEST_MS, (signal) => fetch(asked, signal));
    } catch (error) {
      const why = error instanceof Error && error.name !== 'TimeoutError' ? error.message : 'it does not answer in time';
      return unanswered(why, error instanceof FetchRefused);
    }
  };

  /** What octets from wherever say. */
  const judge = async (octets: Buffer, question: OcspQuestion): Promise<OcspVerdict> => {
    const verdict = judgeOcspResponse(octets, question);
    if (verdict.kind === 'unknown' || verdict.signer === undefined) return verdict;
    // Lists need no responder, so this goes in no circle.
    const isRevoked = (await listed?.(verdict.signer, question.issuer))?.kind === 'revoked';
    return isRevoked ? { kind: 'unknown', why: 'the responder that signed its answer was revoked, says a list' } : verdict;
  };

  /** What an earlier run was told. */
  const recall = async (key: string, certificate: Certificate, issuer: Certificate, url = ''): Promise<Known | undefined> => {
    if (store === undefined || flights.has(key)) return undefined;
    const id = certIdOf(certificate, issuer);
    const kept = await store.read(nameOf(id, issuer));
    if (kept === undefined) return known.get(key);
    const verdict = await judge(kept, { id, issuer, now: now(), kept: true });
    if (known.has(key)) return known.get(key);
    if (verdict.kind !== 'unknown') remember(key, entryOf(verdict, url, now(), verdict.since));
    else if (verdict.since !== undefined)
      remember(key, {
        status: { ...verdict, lasting: false },
        at: now(),
        since: verdict.since,
        until: -Infinity,
        renewAt: -Infinity,
        failures: 0,
      });
    return known.get(key);
  };

  const ask = async (key: string, certificate: Certificate, issuer: Certificate, urls: readonly string[]): Promise<RevocationStatus> => {
    const id = certIdOf(certificate, issuer);
    const before = known.get(key);
    const whys: string[] = [];
    let lasting = true;
    for (const url of urls) {
      const answer = await request(url, ocspRequest(id), issuer);
      const verdict = Buffer.isBuffer(answer) ? answered(await judge(answer, { id, issuer, now: now() }), before?.since) : answer;
      if (Buffer.isBuffer(answer) && verdict.kind !== 'unknown') {
        await store?.write(nameOf(id, issuer), answer);
        return remember(key, entryOf(verdict, url, now()));
      }
      if (verdict.kind !== 'unknown') continue;
      whys.push(`OCSP ${url}: ${verdict.why}`);
      lasting &&= verdict.lasting;
    }
    const failures = before === undefined || now() < before.at ? 1 : before.failures + 1;
    const next = now() + pause(failures);
    // What was said before counts for as long as it was said to.
    if (before !== undefined && before.status.kind !== 'unknown' && before.until > now())
      return remember(key, { ...before, at: now(), renewAt: next, failures });
    return remember(key, {
      status: { kind: 'unknown', why: whys.join('; '), lasting },
      at: now(),
      since: before?.since ?? 0,
      until: next,
      renewAt: next,
      failures,
    });
  };

  const share = (key: string, certificate: Certificate, issuer: Certificate, urls: readonly string[]): Promise<RevocationStatus> => {
    let flight = flights.get(key);
    if (flight === undefined) {
      flight = ask(key, certificate, issuer, urls)
        .catch((): RevocationStatus => ({ kind: 'unknown', why: 'OCSP could not be asked', lasting: false }))
        .finally(() => flights.delete(key));
      flights.set(key, flight);
    }
    return flight;
  };

  return {
    status: async (certificate, issuer, signal) => {
      const urls = certificate.ocspUrls.filter((url) => /^https?:/i.test(url)).slice(0, MAX_RESPONDERS);
      if (urls.length === 0) return { kind: 'unknown', why: noResponder(certificate), lasting: true };
      const key = `${certificate.fingerprint} ${issuer.fingerprint}`;
      const entry = known.get(key) ?? (await recall(key, certificate, issuer, urls[0]));
      const misdated = entry !== undefined && now() < entry.at;
      if (entry === undefined || entry.until <= now() || (misdated && entry.status.kind === 'unknown'))
        return within(share(key, certificate, issuer, urls), signal);
      if ((!misdated && entry.renewAt > now()) || closing.signal.aborted) return entry.status;
      const renewal = share(key, certificate, issuer, urls);
      if (entry.renewAt + OVERDUE_MS > now()) return entry.status;
      return heeding(signal, RENEWAL_PATIENCE_MS, (enough) => within(renewal, enough, entry.status));
    },
    close: async () => {
      closing.abort();
      await Promise.all(flights.values());
    },
  };
}

const nameOf = (id: CertId, issuer: Certificate): string => createHash('sha256').update(ocspRequest(id)).update(issuer.der).digest('hex');

const noResponder = ({ ocspUrls }: Certificate): string =>
  ocspUrls.length === 0 ? 'it names no OCSP responder' : 'it names an OCSP responder by something else than http or https';

/** `lasting` only by what the certificate says: no octets of an answer last, signed or not (P5). */
type Unanswered = Extract<RevocationStatus, { kind: 'unknown' }>;
type Answered = Exclude<OcspVerdict, { kind: 'unknown' }>;

const unanswered = (why: string, lasting = false): Unanswered => ({ kind: 'unknown', why, lasting });

/** Who sits on the way may play an answer again that was good yesterday; it does not undo one that we have since. */
function answered(verdict: OcspVerdict, since = 0): Answered | Unanswered {
  if (verdict.kind === 'unknown') return unanswered(verdict.why);
  return verdict.since < since ? unanswered('its answer is older than one that was there before') : verdict;
}

const pause = (failures: number): number => Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);

/** `got`: ms, when the responder was asked, or a time before that. */
function entryOf(verdict: Answered, url: string, now: number, got = now): Known {
  const from = `OCSP ${url}`;
  const status: RevocationStatus =
    verdict.kind === 'good'
      ? { kind: 'good', from, until: new Date(verdict.until) }
      : { kind: 'revoked', from, at: verdict.at, reason: verdict.reason };
  const lasts = verdict.kind === 'revoked' && isFinal(verdict.reason);
  // What is only just within its time, by the skew that clocks are allowed, is taken once and asked for again.
  const rest = Math.min((verdict.until - got) / 2, LONGEST_REST_MS);
  return {
    status,
    at: now,
    since: verdict.since,
    until: lasts ? Infinity : verdict.until,
    renewAt: got + (lasts ? Math.max(rest, FIRST_PAUSE_MS) : rest),
    failures: 0,
  };
}

const unansweredYet: RevocationStatus = { kind: 'unknown', why: 'its OCSP responder has not answered yet', lasting: false };

/** Nobody waits beyond `signal`, and hears `late` then; the request goes on, and the next asker finds its answer. */
async function within(flight: Promise<RevocationStatus>, signal: AbortSignal, late: RevocationStatus = unansweredYet) {
  if (signal.aborted) return late;
  const given = Promise.withResolvers<RevocationStatus>();
  const giveUp = (): void => given.resolve(late);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([flight, given.promise]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
