import { pino } from 'pino';
import type { FolderContents, PlacedCertificate } from '../../certificates/folder.ts';
import { openSiteCertificates, type SiteCertificates } from '../../certificates/site.ts';
import { usability } from '../../certificates/usability.ts';
import type { Config } from '../../config.ts';
import { pathsOf } from './paths.ts';
import { ownMailbox } from './site.ts';
import type { Fault } from '../../document/fault.ts';

export interface CertificateSurvey {
  /** Certificates that mail can be sealed to now, and the others. */
  readonly usable: number;
  readonly unusable: number;
  readonly faults: readonly Fault[];
}

/** For `check`: every folder of certificates that the configuration names, read once. */
export async function surveyCertificates(config: Config): Promise<CertificateSurvey> {
  const now = Date.now;
  const site = openSiteCertificates(config.certificates, { ...pathsOf(config).options, now, log: pino({ level: 'silent' }) });
  try {
    const contents = await Promise.all(site.recipients.map((folder) => folder.contents()));
    const anchors = await site.anchors.contents();
    const sets = await Promise.all(site.anchorSets.map(({ folder }) => folder.contents()));
    const faults = [...contents, anchors, ...sets].flatMap(brokenFiles);
    for (const [index, set] of sets.entries()) {
      if (set.kind === 'unavailable' || set.certificates.length > 0) continue;
      faults.push({
        place: site.anchorSets[index]?.folder.path ?? '',
        key: `certificates.trust.anchor_sets[${index}].anchors`,
        wrong: 'holds no certificate, so the set makes nothing trusted',
        mend: 'put the CA of these domains there, or take the set away',
      });
    }
    // A site may believe in sets only.
    if (sets.length === 0 && anchors.kind === 'read' && anchors.certificates.length === 0) {
      const place = config.certificates.trust.anchors;
      faults.push({
        place,
        key: 'certificates.trust.anchors',
        wrong: 'holds no certificate, so none is trusted',
        mend: "put the CA there that issued your recipients' certificates",
      });
    }
    const found = contents.flatMap((one) => (one.kind === 'read' ? one.certificates : []));
    const usable = await countUsable(site, found, { now: now(), patience: config.timeouts.lookup });
    return { usable, unusable: found.length - usable, faults };
  } finally {
    await site.close();
  }
}

/** A folder that cannot be read is told by the look at the folders themselves. */
function brokenFiles(contents: FolderContents): Fault[] {
  if (contents.kind === 'unavailable') return [];
  const mend = 'replace it by a PEM, DER or PKCS#7 file, or take it away';
  return contents.broken.map(({ place, faults }) => ({ place, key: '', wrong: faults.slice(0, 3).join('; '), mend }));
}

async function countUsable(
  { trust }: SiteCertificates,
  found: readonly PlacedCertificate[],
  { now, patience }: { readonly now: number; readonly patience: number },
): Promise<number> {
  let usable = 0;
  for (const { certificate } of found) {
    if (usability(certificate, now).kind !== 'usable') continue;
    const verdict = await trust.judge(certificate, ownMailbox(certificate), AbortSignal.timeout(patience));
    if (verdict.kind === 'trusted') usable++;
  }
  return usable;
}
