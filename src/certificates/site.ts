/** The certificate stage of one site: its sources, trust and directory, made from the configuration. */
import type { Logger } from 'pino';
import type { AnchorSet } from './anchors.ts';
import { type Directory, makeDirectory } from './directory.ts';
import { makeFileSource } from './files.ts';
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
  readonly trust: {
    readonly anchors: string;
    readonly intermediates: string;
    /** Anchors of some domains only. */
    readonly anchorSets?: readonly AnchorSetEntry[];
  };
}

/** One entry of `certificates.trust.anchor_sets`; an absolute path. */
export interface AnchorSetEntry {
  readonly anchors: string;
  readonly domains: readonly string[];
  readonly exclusive: boolean;
}

export interface SiteOptions {
  /** ms */
  readonly now: () => number;
  readonly log: Logger;
  /** ms for one look-up. */
  readonly patience: number;
  /** Where indexes and caches are kept, absolute; it need not exist. A command that only looks reads them and writes none. */
  readonly cache: { readonly folder: string; readonly writable: boolean };
}

/** The certificate stage of one site. */
export interface SiteCertificates {
  readonly directory: Directory;
  readonly trust: Trust;
  /** The folders among the sources, in the order they are asked. */
  readonly recipients: readonly CertificateFolder[];
  readonly anchors: CertificateFolder;
  /** In the order of the configuration. */
  readonly anchorSets: readonly AnchorSet[];
  /** Ends polling, connections and threads. */
  close(): Promise<void>;
}

export function openSiteCertificates(places: CertificatePlaces, options: SiteOptions): SiteCertificates {
  const open = (path: string): CertificateFolder => makeCertificateFolder({ path, ...options });
  const anchors = open(places.trust.anchors);
  const intermediates = open(places.trust.intermediates);
  const recipients: CertificateFolder[] = [];
  const openSource = ({ files }: SourceEntry): CertificateSource => {
    if (files !== undefined) {
      const folder = open(files);
      recipients.push(folder);
      return makeFileSource(folder);
    }
    throw new Error('a source of no kind');
  };
  const sources = places.sources.map(openSource);
  const anchorSets = (places.trust.anchorSets ?? []).map((set): AnchorSet => ({ ...set, folder: open(set.anchors) }));
  const trust = makeTrust({ anchors, sets: anchorSets, intermediates, now: options.now });
  return {
    directory: makeDirectory({ sources, trust, ...options }),
    trust,
    recipients,
    anchors,
    anchorSets,
    close: async () => {
      for (const source of sources) await source.close();
      for (const folder of [anchors, intermediates, ...anchorSets.map((set) => set.folder)]) folder.close();
    },
  };
}
