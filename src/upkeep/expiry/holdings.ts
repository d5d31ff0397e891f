/**
 * The certificates that mail is sealed to, as a survey of expiry wants them: those of the folders, judged as for sealing, and those that
 * stand in no folder (directories, DNS), as far as mail was sealed to them of late. The relay and `certs expiring` read the same.
 */
import { sep } from 'node:path';
import type { Certificate } from '../../certificates/certificate.ts';
import type { Holding, Standing } from '../../certificates/expiry/survey.ts';
import type { PlacedCertificate } from '../../certificates/folder.ts';
import { usability } from '../../certificates/usability.ts';
import type { IssuedRecord } from '../../certificates/authority/ledger.ts';
import { isApproved, isKnownAddress, type KnownCertificate } from '../../queue/known.ts';

/** How long a certificate that stands in no folder counts after mail was sealed to it last. */
export const USED_MS = 90 * 86_400_000;
/** The day of a use is written, not its hour. */
const SAME_USE_MS = 2 * 86_400_000;

export interface HoldingsFrom {
  /** Of every folder that is a source. */
  readonly placed: AsyncIterable<PlacedCertificate>;
  /** True where mail would be sealed to it, which is usable by itself. Throws where that cannot be known. */
  readonly isTrusted: (certificate: Certificate) => Promise<boolean>;
  /** The paths of the folders: what is known of a certificate there, the folder itself tells. */
  readonly folders: readonly string[];
  /** What is known of addresses, by address: of the last 90 days, and all of it under a pin. */
  readonly known: AsyncIterable<KnownCertificate>;
  /** By fingerprint: what the in-house CA has issued. */
  readonly issued: ReadonlyMap<string, IssuedRecord>;
  /** certificates.pin */
  readonly pinned: boolean;
  /** Ms since the epoch. */
  readonly now: number;
}

/** Each address of each certificate once, `first` for the first of a certificate. */
export async function* holdingsOf(from: HoldingsFrom): AsyncGenerator<Holding & { readonly first: boolean }> {
  const { placed, folders, known, issued, pinned, now } = from;
  const inFolders = folders.flatMap(tails);
  /** Under a pin: what may be used for an address, of those that are known. */
  const pins = new Map<string, ReadonlySet<string>>();
  for await (const rows of byAddress(known)) {
    const [{ address }] = rows;
    if (pinned && isKnownAddress(rows)) pins.set(address, new Set(rows.filter(isApproved).map(({ fingerprint }) => fingerprint)));
    for (const row of current(rows, inFolders, now)) yield { ...elsewhere(row, issued, now), first: true };
  }
  for await (const { certificate, place } of placed) {
    const standing = await standingOf(certificate, from);
    const { fingerprint, issuer, serial } = certificate;
    const times = { notBefore: certificate.notBefore.getTime(), notAfter: certificate.notAfter.getTime() };
    for (const [index, address] of certificate.addresses.entries()) {
      const waits = standing === 'usable' && pins.get(address)?.has(fingerprint) === false;
      const inHouse = issued.has(fingerprint);
      yield { address, fingerprint, issuer, serial, ...times, place, standing: waits ? 'other' : standing, inHouse, first: index === 0 };
    }
  }
}

/** What the places of a folder's certificates may begin with: as much of the end of its path as tells it from others. */
const tails = (folder: string): string[] =>
  folder.split(sep).flatMap((part, index, parts) => (part === '' ? [] : [`${parts.slice(index).join('/')}/`]));

async function standingOf(certificate: Certificate, { isTrusted, issued, now }: HoldingsFrom): Promise<Standing> {
  // Also before the next list is read, and where nobody reads lists.
  if ((issued.get(certificate.fingerprint)?.revoked ?? null) !== null) return 'other';
  if (usability(certificate, now).kind === 'usable') return (await isTrusted(certificate)) ? 'usable' : 'other';
  const end = certificate.notAfter.getTime();
  return end < now && usability(certificate, end).kind === 'usable' ? 'ended' : 'other';
}

/** In no folder, and of the address's last use: what was used before and is not any more has been replaced where it stood. */
function current(rows: readonly KnownCertificate[], inFolders: readonly string[], now: number): KnownCertificate[] {
  // One that was approved unseen has no texts, and no end that is known.
  const used = rows.filter((row) => isApproved(row) && row.source !== '' && row.lastAt >= now - USED_MS);
  const last = Math.max(...used.map(({ lastAt }) => lastAt));
  return used.filter(({ lastAt, source }) => lastAt > last - SAME_USE_MS && !inFolders.some((folder) => source.startsWith(folder)));
}

function elsewhere(row: KnownCertificate, issued: ReadonlyMap<string, IssuedRecord>, now: number): Holding {
  const { address, fingerprint, issuer, serial, notAfter, source: place } = row;
  const record = issued.get(fingerprint);
  const ended = notAfter < now ? 'ended' : 'usable';
  const standing = (record?.revoked ?? null) === null ? ended : 'other';
  return { address, fingerprint, issuer, serial, notBefore: null, notAfter, place, standing, inHouse: record !== undefined };
}

/** Rows of one address stand together. */
async function* byAddress(known: AsyncIterable<KnownCertificate>): AsyncGenerator<readonly [KnownCertificate, ...KnownCertificate[]]> {
  let rows: [KnownCertificate, ...KnownCertificate[]] | undefined;
  for await (const row of known) {
    if (rows !== undefined && rows[0].address === row.address) rows.push(row);
    else {
      if (rows !== undefined) yield rows;
      rows = [row];
    }
  }
  if (rows !== undefined) yield rows;
}
