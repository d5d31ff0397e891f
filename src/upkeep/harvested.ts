/**
 * Certificates that came with signed mail, until an operator has said a word on them (certificates/harvest/harvest.ts judges the mail).
 * Each is a record under its fingerprint:
 *
 *   keep ──▶ waiting ──approve──▶ taken: a file in the relay's own folder, a source like any other
 *      │        └─────reject, or 90 days──▶ gone
 *      └─ by rule (`certificates.harvest.approve_issuers`) ──▶ taken
 *
 * A rule takes nothing a second time (harvested-decided.ts), nor where the address is pinned to others, or where the certificate names further addresses (A22). The file is written before the record goes: what an interruption
 * leaves is approved again, and nothing is lost. How many wait is bounded; the oldest stay, so that a flood drives nobody out.
 */
import type { Logger } from 'pino';
import type { AuditEvent } from '../audit.ts';
import type { Certificate } from '../certificates/certificate.ts';
import { parseCertificate } from '../certificates/certificate.ts';
import type { RecipientFolder } from '../certificates/files.ts';
import type { CertificateFolder } from '../certificates/folder.ts';
import type { Path } from '../certificates/path.ts';
import type { Config } from '../config.ts';
import type { Fault } from '../document/fault.ts';
import { SealpostError } from '../errors.ts';
import { isApproved, isKnownAddress, type KnownFilter } from '../queue/known.ts';
import type { QueueStore } from '../queue/queue.ts';
import type { RecordChange } from '../queue/records.ts';
import { type Capabilities, capabilityChange } from './capabilities.ts';
import { makeDecided } from './harvested-decided.ts';
import { type HarvestedRecord, KIND, writeRecord } from './harvested-record.ts';
import { makeWaiting, type Waits, waitsOf } from './harvested-waiting.ts';
import { isOwnCertificate, ownFolderFault, writeOwnCertificate, writeTakenIntermediate } from './own-certificates.ts';

/** `waiting`: it waits already. `known`: a folder of the site has it. */
export type Kept = 'pending' | 'waiting' | 'taken' | 'known';

export interface HarvestedParts {
  readonly config: Pick<Config, 'queue' | 'certificates' | 'file'>;
  readonly store: Pick<QueueStore, 'records' | 'known'>;
  /** Where the relay runs; a command leaves them to its next start. */
  readonly capabilities?: Capabilities;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** What came of one mail, as the judge of it says. */
export interface NewHarvest extends Omit<HarvestedRecord, 'at'> {
  /** Fingerprints of the CAs above it. */
  readonly issuers: readonly string[];
  /** A folder of the site has it: an operator brings it for what its holder can open now. */
  readonly known?: boolean;
}

export interface Harvested {
  /** Durable on resolve. Throws `harvest-full`, and `config-invalid` where no source reads the relay's own folder. */
  keep(harvest: NewHarvest): Promise<Kept>;
  /** What waits and is so named. */
  find(filter: KnownFilter): Promise<readonly HarvestedRecord[]>;
  approve(record: HarvestedRecord, operator: string): Promise<void>;
  /** Answers how many were dropped. */
  reject(filter: KnownFilter, operator: string): Promise<number>;
  /** They were removed by somebody: no rule takes them again. */
  remember(certificates: readonly Certificate[]): Promise<void>;
}

/** Of one address, and of all. */
const MAX_OF_ADDRESS = 8;
const MAX_WAITING = 1000;
const DAY_MS = 86_400_000;
/** A certificate that nobody has said a word on for so long is not wanted. */
const KEPT_MS = 90 * DAY_MS;
/** Addresses of which it is remembered that they were told of today. */
const MAX_TOLD = 1000;
/** That one certificate names: people look at all of them, and the audit log has them. */
const MAX_ADDRESSES = 32;
/** Octets of what is kept of one mail: it has to pass the control socket. */
const MAX_OCTETS = 40 * 1024;

export function makeHarvested({ config, store, capabilities, now, log }: HarvestedParts): Harvested {
  const { records, known } = store;
  const rule: ReadonlySet<string> = new Set(config.certificates.harvest.approveIssuers);
  /** The day that an address was told of. */
  const told = new Map<string, number>();
  let last: Promise<unknown> = Promise.resolve();
  /** One at a time: what is counted must hold when it is written. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work);
    last = turn.catch(() => undefined);
    return turn;
  };
  const waiting = makeWaiting(records);
  const decided = makeDecided(records, now);
  const readAll = async (those: readonly Waits[]): Promise<readonly HarvestedRecord[]> => {
    const read: HarvestedRecord[] = [];
    for (const one of those) read.push(...[(await waiting.read(one)) ?? []].flat());
    return read;
  };
  const find = async ({ address, fingerprint }: KnownFilter): Promise<readonly HarvestedRecord[]> =>
    readAll((await waiting.all()).filter((one) => one.address === address && one.fingerprint.startsWith(fingerprint ?? '')));
  /** It was taken once, and somebody took it away, or said no. */
  const isUnwanted = async (certificate: Certificate): Promise<boolean> =>
    (await decided.has(certificate.fingerprint)) && !(await isOwnCertificate(config, certificate));

  /** A certificate is used for every address that it names, so each of them has to allow it. */
  const isPinned = async ({ addresses, fingerprint }: Certificate): Promise<boolean> => {
    if (!config.certificates.pin) return false;
    for (const address of addresses) {
      const rows = await known.of(address);
      if (isKnownAddress(rows) && !rows.some((row) => isApproved(row) && row.fingerprint === fingerprint)) return true;
    }
    return false;
  };
  const write = async ({ certificate, intermediates }: Pick<HarvestedRecord, 'certificate' | 'intermediates'>): Promise<void> => {
    const fault = ownFolderFault(config, 'certificates.harvest');
    if (fault !== undefined) throw new SealpostError('config-invalid', { detail: fault.wrong, hint: fault.mend });
    for (const one of intermediates) await writeTakenIntermediate(config, one);
    await writeOwnCertificate(config, certificate);
  };
  const change = async (
    changes: readonly RecordChange[],
    events: readonly AuditEvent[],
    record: Omit<HarvestedRecord, 'at'>,
  ): Promise<boolean> => {
    const done = await records.change([...changes, ...capabilityChange(record)], events);
    if (done) capabilities?.set(record.certificate.fingerprint, record.capabilities);
    return done;
  };
  /** It is a file now, and waits no more. */
  const leave = async (record: Omit<HarvestedRecord, 'at'>, events: readonly AuditEvent[]): Promise<void> => {
    const { certificate } = record;
    await change([removal(certificate.fingerprint), ...(await decided.changes([certificate]))], events, record);
    await waiting.gone([certificate.fingerprint]);
  };
  const take = async (harvest: NewHarvest): Promise<Kept> => {
    await write(harvest);
    await leave(harvest, [harvestedEvent(harvest, false), approved(harvest, 'rule')]);
    return 'taken';
  };
  const note = async (harvest: NewHarvest): Promise<Kept> => {
    const [wanted] = capabilityChange(harvest);
    const stands = wanted && (await records.get(wanted.kind, wanted.key))?.value;
    if (wanted !== undefined && stands !== wanted.value) await change([], [harvestedEvent(harvest, false)], harvest);
    return 'known';
  };
  const wait = async (harvest: NewHarvest): Promise<Kept> => {
    const { address, certificate } = harvest;
    const all = await waiting.all();
    if (all.some((one) => one.fingerprint === certificate.fingerprint)) return 'waiting';
    const stale = all.filter((one) => one.at < now() - KEPT_MS || one.until < now());
    if (stale.length > 0) await drop(await readAll(stale), 'relay');
    const left = all.filter((one) => !stale.includes(one));
    if (left.length >= MAX_WAITING || left.filter((one) => one.address === address).length >= MAX_OF_ADDRESS) {
      log.warn({ recipient: address, waiting: left.length }, 'a harvested certificate was not kept: too many wait for approval');
      // Whoever floods this shall not fill the audit log: once a day for an address; a new start tells again.
      const day = Math.floor(now() / DAY_MS);
      if (told.get(address) !== day) await records.change([], [unlisted(harvest, left.length)]);
      if (told.size >= MAX_TOLD) told.clear();
      told.set(address, day);
      throw new SealpostError('harvest-full');
    }
    const added: RecordChange = { kind: KIND, key: certificate.fingerprint, value: writeRecord(harvest), was: null };
    if (!(await records.change([added], [harvestedEvent(harvest, true)]))) return 'waiting';
    await waiting.added(waitsOf({ ...harvest, at: now() }));
    return 'pending';
  };
  const drop = async (those: readonly HarvestedRecord[], operator: string, also: readonly RecordChange[] = []): Promise<void> => {
    const fingerprints = those.map(({ certificate }) => certificate.fingerprint);
    const events = those.map((one): AuditEvent => ({ event: 'certificate-rejected', ...about(one), operator }));
    await records.change([...fingerprints.map(removal), ...also], events);
    await waiting.gone(fingerprints);
  };
  /** Under a pin the approval counts for the pin too. An address that nothing is known of has none. */
  const approvePin = async (address: string, certificate: Certificate, operator: string): Promise<boolean> => {
    const { fingerprint, subject, issuer, serial, notAfter } = certificate;
    const use = {
      address,
      fingerprint,
      subject,
      issuer,
      serial,
      notAfter: notAfter.getTime(),
      source: 'signed mail',
      pinned: true,
      queueId: null,
    };
    await known.wait(use);
    return (await known.approve({ address, fingerprint }, operator)).kind === 'approved';
  };
  return {
    keep: (harvest) =>
      inTurn(async () => {
        const octets = [harvest.certificate, ...harvest.intermediates].reduce((sum, { der }) => sum + der.length, 0);
        if (octets > MAX_OCTETS)
          throw new SealpostError('harvest-refused', { detail: `its certificates have more than ${MAX_OCTETS} octets` });
        if (harvest.known === true) return note(harvest);
        const { addresses } = harvest.certificate;
        if (addresses.length > MAX_ADDRESSES)
          throw new SealpostError('harvest-refused', { detail: `its certificate names more than ${MAX_ADDRESSES} addresses` });
        // The mail speaks for one address; a person says whether it is right for the others.
        const ruled = addresses.length === 1 && harvest.issuers.some((issuer) => rule.has(issuer));
        const taking = ruled && !(await isPinned(harvest.certificate)) && !(await isUnwanted(harvest.certificate));
        return taking ? take(harvest) : wait(harvest);
      }),
    find,
    approve: (record, operator) =>
      inTurn(async () => {
        await write(record);
        const { address, certificate } = record;
        for (const other of certificate.addresses) if (other !== address) await approvePin(other, certificate, operator);
        const isTold = await approvePin(address, certificate, operator);
        await leave(record, isTold ? [] : [approved(record, operator)]);
      }),
    reject: (filter, operator) =>
      inTurn(async () => {
        const those = await find(filter);
        const certificates = those.map(({ certificate }) => certificate);
        if (those.length > 0) await drop(those, operator, await decided.changes(certificates));
        return those.length;
      }),
    remember: (certificates) =>
      inTurn(async () => {
        await records.change(await decided.changes(certificates), []);
      }),
  };
}

/** For `check`. */
export function harvestFaults(config: Pick<Config, 'queue' | 'certificates' | 'file'>): readonly Fault[] {
  const { address, approveIssuers } = config.certificates.harvest;
  if (address === undefined && approveIssuers.length === 0) return [];
  return [ownFolderFault(config, 'certificates.harvest') ?? []].flat();
}

/** True where a folder of the site has it. Throws `lookup-unavailable` where one cannot be read: that is not its absence (P5). */
export async function isInFolders(folders: readonly Pick<RecipientFolder, 'entries'>[], fingerprint: string): Promise<boolean> {
  try {
    for (const folder of folders) for await (const _ of folder.entries({ fingerprint })) return true;
    return false;
  } catch (cause) {
    throw new SealpostError('lookup-unavailable', { detail: 'a folder of certificates', cause });
  }
}

/** Of the path, those that the site lacks: they came with the mail, and the next look-up needs them. */
export async function lackingOf(path: Path, intermediates: CertificateFolder): Promise<readonly Certificate[]> {
  const contents = await intermediates.contents();
  const there = new Set(contents.kind === 'read' ? contents.certificates.map(({ certificate }) => certificate.fingerprint) : []);
  return path.slice(1, -1).filter(({ fingerprint }) => !there.has(fingerprint));
}

type About = Pick<HarvestedRecord, 'address' | 'certificate'>;

const about = ({ address, certificate }: About) => ({
  recipient: address,
  addresses: certificate.addresses.join(', '),
  certificate_sha256: certificate.fingerprint,
  certificate_issuer: certificate.issuer,
  certificate_serial: certificate.serial,
});

const removal = (key: string): RecordChange => ({ kind: KIND, key, value: null });

const harvestedEvent = (harvest: NewHarvest, waits: boolean): AuditEvent => ({
  event: 'certificate-harvested',
  ...about(harvest),
  waits,
  from: harvest.from,
  operator: harvest.by,
});

const approved = (one: About, operator: string): AuditEvent => ({ event: 'certificate-approved', ...about(one), operator });

const unlisted = (one: About, listed: number): AuditEvent => ({ event: 'certificate-unlisted', ...about(one), listed });

/** From octets that a command or a record brings. Throws `certificate-malformed`. */
export const certificatesOf = (texts: readonly string[]): readonly Certificate[] =>
  texts.map((text) => parseCertificate(Buffer.from(text, 'base64')));
