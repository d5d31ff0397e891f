import { pino } from 'pino';
import type { FolderContents, PlacedCertificate } from '../../certificates/folder.ts';
import { openSiteCertificates, type SiteCertificates } from '../../certificates/site.ts';
import { usability } from '../../certificates/usability.ts';
import type { AddressBook, BookEntries, Resolution } from '../../certificates/address-book.ts';
import type { Config } from '../../config.ts';
import { resolverFaults } from './resolvers.ts';
import { notesOf } from './account.ts';
import { pathsOf } from './paths.ts';
import { ownMailbox } from './site.ts';
import type { Fault } from '../../document/fault.ts';

export interface CertificateSurvey {
  /** Certificates that mail can be sealed to now, and the others. */
  readonly usable: number;
  readonly unusable: number;
  readonly faults: readonly Fault[];
  /** Aliases, groups and domains that lead to no certificate, or not to all. */
  readonly notes: readonly string[];
}

/** For `check`: every folder of certificates that the configuration names, read once. */
export async function surveyCertificates(config: Config): Promise<CertificateSurvey> {
  const now = Date.now;
  const site = openSiteCertificates(config.certificates, { ...pathsOf(config).options, now, log: pino({ level: 'silent' }) });
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
    faults.push(...(await resolverFaults(config)));
    const found = contents.flatMap((one) => (one.kind === 'read' ? one.certificates : []));
    const usable = await countUsable(site, found, { now: now(), patience: config.timeouts.lookup });
    return { usable, unusable: found.length - usable, faults, notes: await noteBook(site.addressBook, config.certificates) };
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

/** One at a time: a book may be long, and its sources are other people's servers. */
async function noteBook(book: AddressBook, { aliases = [], groups = [], domains = [] }: BookEntries): Promise<string[]> {
  const notes: string[] = [];
  const note = (what: string, resolution: Resolution): void => {
    if (resolution.kind === 'absent') notes.push(`${what}: no usable certificate`);
    if (resolution.kind === 'unavailable') notes.push(`${what}: cannot be looked up now, ${resolution.source} does not answer`);
    notes.push(...notesOf(resolution).map((one) => `${what}: ${one}`));
  };
  for (const { address, target } of aliases) note(`the alias ${address.address} of ${target.address}`, await book.resolve(address));
  for (const { address } of groups) note(`the group ${address.address}`, await book.resolve(address));
  for (const { domain, address } of domains) note(`the domain ${domain} by ${address.address}`, await book.resolve(address));
  return notes;
}
