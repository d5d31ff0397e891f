import type { Logger } from 'pino';
import { type Directory, makeDirectory } from './directory.ts';
import { type FileSource, makeFileSource } from './files.ts';
import { type CertificateFolder, makeCertificateFolder } from './folder.ts';
import { makeTrust, type Trust } from './trust.ts';

export interface SitePlaces {
  readonly sources: readonly { readonly files: string }[];
  readonly trust: { readonly anchors: string; readonly intermediates: string };
}

/** The certificate stage of one site, as its configuration names it. */
export interface SiteCertificates {
  readonly directory: Directory;
  readonly sources: readonly FileSource[];
  readonly anchors: CertificateFolder;
  readonly trust: Trust;
  /** Ends the polling of all folders. */
  close(): void;
}

export function openSiteCertificates(
  { sources, trust }: SitePlaces,
  options: { readonly now: () => number; readonly log: Logger },
): SiteCertificates {
  const anchors = makeCertificateFolder({ path: trust.anchors, ...options });
  const intermediates = makeCertificateFolder({ path: trust.intermediates, ...options });
  const files = sources.map((source) => makeFileSource({ path: source.files, ...options }));
  const judge = makeTrust({ anchors, intermediates, now: options.now });
  return {
    directory: makeDirectory({ sources: files, trust: judge, ...options }),
    sources: files,
    anchors,
    trust: judge,
    close: () => [anchors, intermediates, ...files].forEach((part) => part.close()),
  };
}
