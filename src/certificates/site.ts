import type { Logger } from 'pino';
import { type Directory, makeDirectory } from './directory.ts';
import { makeFileSource } from './files.ts';
import { type CertificateFolder, makeCertificateFolder } from './folder.ts';
import { makeTrust, type Trust } from './trust.ts';

/** As the configuration names them; absolute paths. */
export interface CertificatePlaces {
  readonly sources: readonly { readonly files: string }[];
  readonly trust: { readonly anchors: string; readonly intermediates: string };
}

/** The certificate stage of one site. */
export interface SiteCertificates {
  readonly directory: Directory;
  readonly trust: Trust;
  /** In the order they are asked. */
  readonly recipients: readonly CertificateFolder[];
  readonly anchors: CertificateFolder;
  /** Ends the polling of all folders. */
  close(): void;
}

export function openSiteCertificates(
  places: CertificatePlaces,
  options: { readonly now: () => number; readonly log: Logger },
): SiteCertificates {
  const open = (path: string): CertificateFolder => makeCertificateFolder({ path, ...options });
  const anchors = open(places.trust.anchors);
  const intermediates = open(places.trust.intermediates);
  const recipients = places.sources.map(({ files }) => open(files));
  const trust = makeTrust({ anchors, intermediates, now: options.now });
  return {
    directory: makeDirectory({ sources: recipients.map(makeFileSource), trust, ...options }),
    trust,
    recipients,
    anchors,
    close: () => [anchors, intermediates, ...recipients].forEach((folder) => folder.close()),
  };
}
