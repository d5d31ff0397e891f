/**
 * The lists of the in-house CA in the running relay: written anew before one ends, and where one lacks what the ledger says; and served,
 * where the configuration says so. The key is opened for as long as that takes, and let go.
 */
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { authorityCertificates, type OpenAuthority, unlockAuthority } from '../certificates/authority/files.ts';
import { ISSUED, listed, readLedger } from '../certificates/authority/ledger.ts';
import type { Config } from '../config.ts';
import { ROOT_LIST_PATH } from '../config/authority-keys.ts';
import type { Environment } from '../config/environment.ts';
import { readSecret } from '../config/secret.ts';
import { asSealpostError } from '../errors.ts';
import type { RecordStore } from '../queue/records.ts';
import { serveLists } from './crl-server.ts';
import type { HttpServer } from '../http-server.ts';
import { isDue, isNamed, ISSUING_LIST, listAt, listIssuers, type ListParts, ownLists, ROOT_LIST, writeList } from './crl-writing.ts';
import { CRL, readNumber, revocationHandlers } from './revoked.ts';

export interface CrlUpkeepParts {
  readonly config: Config;
  readonly records: RecordStore;
  /** ms since the epoch */
  readonly now: () => number;
  readonly env: Environment;
  readonly log: Logger;
}

export interface CrlUpkeep {
  /** Writes the lists that are due. Throws what kept it from that; it may be called again at any time. */
  refreshLists(): Promise<void>;
  /** The same, before mail flows; what cannot be done is logged, since the daily round tries again. */
  prepare(): Promise<void>;
  /** The same in a few seconds, in the background: what was revoked is to be on the list, whether or not who revoked it wrote one. */
  refreshSoon(): void;
  /** Serves them. Throws `listen-failed`. */
  start(): Promise<void>;
  /** Where they are served; undefined where they are not. */
  port(): number | undefined;
  stop(): Promise<void>;
}

/** Of lists without a word in the configuration: as the key itself has it. */
export const USUAL_VALID_MS = 7 * 86_400_000;
/** Time for the command that revoked to write the list itself. */
const SOON_MS = 5000;

export function makeCrlUpkeep({ config, records, now, env, log }: CrlUpkeepParts): CrlUpkeep {
  const { authority, trust } = config.certificates;
  const { crl } = authority;
  const folder = ownLists(dirname(config.queue.sqlite));
  const handlers = revocationHandlers(records);
  const numberOf = async (issuer: string): Promise<number> => readNumber(await records.get(CRL, issuer));
  const parts: ListParts = {
    folder,
    now,
    recorded: numberOf,
    ledger: async () => readLedger(await records.list(ISSUED)).records,
    takeNumber: async (request) => handlers[request.command]?.(request),
  };
  const writeDue = async (): Promise<void> => {
    const places = { keys: config.keys, anchors: trust.anchors, intermediates: trust.intermediates };
    // A site that has never revoked anything, and asks for no list, keeps its key where it is.
    if (crl === undefined && (await records.list(CRL)).length === 0 && (await listAt(join(folder, ISSUING_LIST))) === undefined) return;
    const passphrase = authority.passphrase === undefined ? undefined : await readSecret(authority.passphrase, env);
    const open = (): Promise<OpenAuthority> => unlockAuthority(places, passphrase);
    for (const issuer of listIssuers(authorityCertificates(places), crl?.valid ?? USUAL_VALID_MS, open)) {
      const recorded = await numberOf(issuer.certificate.fingerprint);
      if (!(await isDue(issuer, { folder, now: now(), recorded }))) continue;
      const place = { issuer: issuer.certificate.fingerprint, named: await isNamed(issuer, folder), at: now() };
      const ledger = async () => listed(readLedger(await records.list(ISSUED)), place);
      const written = await writeList(issuer, 'relay', { ...parts, ledger });
      if (written === undefined) continue;
      const { number, revoked, nextUpdate } = written;
      log.info({ list: issuer.file, number, revoked, until: new Date(nextUpdate).toISOString() }, 'a revocation list was written');
    }
  };
  const refresh = async (): Promise<void> => {
    try {
      await writeDue();
    } catch (error) {
      if (crl !== undefined) throw error;
      // Nobody has said that this relay is to do it: whoever writes the lists elsewhere is told by check.
      log.warn({ err: asSealpostError(error) }, 'the revocation lists of the in-house CA are not renewed here');
    }
  };
  let refreshing: Promise<void> | undefined;
  const refreshLists = (): Promise<void> => (refreshing ??= refresh().finally(() => (refreshing = undefined)));
  const prepare = async (): Promise<void> => {
    try {
      await refreshLists();
    } catch (error) {
      log.error({ err: asSealpostError(error) }, 'the revocation lists of the in-house CA could not be renewed');
    }
  };
  let soon: NodeJS.Timeout | undefined;
  let server: HttpServer | undefined;
  return {
    refreshLists,
    prepare,
    refreshSoon: () => {
      soon ??= setTimeout(() => {
        soon = undefined;
        void prepare();
      }, SOON_MS);
    },
    start: async () => {
      if (crl?.listen === undefined || crl.url === undefined) return;
      const lists = new Map([
        [new URL(crl.url).pathname, join(folder, ISSUING_LIST)],
        [ROOT_LIST_PATH, join(folder, ROOT_LIST)],
      ]);
      server = await serveLists({ ...crl.listen, lists, now, log });
      log.info({ host: crl.listen.host, port: server.port }, 'revocation lists are served');
    },
    port: () => server?.port,
    stop: async () => {
      clearTimeout(soon);
      await server?.close();
      await refreshing?.catch(() => {});
    },
  };
}
