/** `certs revoke` and `certs crl`: what the in-house CA takes back, and the lists that say so. */
import { dirname, join, resolve } from 'node:path';
import { escapeUnprintable } from '../../audit.ts';
import type { OpenAuthority } from '../../certificates/authority/files.ts';
import {
  damageOf,
  ISSUED,
  type IssuedRecord,
  type Ledger,
  listed,
  readLedger,
  type RevocationReason,
  standIn,
} from '../../certificates/authority/ledger.ts';
import { recordOf } from '../../certificates/authority/renew.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import type { Selection } from '../../certificates/files.ts';
import { isSignedBy } from '../../certificates/issuer.ts';
import { readDatabase } from '../../change-control.ts';
import type { ControlRequest } from '../../control.ts';
import { SealpostError } from '../../errors.ts';
import { mailboxKey, parseMailbox } from '../../message/envelope.ts';
import { readRecords } from '../../queue/record-rows.ts';
import { isDue, isNamed, ISSUING_LIST, listIssuers, numberAt, ownLists, writeList, type WrittenList } from '../../upkeep/crl-writing.ts';
import { CRL, readNumber, revocationHandlers } from '../../upkeep/revoked.ts';
import { changeQueue } from '../change.ts';
import { operatorName } from '../locate.ts';
import type { Terminal } from '../terminal.ts';
import { openSiteAuthority } from './authority.ts';
import { keyText } from './key-text.ts';
import { type CertificatePaths, shown } from './paths.ts';
import { withSite } from './site.ts';
import { successorsOf } from './successors.ts';
import { writeWhole } from './store.ts';

export interface RevokeWish {
  readonly reason: RevocationReason;
  readonly by?: string;
  readonly yes?: true;
  readonly json?: true;
}

/** As --json prints them, whose names therefore stay. */
interface Shown {
  readonly address: string;
  readonly fingerprint: string;
  readonly serial: string;
  readonly not_after: string;
}

/** Records of one request: a line of the control socket holds 64 KiB. */
const BATCH = 50;
const PUBLIC_FILE = 0o644;

/** The key is opened first: a wrong passphrase changes nothing. */
export async function revoke(what: string, wish: RevokeWish, paths: CertificatePaths, terminal: Terminal): Promise<void> {
  const wanted = readWanted(what);
  const authority = await openSiteAuthority(paths, terminal);
  const operator = wish.by === undefined ? operatorName(terminal) : `${wish.by}, typed by ${operatorName(terminal)}`;
  const answer = await find(wanted, { what, reason: wish.reason, authority, paths, terminal });
  if (answer.kind === 'none') {
    // Where somebody pulled the plug behind the revocation, this is who comes back.
    for (const list of await writeLists(authority, operator, paths, terminal, true))
      terminal.stderr.write(`sealpost: ${listLine(list, terminal)}\n`);
    throw answer.error;
  }
  const { found, successors } = answer;
  if (wish.yes !== true) assertOne(what, wish, answer, terminal);
  const at = Math.floor(Date.now() / 1000) * 1000;
  const issuer = authority.issuing.certificate.subject;
  const above = await numberAt(join(ownLists(dirname(paths.queue.database)), ISSUING_LIST), authority.issuing.certificate);
  for (let from = 0; from < found.length; from += BATCH) {
    const records = found.slice(from, from + BATCH).map((record) => ({ ...record, revoked: { at, reason: wish.reason, by: operator } }));
    await change({ command: 'certs-revoked', operator, issuer, above, records }, paths, terminal);
  }
  // That of the CA lacks something now; that of the root is written where it is missing, or old.
  const [list] = await writeLists(authority, operator, paths, terminal, true);
  if (wish.json === true) {
    const revoked = found.map((record) => ({ ...shownOf(record), reason: wish.reason }));
    terminal.stdout.write(`${escapeUnprintable(JSON.stringify({ revoked, list: list === undefined ? null : listOf(list) }))}\n`);
  } else {
    for (const record of found) terminal.stdout.write(escapeUnprintable(`revoked: ${line(record)}, ${wish.reason}`) + '\n');
    if (list !== undefined) terminal.stdout.write(`${listLine(list, terminal)}\n`);
    terminal.stdout.write('the relay refuses what is revoked within five seconds; a revocation cannot be undone\n');
  }
  for (const record of successors)
    terminal.stderr.write(
      escapeUnprintable(`sealpost: still valid, and mailed by the relay under the key that is revoked: ${line(record)}`) +
        `\n  hint: sealpost certs revoke ${record.fingerprint.slice(0, 16)}\n`,
    );
}

/** Several are named first: those that the words mean, and those that the relay mailed under a key that is lost. Throws `usage`. */
function assertOne(what: string, { reason }: RevokeWish, { found, mailed }: Found & { readonly kind: 'found' }, terminal: Terminal): void {
  if (found.length <= 1 && mailed.length === 0) return;
  for (const record of found) {
    const under = mailed.includes(record) ? ', mailed by the relay under the lost key' : '';
    terminal.stderr.write(escapeUnprintable(`sealpost: ${line(record)}${under}`) + '\n');
  }
  const hint = `sealpost certs revoke ${what} --reason ${reason} --yes`;
  if (mailed.length === 0)
    throw new SealpostError('usage', { detail: `${found.length} certificates: name one by its fingerprint, or say --yes for all`, hint });
  const detail = 'whoever has the lost key could open the mail with the next one: --yes revokes what is named above';
  throw new SealpostError('usage', { detail, hint });
}

/** `--out` is for a web server, or for another machine: the list of the CA that signs recipients' certificates. */
export async function crl(
  { out, json }: { readonly out?: string; readonly json?: true },
  paths: CertificatePaths,
  terminal: Terminal,
): Promise<void> {
  const authority = await openSiteAuthority(paths, terminal);
  const lists = await writeLists(authority, operatorName(terminal), paths, terminal);
  const [own] = lists;
  if (out !== undefined && own !== undefined) writeWhole(resolve(terminal.cwd, out), own.bytes, PUBLIC_FILE);
  if (json === true) terminal.stdout.write(`${JSON.stringify(lists.map(listOf))}\n`);
  else for (const list of lists) terminal.stdout.write(`${listLine(list, terminal)}\n`);
}

/** `dueOnly`: those that lack something, or end soon. */
async function writeLists(
  authority: OpenAuthority,
  operator: string,
  paths: CertificatePaths,
  terminal: Terminal,
  dueOnly = false,
): Promise<readonly WrittenList[]> {
  const folder = ownLists(dirname(paths.queue.database));
  const parts = {
    folder,
    now: Date.now,
    ledger: async () => ledgerOf(paths).records,
    recorded: async (issuer: string) => recordedNumber(issuer, paths),
    takeNumber: (request: ControlRequest) => change(request, paths, terminal),
  };
  const written: WrittenList[] = [];
  const certificates = { issuing: authority.issuing.certificate, root: authority.root.certificate };
  for (const issuer of listIssuers(certificates, paths.listValid, () => authority)) {
    const recorded = dueOnly ? recordedNumber(issuer.certificate.fingerprint, paths) : 0;
    const due = !dueOnly || (await isDue(issuer, { folder, now: Date.now(), recorded }));
    const place = { issuer: issuer.certificate.fingerprint, named: await isNamed(issuer, folder), at: Date.now() };
    const list = due ? await writeList(issuer, operator, { ...parts, ledger: async () => listed(ledgerOf(paths), place) }) : undefined;
    if (list !== undefined) written.push(list);
  }
  return written;
}

const recordedNumber = (issuer: string, { queue }: CertificatePaths): number =>
  readNumber(readDatabase(queue.database, (db) => readRecords(db, CRL))?.find(({ key }) => key === issuer));

const change = (request: ControlRequest, { queue }: CertificatePaths, terminal: Terminal): Promise<unknown> =>
  changeQueue(terminal, queue, request, (store) => revocationHandlers(store.records), { make: true });

const ledgerOf = ({ queue }: CertificatePaths): Ledger => readLedger(readDatabase(queue.database, (db) => readRecords(db, ISSUED)) ?? []);

type Wanted = { readonly kind: 'address'; readonly key: string } | { readonly kind: 'digits'; readonly digits: string };

/** What people copy from elsewhere has colons and capitals; the shortest beginning of a fingerprint that is taken for one. */
const DIGITS = /^[0-9a-f]{8,64}$/;

function readWanted(what: string): Wanted {
  const verdict = parseMailbox(what);
  if (verdict.kind === 'mailbox') return { kind: 'address', key: mailboxKey(verdict.mailbox) };
  const digits = what.replaceAll(':', '').toLowerCase();
  if (DIGITS.test(digits)) return { kind: 'digits', digits };
  throw new SealpostError('usage', {
    detail: `${what} is no address, and no fingerprint or serial number of at least 8 figures`,
    hint: 'sealpost certs list shows what there is',
  });
}

interface Search {
  readonly what: string;
  readonly reason: RevocationReason;
  readonly authority: OpenAuthority;
  readonly paths: CertificatePaths;
  readonly terminal: Terminal;
}

type Found =
  /**
   * Valid ones that are not revoked yet: `mailed` are those among them that the words do not mean, and that go with a lost key;
   * `successors`, beside them, stay.
   */
  | {
      readonly kind: 'found';
      readonly found: readonly IssuedRecord[];
      readonly mailed: readonly IssuedRecord[];
      readonly successors: readonly IssuedRecord[];
    }
  /** With what can be done instead. */
  | { readonly kind: 'none'; readonly error: SealpostError };

async function find(wanted: Wanted, { what, reason, authority, paths, terminal }: Search): Promise<Found> {
  const { certificate: issuing } = authority.issuing;
  const now = Date.now();
  const kept = ledgerOf(paths);
  const damage = damageOf(kept);
  if (damage !== undefined) terminal.stderr.write(`sealpost: ${damage}\n`);
  const issued = kept.records.filter((record) => record.issuer === issuing.fingerprint);
  const whole = issued.filter((record) => isWanted(record, wanted));
  const laid = await laidOut(wanted, paths, terminal);
  // Of a damaged record nothing is known but its key: that is enough to revoke it by.
  const damaged = kept.damaged
    .filter((serial) => wanted.kind === 'digits' && serial === wanted.digits)
    .map((serial) => ({
      ...standIn(serial, { issuer: issuing.fingerprint, at: now }),
      notAfter: issuing.notAfter.getTime(),
      revoked: null,
    }));
  const ledger = [...whole, ...damaged];
  const known = new Set(ledger.map(({ serial }) => serial));
  // Issued before there was a ledger: the certificate itself tells whose it is.
  const unrecorded = laid
    .filter((one) => !known.has(one.serial) && one.issuerDer.equals(issuing.subjectDer) && isSignedBy(one, issuing))
    .flatMap((one) => recordOf(one, issuing, keyText(one)) ?? []);
  const all = [...ledger, ...unrecorded];
  const open = all.filter(({ revoked, notAfter }) => revoked === null && notAfter > now);
  if (wanted.kind === 'digits' && open.length > 1)
    throw new SealpostError('usage', { detail: `${what} begins ${open.length} of them`, hint: 'give more of it' });
  // Also of one that has expired: its key may be lost all the same.
  const successors = successorsOf(all, issued, now);
  const mailed = reason === 'keyCompromise' ? successors : [];
  const found = [...open, ...mailed];
  if (found.length > 0) return { kind: 'found', found, mailed, successors: mailed.length > 0 ? [] : successors };
  return { kind: 'none', error: reasonAgainst(what, all, laid) };
}

function reasonAgainst(what: string, all: readonly IssuedRecord[], laid: readonly Certificate[]): SealpostError {
  const revoked = all.flatMap((record) => record.revoked ?? []).at(0);
  if (revoked !== undefined) {
    const detail = `${what} was revoked already, on ${day(revoked.at)} (${revoked.reason})`;
    return new SealpostError('certificate-unusable', { detail, hint: 'a revocation cannot be changed or undone' });
  }
  const [past] = all;
  if (past !== undefined) {
    const hint = 'what has expired is not used any more; it need not be revoked';
    return new SealpostError('certificate-unusable', { detail: `${what} expired on ${day(past.notAfter)}`, hint });
  }
  const [foreign] = laid;
  if (foreign === undefined) {
    const hint = 'sealpost certs list shows what there is';
    return new SealpostError('not-in-house', { detail: what, hint });
  }
  return new SealpostError('certificate-unusable', {
    detail: `${what} has a certificate of ${foreign.issuer}, which only that CA can revoke`,
    hint: `ask that CA to; sealpost certs remove ${foreign.fingerprint.slice(0, 16)} takes it out of use here at once`,
  });
}

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

const isWanted = ({ address, fingerprint, serial }: IssuedRecord, wanted: Wanted): boolean =>
  wanted.kind === 'address' ? address === wanted.key : fingerprint.startsWith(wanted.digits) || serial === wanted.digits;

/** What lies in the folders of recipients by that name. */
async function laidOut(wanted: Wanted, paths: CertificatePaths, terminal: Terminal): Promise<Certificate[]> {
  const which: Selection = wanted.kind === 'address' ? { address: wanted.key } : { fingerprint: wanted.digits };
  const found = new Map<string, Certificate>();
  await withSite(paths, terminal, async (site) => {
    for (const folder of paths.folders)
      for await (const { certificate } of site.read(folder, which)) found.set(certificate.fingerprint, certificate);
  });
  return [...found.values()];
}

const shownOf = ({ address, fingerprint, serial, notAfter }: IssuedRecord): Shown => ({
  address,
  fingerprint,
  serial,
  not_after: new Date(notAfter).toISOString(),
});

const line = ({ address, fingerprint, serial, notAfter }: IssuedRecord): string =>
  `${address}, SHA-256 ${fingerprint.slice(0, 16)}, serial ${serial}, valid until ${day(notAfter)}`;

const listOf = ({ file, number, revoked, nextUpdate }: WrittenList) => ({
  file,
  number,
  revoked,
  next_update: new Date(nextUpdate).toISOString(),
});

const listLine = ({ file, number, revoked, nextUpdate }: WrittenList, terminal: Terminal): string =>
  `list: ${shown(file, terminal)}, number ${number}, ${revoked} revoked, valid until ${day(nextUpdate)}`;
