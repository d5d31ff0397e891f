/** The certificates of a site, opened for one command: read once, judged as the relay judges them. */
import { pino } from 'pino';
import type { Certificate } from '../../certificates/certificate.ts';
import { makeDirectory } from '../../certificates/directory.ts';
import type { Directory } from '../../certificates/directory.ts';
import { makeFileSource } from '../../certificates/files.ts';
import { makeCertificateFolder } from '../../certificates/folder.ts';
import type { CertificateFolder, PlacedCertificate } from '../../certificates/folder.ts';
import { makeTrust } from '../../certificates/trust.ts';
import { usability } from '../../certificates/usability.ts';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';
import { shown } from './paths.ts';
import type { CertificatePaths } from './paths.ts';

export interface Site {
  readonly directory: Directory;
  /** What a folder holds; its broken files go to stderr. Throws `file-unreadable` where it cannot be read. */
  read(path: string): Promise<readonly PlacedCertificate[]>;
  /** Why mail would not be sealed to it; undefined where it would. Throws where the anchors cannot be read. */
  reasonAgainst(certificate: Certificate): Promise<string | undefined>;
}

/** Everything that was opened is closed when `act` is done. */
export async function withSite<T>(paths: CertificatePaths, terminal: Terminal, act: (site: Site) => Promise<T>): Promise<T> {
  const now = Date.now;
  // What the relay would log, a command says on stderr.
  const log = pino({ level: 'silent' });
  const folders = new Map<string, CertificateFolder>();
  const open = (path: string): CertificateFolder => {
    const folder = folders.get(path) ?? makeCertificateFolder({ path, log, now });
    folders.set(path, folder);
    return folder;
  };
  const trust = makeTrust({ anchors: open(paths.anchors), intermediates: open(paths.intermediates), now });
  const sources = paths.sources.map((path) => makeFileSource({ path, log, now }));
  try {
    return await act({
      directory: makeDirectory({ sources, trust, now, log }),
      read: async (path) => {
        const contents = await open(path).contents();
        if (contents.kind === 'unavailable') {
          const hint = 'sealpost init makes the folders of a site; the configuration names them';
          throw new SealpostError('file-unreadable', { detail: shown(path, terminal), hint, cause: contents.cause });
        }
        for (const { place, faults } of contents.broken)
          terminal.stderr.write(`sealpost: ${place} is broken: ${faults.slice(0, 3).join('; ')}\n`);
        return contents.certificates;
      },
      reasonAgainst: async (certificate) => {
        const usable = usability(certificate, now());
        if (usable.kind === 'unusable') return usable.reason;
        const verdict = await trust.judge(certificate);
        if (verdict.kind === 'unavailable')
          throw new SealpostError('file-unreadable', { detail: 'the folders of anchors', cause: verdict.cause });
        return verdict.kind === 'trusted' ? undefined : verdict.reason;
      },
    });
  } finally {
    for (const one of [...folders.values(), ...sources]) one.close();
  }
}
