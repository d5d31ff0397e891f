/** The certificate stage of one site: its sources, trust and directory, made from the configuration. */
import type { Logger } from 'pino';
import { type AddressBook, type BookEntries, makeAddressBook } from './address-book.ts';
import { type CacheAges, makeCachedSource } from './cache.ts';
import { type Directory, makeDirectory } from './directory.ts';
import { makeFileSource } from './files.ts';
import { type CertificateFolder, makeCertificateFolder } from './folder.ts';
import type { KnownCertificates } from './known.ts';
import type { CertificateSource } from './source.ts';
import { makeTrust, type Trust } from './trust.ts';

/** One entry of `certificates.sources`: exactly one of these. Absolute paths. */
export interface SourceEntry {
  readonly files?: string | undefined;
}

/** As the configuration names them; absolute paths. */
export interface CertificatePlaces extends BookEntries {
  readonly sources: readonly SourceEntry[];
  /** How long answers of remote sources are used. */
  readonly cache: CacheAges;
  readonly trust: { readonly anchors: string; readonly intermediates: string };
}

export interface SiteOptions {
  /** ms */
  readonly now: () => number;
  readonly log: Logger;
  /** ms for one look-up. */
  readonly patience: number;
  /** Where indexes and caches are kept, absolute; it need not exist. A command that only looks reads them and writes none. */
  readonly cache: { readonly folder: string; readonly writable: boolean };
  /** Where certificates are pinned to those that are known. */
  readonly known?: KnownCertificates | undefined;
}

/** The certificate stage of one site. */
export interface SiteCertificates {
  readonly directory: Directory;
  readonly addressBook: AddressBook;
  readonly trust: Trust;
  /** The folders among the sources, in the order they are asked. */
  readonly recipients: readonly CertificateFolder[];
  readonly anchors: CertificateFolder;
  /** Ends polling, connections and threads. */
  close(): Promise<void>;
}

/** What is asked over a network is `remote`: its answers are kept for a while (cache.ts). */
interface OpenSource {
  readonly source: CertificateSource;
  readonly remote: boolean;
}

export function openSiteCertificates(places: CertificatePlaces, options: SiteOptions): SiteCertificates {
  const open = (path: string): CertificateFolder => makeCertificateFolder({ path, ...options });
  const anchors = open(places.trust.anchors);
  const intermediates = open(places.trust.intermediates);
  const recipients: CertificateFolder[] = [];
  const openSource = ({ files }: SourceEntry): OpenSource => {
    if (files !== undefined) {
      const folder = open(files);
      recipients.push(folder);
      return { source: makeFileSource(folder), remote: false };
    }
    throw new Error('a source of no kind');
  };
  const { now, log, patience } = options;
  const sources = places.sources
    .map(openSource)
    .map(({ source, remote }) => (remote ? makeCachedSource(source, { ages: places.cache, now, log, patience }) : source));
  const trust = makeTrust({ anchors, intermediates, now: options.now });
  const directory = makeDirectory({ sources, trust, ...options });
  return {
    directory,
    addressBook: makeAddressBook(directory, places),
    trust,
    recipients,
    anchors,
    close: async () => {
      for (const source of sources) await source.close();
      anchors.close();
      intermediates.close();
    },
  };
}
