/** For `check`: the lists of the in-house CA: there, current, not behind what was revoked, and with somebody to write the next. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { authorityFiles, hasAuthority, needsPassphrase } from '../../certificates/authority/files.ts';
import { readCrlFacts } from '../../certificates/authority/crl.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { makeCrlFolder } from '../../certificates/revocation/crl-folder.ts';
import { makeCrlThread } from '../../certificates/revocation/crl-thread.ts';
import { readDatabase } from '../../change-control.ts';
import type { Config } from '../../config.ts';
import type { Fault } from '../../document/fault.ts';
import { SealpostError } from '../../errors.ts';
import { readRecords } from '../../queue/record-rows.ts';
import { ISSUING_LIST, ownLists, ROOT_LIST } from '../../upkeep/crl-writing.ts';
import { CRL, readNumber } from '../../upkeep/revoked.ts';
import { ageFault, type ListSurvey, type Read, readList } from './lists.ts';
import type { CertificatePaths } from './paths.ts';

const KEY = 'certificates.authority.crl';
const MEND = 'sealpost certs crl writes it anew, where the key of the CA is';

/** Told of before a list ends, where half of its life is longer: two months for a key that lies in a safe. */
const SOON_MS = 60 * 86_400_000;

interface Site {
  /** Anchors and intermediates: whoever may have signed them. */
  readonly authorities: readonly Certificate[];
  readonly paths: CertificatePaths;
  /** ms */
  readonly now: number;
}

export async function surveyOwnLists(config: Config, { authorities, paths, now }: Site): Promise<ListSurvey> {
  const folder = ownLists(dirname(paths.queue.database));
  const found = await makeCrlFolder(folder, { optional: true }).lists();
  // That the data folder cannot be looked into is told by the look at the folders themselves.
  if (found.kind === 'unavailable') return { faults: [], notes: [] };
  const numbers = recordedNumbers(paths);
  const renewedHere = isRenewedHere(config, paths);
  const [faults, notes]: [Fault[], string[]] = [[], []];
  const tell = (place: string, wrong: string): void => void faults.push({ place, key: KEY, wrong, mend: MEND });
  const thread = makeCrlThread();
  try {
    for (const one of found.lists) {
      const verdict = await readList(one, authorities, thread);
      if (verdict === 'of nobody') continue;
      if (typeof verdict === 'string') {
        tell(one.path, verdict);
        continue;
      }
      const recorded = numbers.get(verdict.authority.fingerprint) ?? 0;
      numbers.delete(verdict.authority.fingerprint);
      const { thisUpdate, nextUpdate } = verdict.list;
      if ((await numberOf(verdict)) < recorded) tell(one.path, 'lacks what was revoked since');
      else if (nextUpdate <= now || thisUpdate > now) tell(one.path, ageFault(verdict.list, now));
      else if (nextUpdate - now < Math.min((nextUpdate - thisUpdate) / 2, SOON_MS) && !renewedHere(one.path)) {
        const ends = new Date(nextUpdate).toISOString().slice(0, 10);
        notes.push(`${one.path} ends on ${ends}, and the relay cannot open the key that signs the next: sealpost certs crl`);
      }
    }
  } finally {
    thread.close();
  }
  // Of a CA of this site, which has revoked or been asked for a list, and none lies there.
  const missing = authorities.some(({ fingerprint }) => numbers.has(fingerprint));
  const asked = config.certificates.authority.crl !== undefined && found.lists.length === 0 && !renewedHere(ISSUING_LIST);
  if (missing || asked) tell(`${folder}/${ISSUING_LIST}`, 'is not there');
  return { faults, notes };
}

/** Where they cannot be read, that is told by the look at the records; what can be said of the lists is said all the same. */
function recordedNumbers({ queue }: CertificatePaths): Map<string, number> {
  try {
    return new Map(readDatabase(queue.database, (db) => readRecords(db, CRL))?.map((record) => [record.key, readNumber(record)]));
  } catch (error) {
    if (error instanceof SealpostError && error.code === 'storage-failed') return new Map();
    throw error;
  }
}

async function numberOf({ path }: Read): Promise<number> {
  return readCrlFacts(await readFile(path))?.number ?? 0;
}

/** Whether the relay can open the key of a list by what the configuration says. */
function isRenewedHere({ certificates: { authority, trust }, keys }: Config, paths: CertificatePaths): (list: string) => boolean {
  const places = { keys, anchors: trust.anchors, intermediates: trust.intermediates };
  let opens = false;
  try {
    opens = hasAuthority(places) && (authority.passphrase !== undefined || !needsPassphrase(paths));
  } catch {
    // The folder of keys is closed to us, as it may be to the relay.
  }
  return (list) => opens && (!list.endsWith(ROOT_LIST) || existsSync(authorityFiles(places).rootKey));
}
