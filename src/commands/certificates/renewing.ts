/** `certs renew`: new keys and certificates of the in-house CA for people who have one. */
import { join, resolve } from 'node:path';
import type { OpenAuthority } from '../../certificates/authority/files.ts';
import { DAY_MS, type Issued, type KeyChoice, keyNames } from '../../certificates/authority/issue.ts';
import type { IssuedRecord } from '../../certificates/authority/ledger.ts';
import { dueForRenewal, judgeRenewal, newestByAddress, renewCertificate } from '../../certificates/authority/renew.ts';
import { SealpostError } from '../../errors.ts';
import { mailboxKey, parseMailbox } from '../../message/envelope.ts';
import { issuedHandlers } from '../../upkeep/issued.ts';
import { changeQueue } from '../change.ts';
import { operatorName } from '../locate.ts';
import { makeProgress } from '../progress.ts';
import type { Terminal } from '../terminal.ts';
import { openSiteAuthority } from './authority.ts';
import { type InHouse, type InHouseFolders, readFolders, readInHouse } from './in-house.ts';
import { place } from './place.ts';
import { inBatches } from './issuing.ts';
import { keyText } from './key-text.ts';
import { assertFreeKit, type Kit, kitFor, writeKit } from './kit.ts';
import type { CertificatePaths } from './paths.ts';
import { tellRenewed } from './renewed.ts';
import type { Refused, Renewed } from './renewed.ts';
import { withSite } from './site.ts';

export interface RenewWish {
  /** ms: all that end within it, instead of named ones. */
  readonly within?: number;
  readonly key?: KeyChoice;
  readonly days?: number;
  readonly out?: string;
  readonly by?: string;
  readonly again?: true;
  readonly dryRun?: true;
  readonly json?: true;
}

/** What is refused keeps nothing else back; throws at the end where anything was. */
export async function renew(what: readonly string[], wish: RenewWish, paths: CertificatePaths, terminal: Terminal): Promise<void> {
  if ((what.length === 0) === (wish.within === undefined)) {
    throw new SealpostError('usage', {
      detail: 'addresses or fingerprints, or --within',
      hint: 'sealpost certs renew --within 30d --dry-run',
    });
  }
  const authority = await openSiteAuthority(paths, terminal);
  const now = Date.now();
  const { chosen, refused } = await withSite(paths, terminal, async (site) =>
    choose(what, wish, { paths, site, authority, terminal }, now),
  );
  const out = wish.out === undefined ? join(paths.issued, `renewed-${dayOf(now)}`) : resolve(terminal.cwd, wish.out);
  const jobs = chosen.map((record): Job => ({ record, kit: kitFor(record.address, out) }));
  const done = wish.dryRun === true ? jobs.map(foretell(wish)) : await carryOut(jobs, { wish, paths, authority, now }, terminal);
  tellRenewed({ done, refused }, { ...wish, pinned: paths.options.known !== undefined }, terminal);
  if (refused.length === 0) return;
  const detail = `${refused.length} of ${refused.length + done.length} not renewed`;
  throw new SealpostError('certificate-unusable', { detail, hint: 'the reasons stand above' });
}

interface Choice {
  readonly chosen: readonly IssuedRecord[];
  readonly refused: readonly Refused[];
}

async function choose(
  what: readonly string[],
  { within, again }: RenewWish,
  from: InHouseFolders & { readonly terminal: Terminal },
  now: number,
): Promise<Choice> {
  const inHouse = readInHouse(from.paths, from.terminal);
  if (within !== undefined) {
    await readFolders(inHouse, from);
    const due = dueForRenewal(placedOf(inHouse), { now, within }).map((record) => ({
      record,
      reason: endOfAuthority(record, from, again),
    }));
    return {
      chosen: due.flatMap(({ record, reason }) => (reason === undefined ? [record] : [])),
      refused: due.flatMap(({ record, reason }) => (reason === undefined ? [] : [{ what: record.address, reason }])),
    };
  }
  const chosen = new Map<string, IssuedRecord>();
  const refused: Refused[] = [];
  for (const one of what) {
    const record = await find(one, inHouse, from);
    const reason =
      typeof record === 'string'
        ? record
        : again === true
          ? undefined
          : (endOfAuthority(record, from) ?? reasonAgainst(record, inHouse, now));
    if (typeof record === 'string' || reason !== undefined) refused.push({ what: one, reason: reason ?? '' });
    else chosen.set(record.address, record);
  }
  return { chosen: [...chosen.values()], refused };
}

/** A certificate ends with its CA at the latest: where that gains nobody a day, a new CA is what is needed. */
function endOfAuthority({ notAfter }: IssuedRecord, { authority }: InHouseFolders, again?: true): string | undefined {
  const end = authority.issuing.certificate.notAfter.getTime();
  if (again === true || end - notAfter >= DAY_MS) return undefined;
  return `the in-house CA itself ends on ${dayOf(end)}, and no certificate lasts longer; --again renews it all the same`;
}

/** The shortest beginning of a fingerprint that is taken for one. */
const MIN_FINGERPRINT = 8;

/** The certificate that is meant, or why there is none. */
async function find(what: string, inHouse: InHouse, from: InHouseFolders): Promise<IssuedRecord | string> {
  const verdict = parseMailbox(what);
  if (verdict.kind === 'mailbox') {
    const address = mailboxKey(verdict.mailbox);
    await readFolders(inHouse, from, { address });
    const own = [...inHouse.records.values()].filter((record) => record.address === address);
    const [last] = own.sort((one, other) => other.notBefore - one.notBefore);
    return (
      newestByAddress(placedOf(inHouse)).get(address) ??
      newestByAddress(own).get(address) ??
      last ??
      'the in-house CA has signed none for it: sealpost certs issue makes the first'
    );
  }
  const begun = what.replace(/[:\s]/g, '').toLowerCase();
  if (!/^[0-9a-f]+$/.test(begun) || begun.length < MIN_FINGERPRINT)
    return `neither an address nor ${MIN_FINGERPRINT} figures of a SHA-256 fingerprint`;
  await readFolders(inHouse, from, { fingerprint: begun });
  const meant = [...inHouse.records.values()].filter(({ fingerprint }) => fingerprint.startsWith(begun));
  const [record, another] = meant;
  if (record === undefined) return 'the in-house CA has signed no such certificate';
  if (another !== undefined) return `it begins ${meant.length} fingerprints: give more of it`;
  await readFolders(inHouse, from, { address: record.address });
  return record;
}

/**
 * Only what stands in a folder takes over from another: a run that was interrupted has left its own in the ledger alone. And who was
 * taken out of the folders is not to come back by a rule.
 */
const placedOf = ({ records, placed }: InHouse): readonly IssuedRecord[] =>
  [...records.values()].filter(({ fingerprint }) => placed.has(fingerprint));

function reasonAgainst(record: IssuedRecord, inHouse: InHouse, now: number): string | undefined {
  const verdict = judgeRenewal(record, newestByAddress([record, ...placedOf(inHouse)]), now);
  if (verdict.kind === 'renewable') return undefined;
  if (verdict.kind === 'revoked')
    return `it was revoked on ${dayOf(verdict.revoked.at)} (${verdict.revoked.reason}); --again renews it all the same`;
  const { by } = verdict;
  return `a newer one was made on ${dayOf(by.issuedAt)}, valid until ${dayOf(by.notAfter)} (${by.fingerprint.slice(0, 16)}); --again makes another`;
}

interface Job {
  readonly record: IssuedRecord;
  readonly kit: Kit;
}

const foretell =
  ({ key }: RenewWish) =>
  ({ record }: Job): Renewed => ({
    address: record.address,
    key: key === undefined ? record.key : keyNames[key],
    renews: renewsOf(record),
    made: null,
  });

interface Means {
  readonly wish: RenewWish;
  readonly paths: CertificatePaths;
  readonly authority: OpenAuthority;
  readonly now: number;
}

/** Keys that are made before they are written: a few seconds of work to lose. */
const BATCH = 50;

/** First the ledger, then what the reader gets, and the certificate last: nothing is ever sealed to a key that was not handed out. */
async function carryOut(jobs: readonly Job[], means: Means, terminal: Terminal): Promise<readonly Renewed[]> {
  const { wish, authority, now } = means;
  for (const { kit } of jobs) assertFreeKit(kit, terminal);
  const progress = makeProgress(terminal);
  const done: Renewed[] = [];
  try {
    for (let at = 0; at < jobs.length; at += BATCH) {
      const batch = jobs.slice(at, at + BATCH);
      const { key, days } = wish;
      const issued = await Promise.all(
        batch.map(({ record }) => renewCertificate({ authority: authority.issuing, record, key, days, crlUrl: means.paths.crlUrl, now })),
      );
      const pairs = batch.flatMap((job, index) => {
        const made = issued[index];
        return made === undefined ? [] : [{ ...job, made }];
      });
      await keepInLedger(pairs, means, terminal);
      for (const pair of pairs) {
        done.push(await handOver(pair, means, terminal));
        progress.show(`${done.length} of ${jobs.length} renewed`);
      }
    }
  } finally {
    progress.end();
  }
  return done;
}

type Made = Job & { readonly made: Issued };

async function keepInLedger(pairs: readonly Made[], { wish, paths, authority, now }: Means, terminal: Terminal): Promise<void> {
  const operator = operatorName(terminal);
  const issuedBy = wish.by === undefined ? operator : `${wish.by}, typed by ${operator}`;
  const issuer = authority.issuing.certificate;
  const records = pairs.map(({ record, made: { certificate } }): IssuedRecord => ({
    serial: certificate.serial,
    fingerprint: certificate.fingerprint,
    address: record.address,
    issuer: issuer.fingerprint,
    name: record.name,
    key: keyText(certificate),
    notBefore: certificate.notBefore.getTime(),
    notAfter: certificate.notAfter.getTime(),
    issuedAt: now,
    issuedBy,
    revoked: null,
    renews: record.serial,
  }));
  for (const batch of inBatches(records)) {
    const request = { command: 'certs-issued', operator: issuedBy, issuer: issuer.subject, records: batch };
    await changeQueue(terminal, paths.queue, request, (store) => issuedHandlers(store.records), { make: true });
  }
}

async function handOver({ record, kit, made }: Made, { paths, authority }: Means, terminal: Terminal): Promise<Renewed> {
  const { address, name, fingerprint, notAfter } = record;
  const renews = { fingerprint, notAfter: new Date(notAfter) };
  await writeKit(kit, { address, name: name ?? undefined, operator: paths.operator, renews, issued: made, authority });
  const { certificate } = made;
  const file = await place(certificate, paths, terminal);
  return {
    address,
    key: keyText(certificate),
    renews: renewsOf(record),
    made: {
      fingerprint: certificate.fingerprint,
      serial: certificate.serial,
      not_after: certificate.notAfter.toISOString(),
      certificate: file,
      p12: kit.p12,
      password_file: kit.password,
      page: kit.page,
    },
  };
}

const renewsOf = ({ fingerprint, serial, key, notAfter }: IssuedRecord): Renewed['renews'] => ({
  fingerprint,
  serial,
  key,
  not_after: new Date(notAfter).toISOString(),
});

const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
