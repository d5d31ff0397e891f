import { pino } from 'pino';
import { type FolderContents } from '../../certificates/folder.ts';
import { openSiteCertificates, type SiteCertificates } from '../../certificates/site.ts';
import { usability } from '../../certificates/usability.ts';
import type { Config } from '../../config.ts';
import type { Fault } from '../../document/fault.ts';

export interface CertificateSurvey {
  /** Certificates that mail can be sealed to now. */
  readonly usable: number;
  readonly faults: readonly Fault[];
}

/** For `check`: every folder of certificates that the configuration names, read once. */
export async function surveyCertificates(config: Config): Promise<CertificateSurvey> {
  const now = Date.now;
  const site = openSiteCertificates(config.certificates, { now, log: pino({ level: 'silent' }) });
  try {
    const contents = await Promise.all(site.recipients.map((folder) => folder.contents()));
    const anchors = await site.anchors.contents();
    const faults = [...contents, anchors].flatMap(brokenFiles);
    if (anchors.kind === 'read' && anchors.certificates.length === 0) {
      const place = config.certificates.trust.anchors;
      faults.push({
        place,
        key: 'certificates.trust.anchors',
        wrong: 'holds no certificate, so none is trusted',
        mend: "put the CA there that issued your recipients' certificates",
      });
    }
    return { usable: await countUsable(site, contents, now()), faults };
  } finally {
    site.close();
  }
}

/** A folder that cannot be read is told by the look at the folders themselves. */
function brokenFiles(contents: FolderContents): Fault[] {
  if (contents.kind === 'unavailable') return [];
  const mend = 'replace it by a PEM, DER or PKCS#7 file, or take it away';
  return contents.broken.map(({ place, faults }) => ({ place, key: '', wrong: faults.slice(0, 3).join('; '), mend }));
}

async function countUsable({ trust }: SiteCertificates, contents: readonly FolderContents[], now: number): Promise<number> {
  let usable = 0;
  for (const { certificate } of contents.flatMap((one) => (one.kind === 'read' ? one.certificates : []))) {
    if (usability(certificate, now).kind === 'usable' && (await trust.judge(certificate)).kind === 'trusted') usable++;
  }
  return usable;
}
