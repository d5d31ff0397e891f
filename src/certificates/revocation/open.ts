/** Revocation for one site, made from the configuration: the guarded fetch, lists, OCSP, and the policy over them. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import { makeCrlSource } from './crl.ts';
import { makeFetch, type ResolveHost } from './fetch.ts';
import { makeOcspSource } from './ocsp.ts';
import { makeAnswerStore } from './ocsp-store.ts';
import { makeRevocationPolicy, type RevocationPolicy } from './policy.ts';
import { makeResolveHost } from './resolve.ts';
import type { FetchDocument, RevocationSource } from './revocation.ts';

export interface RevocationOptions {
  /** The folder of lists, absolute; undefined where there is none. */
  readonly crls: string | undefined;
  /** Networks that may be fetched from though they are not public. */
  readonly fetchNetworks: readonly string[];
  readonly cache: { readonly folder: string; readonly writable: boolean };
  /** ms */
  readonly now: () => number;
  readonly log: Logger;
  /** DNS, where undefined that of the machine. */
  readonly resolve?: ResolveHost | undefined;
}

export interface Revocation {
  /** Asks whom the certificates name. */
  readonly asking: RevocationPolicy;
  /** Fetches nothing: for who looks at all certificates of a site. */
  readonly atHand: RevocationPolicy;
  close(): Promise<void>;
}

export function openRevocation({ crls, fetchNetworks, cache, now, log, resolve }: RevocationOptions): Revocation {
  const opened: RevocationSource[] = [];
  const openPolicy = (fetch: FetchDocument, writable: boolean, atHandOnly: boolean): RevocationPolicy => {
    // Math.random spreads renewals; nothing secret comes from it.
    const crl = makeCrlSource({ fetch, folder: crls, cache: { ...cache, writable }, now, random: Math.random });
    const store = makeAnswerStore({ folder: join(cache.folder, 'ocsp'), writable });
    const ocsp = makeOcspSource({ fetch, now, store, listed: (...question) => crl.atHand(...question) });
    opened.push(crl, ocsp);
    return makeRevocationPolicy({ crl, ocsp, log, atHandOnly });
  };
  const fetch = makeFetch({ networks: fetchNetworks, resolve: resolve ?? makeResolveHost() });
  const nothing: FetchDocument = async () => {
    throw new Error('it is not fetched for a look at all certificates');
  };
  // Sources of its own, so that what was not fetched here is not remembered as a failure there; made when somebody looks.
  let atHand: RevocationPolicy | undefined;
  return {
    asking: openPolicy(fetch, cache.writable, false),
    atHand: {
      judge: (path, mode, signal, soft) => {
        atHand ??= openPolicy(nothing, false, true);
        return atHand.judge(path, mode, signal, soft);
      },
    },
    close: async () => {
      await Promise.all(opened.map(async (source) => source.close()));
    },
  };
}
