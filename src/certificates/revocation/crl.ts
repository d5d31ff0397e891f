/**
 * Asking revocation lists (RFC 5280 §5, §6.3). Two kinds of places: folders of lists, the operator's and that of the in-house CA, and
 * the URLs in the certificate, which are fetched. The first list that knows answers; folders come first: they cost nothing and tell
 * nobody.
 *
 * Lists are read in a thread of their own and kept as a compact index (crl-index.ts); the octets of a list live no longer than it
 * takes to read them, but for the copy on disk.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Certificate } from '../certificate.ts';
import { heeding } from '../time-box.ts';
import { type CrlFolder, type LocalCrl, makeCrlFolder, OWN_LISTS } from './crl-folder.ts';
import { type CrlLoads, filePlace, urlPlace } from './crl-places.ts';
import type { CrlIssuer } from './crl-read.ts';
import { makeCrlShelf, type Shelved } from './crl-shelf.ts';
import { makeCrlStore } from './crl-store.ts';
import { makeCrlThread } from './crl-thread.ts';
import { judgeByList } from './crl-verdict.ts';
import { subjectsOf } from './crl-scope.ts';
import { parseFetchUrl } from './fetch.ts';
import type { FetchDocument, RevocationSource, RevocationStatus } from './revocation.ts';
import { makeSeats } from './seats.ts';

export interface CrlOptions {
  readonly fetch: FetchDocument;
  /** `certificates.trust.crls`: the folder of lists, absolute; undefined where there is none. */
  readonly folder: string | undefined;
  /** The data folder of the site; what is fetched is kept in `crls/` below it, lists of the in-house CA stand in `own-crls/`. */
  readonly cache: { readonly folder: string; readonly writable: boolean };
  /** ms */
  readonly now: () => number;
  /** ms of a clock that nobody sets; performance.now() where undefined. */
  readonly uptime?: () => number;
  /** From 0 to 1; Math.random. */
  readonly random: () => number;
  /** ms that one certificate waits for lists that are not there yet; 3000. They go on loading. */
  readonly patience?: number;
}

type Unknown = Extract<RevocationStatus, { kind: 'unknown' }>;

const USUAL_PATIENCE_MS = 3000;
/** Of all lists in memory: five of 500,000 entries. */
const MEMORY_BYTES = 96 * 1024 * 1024;
/** Lists that are fetched and read at a time, and of one CA: whose servers say nothing keeps only its own waiting. */
const MAX_LOADS = 3;
const MAX_LOADS_OF_CA = 2;
const MAX_WAITING_LOADS = 100;
/** A CA names one or two of each. */
const MAX_URLS = 8;
const MAX_LOCAL_LISTS = 16;
const MAX_REASONS = 3;
const MAX_SHOWN = 200;

const unknown = (why: string, lasting: boolean): Unknown => ({ kind: 'unknown', why, lasting });

export interface CrlSource extends RevocationSource {
  /** What the lists say that lie in the folder or are held for whatever certificate: it fetches nothing. Never throws. */
  atHand(certificate: Certificate, issuer: Certificate): Promise<RevocationStatus>;
}

export function makeCrlSource(options: CrlOptions): CrlSource {
  const { now, uptime, random, fetch, cache, patience = USUAL_PATIENCE_MS } = options;
  const thread = makeCrlThread();
  const shelf = makeCrlShelf({ now, uptime, patience, random, bound: MEMORY_BYTES });
  const store = makeCrlStore({ folder: join(cache.folder, 'crls'), writable: cache.writable });
  const seats = makeSeats({ total: MAX_LOADS, ofKey: 1, ofGroup: MAX_LOADS_OF_CA, waiting: MAX_WAITING_LOADS });
  const loads: CrlLoads = { thread, store, seats, fetch, now };
  /** Once for each, since a key takes a while to export. */
  const issuers = new WeakMap<Certificate, CrlIssuer>();
  const folders = [
    ...(options.folder === undefined ? [] : [makeCrlFolder(options.folder)]),
    makeCrlFolder(join(cache.folder, OWN_LISTS), { optional: true }),
  ];

  const askFolders = async (certificate: Certificate, issuer: CrlIssuer, signal: AbortSignal): Promise<RevocationStatus[]> => {
    const found = await Promise.all(folders.map((folder) => listsOf(folder, issuer)));
    const read = await Promise.all(
      found
        .flatMap(({ lists }) => lists)
        .map(async ({ path, stamp, name }) => ({ name, shelved: await shelf.list(filePlace(path, stamp, loads), issuer, signal) })),
    );
    // The newest first: a hold that was lifted stands in the older ones still.
    const age = ({ shelved }: (typeof read)[number]): number => (shelved.kind === 'list' ? shelved.list.thisUpdate : 0);
    const said = read.sort((a, b) => age(b) - age(a)).map(({ name, shelved }) => judge(`CRL ${name}`, shelved, certificate, now()));
    return [...said, ...found.flatMap(({ missing }) => missing ?? [])];
  };

  const askUrl = async (text: string, certificate: Certificate, issuer: CrlIssuer, signal: AbortSignal): Promise<RevocationStatus> => {
    let url: URL;
    try {
      url = parseFetchUrl(text);
    } catch (error) {
      return unknown(`a list is not fetched: ${error instanceof Error ? error.message : 'its URL is none'}`, true);
    }
    const shelved = await shelf.list(urlPlace(url, subjectsOf(certificate), loads), issuer, signal);
    const status = judge(`CRL ${url.href.slice(0, MAX_SHOWN)}`, shelved, certificate, now());
    // What came over the network tells nothing for good of what will come: whoever sits on the way chooses among the CA's lists (P5).
    return status.kind === 'unknown' && shelved.kind === 'list' ? { ...status, lasting: false } : status;
  };

  const signerOf = (issuer: Certificate): CrlIssuer | undefined => {
    // RFC 5280 §6.3.3 (f)
    if (issuer.keyUsage !== undefined && !issuer.keyUsage.includes('cRLSign')) return undefined;
    const whose = issuers.get(issuer) ?? issuerOf(issuer);
    issuers.set(issuer, whose);
    return whose;
  };

  const askAll = async (certificate: Certificate, whose: CrlIssuer, signal: AbortSignal): Promise<RevocationStatus> => {
    const answers: RevocationStatus[] = await askFolders(certificate, whose, signal);
    if (answers.every(({ kind }) => kind === 'unknown')) {
      answers.push(...unasked(certificate));
      for (const [url, partial] of urlsOf(certificate)) {
        const answer = await askUrl(url, certificate, whose, signal);
        answers.push(answer.kind === 'good' && partial ? unknown(`${answer.from} is named for some reasons only`, true) : answer);
        if (answers.at(-1)?.kind !== 'unknown') break;
      }
    }
    return sumUp(answers);
  };

  return {
    atHand: async (certificate, issuer) => {
      const whose = signerOf(issuer);
      if (whose === undefined) return unknown('no list is at hand', false);
      const answers = await askFolders(certificate, whose, AbortSignal.timeout(patience));
      answers.push(...shelf.held(whose).map((list) => judgeByList(list, certificate, 'CRL', now())));
      return answers.find(({ kind }) => kind === 'revoked') ?? sumUp(answers);
    },
    status: async (certificate, issuer, signal) => {
      const whose = signerOf(issuer);
      if (whose === undefined) return unknown(`${issuer.subject} may not sign lists (key usage)`, true);
      return heeding(signal, patience, (enough) => askAll(certificate, whose, enough));
    },
    close: () => {
      shelf.close();
      thread.close();
    },
  };
}

/** For readers of lists. */
export function issuerOf({ publicKey, subjectDer }: Certificate): CrlIssuer {
  const spki = Uint8Array.from(publicKey.export({ type: 'spki', format: 'der' }));
  return { name: Uint8Array.from(subjectDer), spki, id: createHash('sha256').update(spki).update(subjectDer).digest('hex') };
}

/** The newest files of a folder that hold lists of that issuer; `missing`: why there may be others. */
async function listsOf(folder: CrlFolder, { name }: CrlIssuer): Promise<{ lists: readonly LocalCrl[]; missing?: Unknown }> {
  const found = await folder.lists();
  if (found.kind === 'unavailable') return { lists: [], missing: unknown(found.why, false) };
  const dateOf = ({ beginning }: LocalCrl): number => beginning?.thisUpdate ?? 0;
  const lists = found.lists.filter(({ beginning }) => beginning?.issuer.equals(name) === true);
  const odd = found.lists.find(({ beginning }) => beginning === undefined);
  // It may be the one that is missing, caught while it is written.
  if (lists.length === 0 && odd !== undefined) return { lists, missing: unknown(`CRL ${odd.name} cannot be read`, false) };
  // A job that dates its lists and never clears up leaves a year of them: the newest are what counts.
  return { lists: lists.sort((a, b) => dateOf(b) - dateOf(a)).slice(0, MAX_LOCAL_LISTS) };
}

function judge(name: string, shelved: Shelved, certificate: Certificate, now: number): RevocationStatus {
  if (shelved.kind === 'none') return unknown(`${name} ${shelved.why}`, shelved.lasting);
  const status = judgeByList(shelved.list, certificate, name, now);
  if (status.kind !== 'unknown' || shelved.fault === undefined) return status;
  return { ...status, why: `${status.why}; a newer one: ${shelved.fault}` };
}

/** Points of the certificate that are passed over, each with its reason. */
const unasked = ({ crlPoints }: Certificate): readonly Unknown[] =>
  crlPoints.flatMap(({ indirect, urls }) => {
    if (indirect) return [unknown('the certificate names an indirect list, which is not taken', true)];
    return urls.length === 0 ? [unknown('the certificate names a list without a URL', true)] : [];
  });

/** And whether each is named for some reasons only. */
function urlsOf({ crlPoints }: Certificate): ReadonlyMap<string, boolean> {
  const urls = new Map<string, boolean>();
  for (const { indirect, partial, urls: named } of crlPoints)
    for (const url of indirect ? [] : named) if (urls.size < MAX_URLS) urls.set(url, partial && (urls.get(url) ?? true));
  return urls;
}

/** The first that knows; else all reasons, which last where each of them does. */
function sumUp(answers: readonly RevocationStatus[]): RevocationStatus {
  const known = answers.find(({ kind }) => kind !== 'unknown');
  if (known !== undefined) return known;
  const reasons = answers.filter((answer) => answer.kind === 'unknown');
  if (reasons.length === 0) return unknown('the certificate names no list', true);
  const distinct = [...new Set(reasons.map(({ why }) => why))].slice(0, MAX_REASONS);
  return unknown(
    distinct.join('; '),
    reasons.every(({ lasting }) => lasting),
  );
}
