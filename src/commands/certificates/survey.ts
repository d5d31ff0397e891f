import { pino } from 'pino';
import type { BrokenFile } from '../../certificates/folder.ts';
import { hasAuthority } from '../../certificates/authority/files.ts';
import { openSiteCertificates, type SiteCertificates } from '../../certificates/site.ts';
import { usability } from '../../certificates/usability.ts';
import { causeText } from '../../certificates/choose.ts';
import type { AddressBook, BookEntries, Resolution } from '../../certificates/address-book.ts';
import type { Config } from '../../config.ts';
import { noteArchives } from './archives.ts';
import { expiryFaults, noteOperator } from './expiry-check.ts';
import { surveyLists } from './lists.ts';
import { surveyOwnLists } from './own-lists.ts';
import { recordFaults } from './record-check.ts';
import { resolverFaults } from './resolvers.ts';
import { serverFaults } from './servers.ts';
import { notesOf, unavailableText } from './account.ts';
import type { Fault } from '../../document/fault.ts';
import { asSealpostError } from '../../errors.ts';
import type { Rule } from '../../policy/decide.ts';
import { makeProgress } from '../progress.ts';
import type { Terminal } from '../terminal.ts';
import { type CertificatePaths, pathsOf } from './paths.ts';
import { ownMailbox, withPatience } from './site.ts';

export interface CertificateSurvey {
  /** Certificates that mail can be sealed to now, and the others. */
  readonly usable: number;
  readonly unusable: number;
  readonly faults: readonly Fault[];
  /** Aliases, groups and domains that lead to no certificate, or not to all. */
  readonly notes: readonly string[];
}

/** For `check`: every folder of certificates that the configuration names, read once. */
export async function surveyCertificates(
  config: Config,
  terminal: Pick<Terminal, 'stderr' | 'env'>,
  rules: readonly Rule[],
): Promise<CertificateSurvey> {
  const now = Date.now;
  const progress = makeProgress(terminal);
  const paths = pathsOf(config, terminal.env);
  const site = openSiteCertificates(config.certificates, {
    // Aliases, groups and domains are looked up, in directories too.
    ...paths.options,
    now,
    log: pino({ level: 'silent' }),
    progress: (files) => progress.show(`${files} files of certificates read`),
  });
  try {
    const surveys = await Promise.all(site.recipients.map((folder) => folder.survey()));
    const anchors = await site.anchors.contents();
    const sets = await Promise.all(site.anchorSets.map(({ folder }) => folder.contents()));
    const faults = [...surveys, anchors, ...sets].flatMap(brokenFiles);
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
    faults.push(...(await Promise.all([serverFaults(config, terminal.env), resolverFaults(config)])).flat());
    // A folder that cannot be read is told by the look at the folders themselves.
    const readable = site.recipients.filter((_, index) => surveys[index]?.kind === 'read');
    const authorities = [anchors, ...sets, await site.intermediates.contents()].flatMap((one) =>
      one.kind === 'read' ? one.certificates.map(({ certificate }) => certificate) : [],
    );
    const lists = await surveyLists(config, authorities, now());
    const ownLists = await surveyOwnLists(config, { authorities, paths, now: now() });
    faults.push(...lists.faults, ...ownLists.faults, ...recordFaults(paths));
    const { provisional, ...counts } = await countUsable(
      { ...site, recipients: readable },
      { now: now(), patience: config.timeouts.lookup },
    );
    const notes = [
      ...noteWaiting(paths),
      ...noteList(paths, counts.usable),
      ...lists.notes,
      ...ownLists.notes,
      ...(await noteBook(site.addressBook, config.certificates)),
      ...(await noteArchives(site.addressBook, rules)),
    ];
    faults.push(...(await expiryFaults(config, terminal.env)));
    if (counts.usable > 0) notes.push(...(await noteOperator(config, site.addressBook)));
    if (provisional > 0)
      notes.unshift(
        `${provisional === 1 ? '1 certificate' : `${provisional} certificates`} with revocation unknown by what is at hand, under hard: ` +
          'the relay asks, and mail waits (451) while nobody answers; sealpost certs list says why',
      );
    return { ...counts, faults, notes };
  } finally {
    progress.end();
    await site.close();
  }
}

function brokenFiles(
  contents: { readonly kind: 'read'; readonly broken: readonly BrokenFile[] } | { readonly kind: 'unavailable' },
): Fault[] {
  if (contents.kind === 'unavailable') return [];
  return contents.broken.map(({ place, faults }) => ({ place, key: '', wrong: faults.slice(0, 3).join('; '), mend: mendOf(faults) }));
}

/** A file that the system does not give says nothing of what is in it. */
export function mendOf([fault = '']: readonly string[]): string {
  if (/^(?:EACCES|EPERM): /.test(fault)) return 'look at its owner and mode, and those of its folder: the relay reads it as its own user';
  if (/^E[A-Z0-9]+: /.test(fault)) return 'look at the file, its links and its disk, or take it away';
  return 'replace it by a PEM, DER or PKCS#7 file, or take it away';
}

async function countUsable(
  { trust, recipients }: Pick<SiteCertificates, 'trust' | 'recipients'>,
  { now, patience }: { readonly now: number; readonly patience: number },
): Promise<Pick<CertificateSurvey, 'usable' | 'unusable'> & { readonly provisional: number }> {
  let [usable, all, provisional] = [0, 0, 0];
  for (const folder of recipients) {
    for await (const { certificate } of folder.entries()) {
      all++;
      if (usability(certificate, now).kind !== 'usable') continue;
      const verdict = await withPatience(patience, (signal) => trust.judge(certificate, ownMailbox(certificate), signal));
      if (verdict.kind !== 'trusted') continue;
      usable++;
      if (verdict.provisional === true) provisional++;
    }
  }
  return { usable, unusable: all - usable, provisional };
}

/** Of a certificate that is issued already nothing can be mended; so it is said while there are few. */
function noteList(paths: CertificatePaths, usable: number): string[] {
  if (paths.crlUrl !== undefined || usable === 0 || !hasAuthority({ ...paths })) return [];
  return [
    'certificates.authority.crl.url is not set: what the in-house CA issues names no list of the revoked to others; it counts for later ones only',
  ];
}

function noteWaiting({ waiting }: CertificatePaths): string[] {
  try {
    const { size } = waiting();
    if (size === 0) return [];
    return [`${size === 1 ? '1 changed certificate waits' : `${size} changed certificates wait`} for approval: sealpost certs pending`];
  } catch (error) {
    return [`whether changed certificates wait for approval is not known: ${asSealpostError(error).message}`];
  }
}

/** What waits for approval has its reason in its name. */
const why = ({ source, cause }: Resolution & { readonly kind: 'unavailable' }): string => (source === 'pin' ? '' : `: ${causeText(cause)}`);

/** One at a time: a book may be long, and its sources are other people's servers. */
async function noteBook(book: AddressBook, { aliases = [], groups = [], domains = [] }: BookEntries): Promise<string[]> {
  const notes: string[] = [];
  const note = (what: string, resolution: Resolution): void => {
    if (resolution.kind === 'absent') notes.push(`${what}: no usable certificate`);
    if (resolution.kind === 'unavailable')
      notes.push(`${what}: cannot be looked up now: ${unavailableText(resolution.source)}${why(resolution)}`);
    notes.push(...notesOf(resolution).map((one) => `${what}: ${one}`));
  };
  for (const { address, target } of aliases) note(`the alias ${address.address} of ${target.address}`, await book.resolve(address));
  for (const { address } of groups) note(`the group ${address.address}`, await book.resolve(address));
  for (const { domain, address } of domains) note(`the domain ${domain} by ${address.address}`, await book.resolve(address));
  return notes;
}
