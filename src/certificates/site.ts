/** The certificate stage of one site: its sources, trust and directory, made from the configuration. */
import type { Logger } from 'pino';
import { type Directory, makeDirectory } from './directory.ts';
import { makeFileSource, openRecipientFolder, type RecipientFolder } from './files.ts';
import { type CertificateFolder, makeCertificateFolder } from './folder.ts';
import type { CertificateSource } from './source.ts';
import { makeTrust, type Trust } from './trust.ts';

/** One entry of `certificates.sources`: exactly one of these. Absolute paths. */
export interface SourceEntry {
  readonly files?: string | undefined;
}

/** As the configuration names them; absolute paths. */
export interface CertificatePlaces {
  readonly sources: readonly SourceEntry[];
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
  /** Told every second of a long first look at a folder how many files it has seen. */
  readonly progress?: ((files: number) => void) | undefined;
}

/** The certificate stage of one site. */
export interface SiteCertificates {
  readonly directory: Directory;
  readonly trust: Trust;
  /** The folders among the sources, in the order they are asked. */
  readonly recipients: readonly RecipientFolder[];
  readonly anchors: CertificateFolder;
  /** Ends polling, connections and threads. */
  close(): Promise<void>;
}

export function openSiteCertificates(places: CertificatePlaces, options: SiteOptions): SiteCertificates {
  const open = (path: string): CertificateFolder => makeCertificateFolder({ path, ...options });
  const anchors = open(places.trust.anchors);
  const intermediates = open(places.trust.intermediates);
  const recipients: RecipientFolder[] = [];
  const openSource = ({ files }: SourceEntry): CertificateSource => {
    if (files !== undefined) {
      const folder = openRecipientFolder({ path: files, ...options });
      recipients.push(folder);
      return makeFileSource(folder);
    }
    throw new Error('a source of no kind');
  };
  const sources = places.sources.map(openSource);
  const trust = makeTrust({ anchors, intermediates, now: options.now });
  return {
    directory: makeDirectory({ sources, trust, ...options }),
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
