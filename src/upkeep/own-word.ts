/**
 * The ledger's word before a certificate is used: what the in-house CA has revoked is refused by this relay from the moment the ledger
 * has it, whatever has become of the list. The running relay holds what is revoked in memory and sees each change as it is made;
 * commands read it once.
 */
import type { Logger } from 'pino';
import { ISSUED, type IssuedRecord, readIssued } from '../certificates/authority/ledger.ts';
import type { AskOwnWord, OwnWord } from '../certificates/revocation/own-word.ts';
import { readDatabase } from '../change-control.ts';
import { asSealpostError, SealpostError } from '../errors.ts';
import { readRecords } from '../queue/record-rows.ts';
import type { RecordStore, StoredRecord } from '../queue/records.ts';

type Revoked = Pick<IssuedRecord, 'fingerprint' | 'issuer' | 'revoked'>;

interface Words {
  take(record: Pick<StoredRecord, 'key' | 'value'>): void;
  readonly of: AskOwnWord;
}

function makeWords(): Words {
  /** By serial number: what cannot be read is known by it alone. */
  const bySerial = new Map<string, Revoked | Error>();
  return {
    take: ({ key, value }) => {
      try {
        const { serial, fingerprint, issuer, revoked } = readIssued(value, key);
        if (serial !== key) throw new SealpostError('storage-failed', { detail: 'the serial number is another' });
        // Never back: a revocation is for good.
        if (revoked !== null) bySerial.set(key, { fingerprint, issuer, revoked });
      } catch (cause) {
        const detail = `the record of serial ${key} in the ledger of the in-house CA cannot be read`;
        bySerial.set(key, new SealpostError('storage-failed', { detail, hint: 'restore the data folder from a backup', cause }));
      }
    },
    of: (certificate, issuer) => {
      const found = bySerial.get(certificate.serial);
      if (found === undefined) return undefined;
      if (found instanceof Error) return { kind: 'unreadable', cause: found };
      // Another CA may use the same number; the same certificate with its signature written otherwise has another fingerprint.
      const isIt = found.fingerprint === certificate.fingerprint || found.issuer === issuer?.fingerprint;
      return isIt ? wordOf(found) : undefined;
    },
  };
}

const wordOf = ({ revoked }: Revoked): OwnWord | undefined =>
  revoked === null ? undefined : { kind: 'revoked', at: revoked.at, reason: revoked.reason };

export interface OwnWords {
  readonly ask: AskOwnWord;
  /** The same store; what is revoked through it counts when its change resolves. */
  readonly records: RecordStore;
}

/** For the relay. Where the ledger cannot be read at all mail goes on by the lists, and that is logged. */
export async function openOwnWords(records: RecordStore, log: Logger): Promise<OwnWords> {
  const words = makeWords();
  try {
    for (const record of await records.list(ISSUED)) words.take(record);
  } catch (error) {
    log.error({ err: asSealpostError(error) }, 'what the in-house CA has revoked is known by its lists alone');
  }
  return {
    ask: words.of,
    records: {
      get: (kind, key) => records.get(kind, key),
      list: (kind) => records.list(kind),
      change: async (changes, events) => {
        const changed = await records.change(changes, events);
        if (changed) for (const { kind, key, value } of changes) if (kind === ISSUED && value !== null) words.take({ key, value });
        return changed;
      },
    },
  };
}

/** For commands: read at the first question. Whoever may not look into the data folder sees neither ledger nor lists. */
export function readOwnWords(database: string): AskOwnWord {
  let words: Words | undefined;
  const read = (): Words => {
    const found = makeWords();
    try {
      for (const record of readDatabase(database, (db) => readRecords(db, ISSUED)) ?? []) found.take(record);
    } catch {
      // The lists say what they can, as for the relay; check tells of the damage.
    }
    return found;
  };
  return (certificate, issuer) => (words ??= read()).of(certificate, issuer);
}
