/** The certificate stage of one site: its sources, trust and directory, made from the configuration. */
import type { Logger } from 'pino';
import type { AnchorSet } from './anchors.ts';
import { type Directory, makeDirectory } from './directory.ts';
import { makeFileSource } from './files.ts';
import { type CertificateFolder, makeCertificateFolder } from './folder.ts';
import { openRevocation } from './revocation/open.ts';
import type { RevocationMode, RevocationPolicy } from './revocation/policy.ts';
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
    readonly revocation: RevocationMode;
    /** The folder of revocation lists. */
    readonly crls?: string | undefined;
    /** Networks that lists and answers may be fetched from though they are not public. */
    readonly fetchNetworks: readonly string[];
  };
}

/** One entry of `certificates.trust.anchor_sets`; an absolute path. */
export interface AnchorSetEntry {
  readonly anchors: string;
  readonly domains: readonly string[];
  readonly exclusive: boolean;
  /** Instead of the site's. */
  readonly revocation?: RevocationMode | undefined;
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
  /** For a look at many certificates: it judges by the lists and answers that are at hand, and fetches nothing. */
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
  const { crls, fetchNetworks, revocation: mode } = places.trust;
  const revocation = openRevocation({ crls, fetchNetworks, ...options });
  const trustBy = (policy: RevocationPolicy): Trust =>
    makeTrust({ anchors, sets: anchorSets, intermediates, now: options.now, revocation: { policy, mode } });
  return {
    directory: makeDirectory({ sources, trust: trustBy(revocation.asking), ...options }),
    trust: trustBy(revocation.atHand),
    recipients,
    anchors,
    anchorSets,
    close: async () => {
      for (const source of sources) await source.close();
      await revocation.close();
      for (const folder of [anchors, intermediates, ...anchorSets.map((set) => set.folder)]) folder.close();
    },
  };
}
