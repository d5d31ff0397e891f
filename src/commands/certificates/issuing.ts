/**
 * Issuing by the in-house CA, in the order in which a crash does least: first the ledger, since the CA must know all that it signed;
 * then what the reader is handed; the certificate last. Nothing is ever sealed to a key that was not handed out, and what was
 * interrupted is finished by giving the command again.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { OpenAuthority } from '../../certificates/authority/files.ts';
import { issueCertificate } from '../../certificates/authority/issue.ts';
import type { IssuedRecord } from '../../certificates/authority/ledger.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { SealpostError } from '../../errors.ts';
import { mailboxKey } from '../../message/envelope.ts';
import { syncFolder } from '../../queue/folder.ts';
import { BATCH_LENGTH, BATCH_RECORDS, issuedHandlers } from '../../upkeep/issued.ts';
import { changeQueue } from '../change.ts';
import type { Terminal } from '../terminal.ts';
import type { FolderLock } from './folder-lock.ts';
import { place } from './place.ts';
import { keyText } from './key-text.ts';
import { type Kit, kitFor, readKit, setAside, writeKit } from './kit.ts';
import { type CertificatePaths, firstFolder, shown } from './paths.ts';
import type { Person } from './roster.ts';
import { annotatedPem, fileNameOf, writeAllNew } from './store.ts';

export interface IssueMeans {
  readonly paths: CertificatePaths;
  readonly terminal: Terminal;
  readonly authority: OpenAuthority;
  /** What the CA has signed before, by address, and which fingerprints of it stand in the folders. */
  readonly signed: ReadonlyMap<string, readonly IssuedRecord[]>;
  readonly placed: ReadonlySet<string>;
  /** Of the folder that certificates go to: held once for all who are put in use together. */
  readonly lock: FolderLock;
  /** Where kits go, absolute. */
  readonly out: string;
  /** As audit events name operators. */
  readonly issuedBy: string;
  /** Also for who has a certificate that is valid. */
  readonly again: boolean;
  readonly now: () => number;
  /** Told of each key that was made, which is what takes long. */
  readonly onKey?: () => void;
}

export type Outcome =
  /** `finished`: an earlier run had begun it. */
  | { readonly kind: 'issued' | 'finished'; readonly certificate: Certificate; readonly kit: Kit; readonly file: string }
  | { readonly kind: 'skipped'; readonly reason: string }
  | { readonly kind: 'refused'; readonly error: SealpostError };

const PUBLIC_FILE = 0o644;

/** People of one call: what is lost where the machine dies is the work of a second. */
export const BATCH = BATCH_RECORDS;

/** Outcomes in the order of `people`, at most BATCH. Throws where nothing can be written any more. */
export async function issueTo(people: readonly Person[], means: IssueMeans): Promise<readonly Outcome[]> {
  const outcomes = await Promise.all(people.map((person) => decide(person, means)));
  const wanted = people.flatMap((person, index) => (outcomes[index] === undefined ? [{ person, index }] : []));
  if (wanted.length > 0) {
    const made = await Promise.all(wanted.map(({ person }) => make(person, means)));
    await keepInLedger(made, means);
    const handed = await Promise.all(made.map((one) => attempt(() => handOver(one, means))));
    await syncFolder(means.out);
    const ready = made.map((one, at) => handed[at] ?? attempt(() => putInUse('issued', one, means)));
    for (const [at, { index }] of wanted.entries()) outcomes[index] = await ready[at];
  }
  return outcomes.map((outcome) => outcome ?? { kind: 'refused', error: new SealpostError('internal') });
}

/** What follows from what is there; undefined where a certificate is to be made. */
async function decide({ mailbox }: Person, means: IssueMeans): Promise<Outcome | undefined> {
  const { signed, placed: stands, out, again, terminal } = means;
  const address = mailboxKey(mailbox);
  const own = (signed.get(address) ?? []).filter(({ revoked, notAfter }) => revoked === null && notAfter > means.now());
  const present = own.find(({ fingerprint }) => stands.has(fingerprint));
  if (present !== undefined && !again) {
    const until = new Date(present.notAfter).toISOString().slice(0, 10);
    return { kind: 'skipped', reason: `it has a certificate of the in-house CA, valid until ${until}` };
  }
  const kit = kitFor(mailbox.address, out);
  const state = readKit(kit);
  if (state.kind === 'none') return undefined;
  const begun = own.filter(({ fingerprint }) => !stands.has(fingerprint));
  if (state.kind === 'whole' && begun.some(({ fingerprint }) => fingerprint === state.certificate.fingerprint))
    return attempt(() => putInUse('finished', { certificate: state.certificate, kit }, means));
  if (state.kind === 'begun' && begun.length > 0) {
    setAside(kit);
    return undefined;
  }
  const detail = shown(state.kind === 'begun' ? kit.password : kit.p12, terminal);
  const hint = 'move it away, or choose another folder with --out';
  return { kind: 'refused', error: new SealpostError('file-exists', { detail, hint }) };
}

interface Made {
  readonly person: Person;
  readonly certificate: Certificate;
  readonly key: Awaited<ReturnType<typeof issueCertificate>>['key'];
  readonly kit: Kit;
}

async function make(person: Person, { authority, out, paths, now, onKey }: IssueMeans): Promise<Made> {
  const issued = await issueCertificate({ ...person, authority: authority.issuing, crlUrl: paths.crlUrl, now: now() });
  onKey?.();
  return { person, ...issued, kit: kitFor(person.mailbox.address, out) };
}

async function keepInLedger(made: readonly Made[], { authority, issuedBy, paths, terminal, now }: IssueMeans): Promise<void> {
  const { certificate: issuer } = authority.issuing;
  const records = made.map(({ person, certificate }): IssuedRecord => ({
    serial: certificate.serial,
    fingerprint: certificate.fingerprint,
    address: mailboxKey(person.mailbox),
    issuer: issuer.fingerprint,
    name: person.name ?? null,
    key: keyText(certificate),
    notBefore: certificate.notBefore.getTime(),
    notAfter: certificate.notAfter.getTime(),
    issuedAt: now(),
    issuedBy,
    revoked: null,
    renews: null,
  }));
  for (const batch of inBatches(records)) {
    const request = { command: 'certs-issued', operator: issuedBy, issuer: issuer.subject, records: batch };
    await changeQueue(terminal, paths.queue, request, (store) => issuedHandlers(store.records), { make: true });
  }
}

/** As many at a time as the control socket takes. */
export function inBatches(records: readonly IssuedRecord[]): readonly (readonly IssuedRecord[])[] {
  const batches: IssuedRecord[][] = [];
  let [length, last]: [number, IssuedRecord[]] = [0, []];
  for (const record of records) {
    const own = Buffer.byteLength(JSON.stringify(record)) + 1;
    if (last.length === 0 || last.length === BATCH_RECORDS || length + own > BATCH_LENGTH) {
      last = [];
      length = 0;
      batches.push(last);
    }
    last.push(record);
    length += own;
  }
  return batches;
}

/** Undefined where all went well. */
async function handOver({ person, certificate, key, kit }: Made, { authority, paths }: IssueMeans): Promise<undefined> {
  const { mailbox, name } = person;
  await writeKit(kit, { address: mailbox.address, name, operator: paths.operator, issued: { certificate, key }, authority });
  return undefined;
}

async function putInUse(
  kind: 'issued' | 'finished',
  { certificate, kit }: Pick<Made, 'certificate' | 'kit'>,
  { paths, terminal, lock }: IssueMeans,
): Promise<Outcome> {
  const path = join(firstFolder(paths), `${fileNameOf(certificate.addresses[0] ?? certificate.fingerprint)}.pem`);
  return lock.hold(async () => {
    if (existsSync(path)) return { kind, certificate, kit, file: await place(certificate, paths, terminal, lock) };
    await writeAllNew([{ path, content: annotatedPem(certificate), mode: PUBLIC_FILE }]);
    return { kind, certificate, kit, file: path };
  });
}

/** What stands in the way of one does not keep the others back; a full disk does. */
async function attempt<T>(act: () => Promise<T>): Promise<T | Outcome> {
  try {
    return await act();
  } catch (thrown) {
    if (!(thrown instanceof SealpostError) || thrown.code === 'file-unwritable') throw thrown;
    return { kind: 'refused', error: thrown };
  }
}
