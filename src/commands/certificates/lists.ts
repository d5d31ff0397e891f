/** For `check`: what of the folder of revocation lists would not count, or counts for nobody. */
import type { Certificate } from '../../certificates/certificate.ts';
import { issuerOf } from '../../certificates/revocation/crl.ts';
import { type LocalCrl, makeCrlFolder } from '../../certificates/revocation/crl-folder.ts';
import type { Crl } from '../../certificates/revocation/crl-read.ts';
import { type CrlThread, makeCrlThread } from '../../certificates/revocation/crl-thread.ts';
import type { Config } from '../../config.ts';
import type { Fault } from '../../document/fault.ts';

export interface ListSurvey {
  readonly faults: readonly Fault[];
  readonly notes: readonly string[];
}

const KEY = 'certificates.trust.crls';
const MEND = 'lay the current list of its CA there, in DER or PEM, by one move, or take it away';
const NONE = 'is no list that can be read, and may be one that is missing: under hard mail waits (451)';
/** Clocks differ; as where lists are asked. */
const SKEW_MS = 300_000;

/** `authorities`: whoever may have signed them. `now` in ms. */
export async function surveyLists(
  { certificates: { trust } }: Config,
  authorities: readonly Certificate[],
  now: number,
): Promise<ListSurvey> {
  const modes = [trust.revocation, ...(trust.anchorSets ?? []).map(({ revocation }) => revocation)];
  const { crls } = trust;
  if (crls === undefined || modes.every((mode) => mode === 'off' || mode === undefined)) return { faults: [], notes: [] };
  const found = await makeCrlFolder(crls).lists();
  // That the folder is not there is told by the look at the folders themselves.
  if (found.kind === 'unavailable') return { faults: [], notes: [] };
  const thread = makeCrlThread();
  try {
    const faults: Fault[] = [];
    const notes: string[] = [];
    const read: Read[] = [];
    for (const list of found.lists) {
      const verdict = await readList(list, authorities, thread);
      if (verdict === 'of nobody') notes.push(`${list.path}: its CA is not among the anchors and intermediates, so nobody asks this list`);
      else if (typeof verdict === 'string') faults.push({ place: list.path, key: KEY, wrong: verdict, mend: MEND });
      else read.push(verdict);
    }
    const current = read.filter(({ list }) => list.nextUpdate > now && list.thisUpdate <= now + SKEW_MS);
    // An older list beside the current one does no harm.
    const useless = read.filter((one) => !current.includes(one) && !current.some(({ scope }) => scope === one.scope));
    for (const { path, list } of useless) faults.push({ place: path, key: KEY, wrong: ageFault(list, now), mend: MEND });
    return { faults, notes };
  } finally {
    thread.close();
  }
}

export interface Read {
  /** Who signed it. */
  readonly authority: Certificate;
  readonly path: string;
  readonly list: Crl;
  /** Whose it is, and of what it speaks. */
  readonly scope: string;
}

/** The list, or what is wrong with it. */
export async function readList(
  { path, beginning }: LocalCrl,
  authorities: readonly Certificate[],
  thread: CrlThread,
): Promise<Read | string> {
  if (beginning === undefined) return NONE;
  const named = authorities.filter(({ subjectDer }) => subjectDer.equals(beginning.issuer));
  let fault = 'of nobody';
  // A CA that changed its key has several certificates.
  for (const authority of named) {
    const whose = issuerOf(authority);
    const reading = await thread.read(path, whose);
    if (reading.kind === 'list') return { authority, path, list: reading.list, scope: `${whose.id} ${JSON.stringify(reading.list.scope)}` };
    fault = `is not used: ${reading.why}`;
  }
  return fault;
}

export const ageFault = ({ thisUpdate, nextUpdate }: Crl, now: number): string =>
  nextUpdate <= now ? `is stale since ${new Date(nextUpdate).toISOString()}` : `is from the future: ${new Date(thisUpdate).toISOString()}`;
