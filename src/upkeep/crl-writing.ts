/**
 * Writing the lists of the in-house CA into own-crls of the data folder: by commands, where somebody revokes, and by the running relay,
 * before one ends. Each takes its number in the store first, then reads the ledger, signs, and lays the file there whole. Whatever dies
 * in between leaves a list with a lower number than the recorded one, which is how the next who looks knows that it is behind.
 */
import { type KeyObject, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { type CrlFacts, namedIn, readCrlFacts, type RevokedCertificate, revokedOf, writeCrl } from '../certificates/authority/crl.ts';
import type { OpenAuthority } from '../certificates/authority/files.ts';
import type { IssuedRecord } from '../certificates/authority/ledger.ts';
import type { Certificate } from '../certificates/certificate.ts';
import { issuerOf } from '../certificates/revocation/crl.ts';
import { readCrl } from '../certificates/revocation/crl-read.ts';
import { OWN_LISTS } from '../certificates/revocation/crl-folder.ts';
import type { ControlRequest } from '../control.ts';
import { SealpostError } from '../errors.ts';
import { syncFolder } from '../queue/folder.ts';

/** Below the folder of lists. */
export const ISSUING_LIST = 'in-house-issuing.crl';
export const ROOT_LIST = 'in-house-root.crl';

/** Clocks of readers run behind: a list from the future is not believed. */
const BACKDATED_MS = 5 * 60_000;
/**
 * Of the root's list, in ms. Its key is kept elsewhere, and a CA is revoked once in ten years, if ever: a year is what public roots
 * give the lists of their CAs at most (CA/B S/MIME requirements §4.9.7).
 */
const ROOT_VALID_MS = 365 * 86_400_000;
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o644;

/** `folder`: the data folder, absolute. */
export const ownLists = (folder: string): string => join(folder, OWN_LISTS);

export interface ListIssuer {
  readonly certificate: Certificate;
  /** Opened when something is signed; undefined where it is not here. Throws what openAuthority() throws. */
  readonly key: () => Promise<KeyObject | undefined>;
  /** Name of the file. */
  readonly file: string;
  /** ms that a list counts */
  readonly valid: number;
}

/** The issuing CA first. `valid`: of its lists, in ms; `open`: called when one is written. */
export function listIssuers(
  { issuing, root }: { readonly issuing: Certificate; readonly root: Certificate },
  valid: number,
  open: () => OpenAuthority | Promise<OpenAuthority>,
): ListIssuer[] {
  const own = { certificate: issuing, key: async () => (await open()).issuing.key, file: ISSUING_LIST, valid };
  if (root.fingerprint === issuing.fingerprint) return [own];
  return [own, { certificate: root, key: async () => (await open()).root.key, file: ROOT_LIST, valid: ROOT_VALID_MS }];
}

export interface ListParts {
  /** Where the lists lie, absolute. */
  readonly folder: string;
  /** ms since the epoch */
  readonly now: () => number;
  readonly ledger: () => Promise<readonly IssuedRecord[]>;
  /** The number that the list of an issuer must have now, by the SHA-256 of its certificate. */
  readonly recorded: (issuer: string) => Promise<number>;
  /** Carries out `crl-number` (revoked.ts). */
  readonly takeNumber: (request: ControlRequest) => Promise<unknown>;
}

export interface WrittenList {
  /** Absolute. */
  readonly file: string;
  readonly number: number;
  readonly revoked: number;
  /** ms since the epoch */
  readonly nextUpdate: number;
  readonly bytes: Buffer;
}

/** Another process may write at the same time, and again. */
const MAX_TRIES = 5;

/** Durable on resolve; undefined where the key is not here. Throws `file-unwritable`, what the store throws, and what opening throws. */
export async function writeList(issuer: ListIssuer, operator: string, parts: ListParts): Promise<WrittenList | undefined> {
  let written = await writeOnce(issuer, operator, parts);
  // Looking and renaming are two steps: between them another may have laid a newer list there, which is gone then.
  for (let tries = 1; written !== undefined && tries < MAX_TRIES; tries++) {
    const { fingerprint } = issuer.certificate;
    const there = await numberAt(written.file, issuer.certificate);
    if (there >= (await parts.recorded(fingerprint))) break;
    written = await writeOnce(issuer, operator, parts);
  }
  return written;
}

async function writeOnce(
  { certificate, key: openKey, file: name, valid }: ListIssuer,
  operator: string,
  { folder, now, ledger, takeNumber }: ListParts,
): Promise<WrittenList | undefined> {
  const key = await openKey();
  if (key === undefined) return undefined;
  const file = join(folder, name);
  await makeFolder(folder);
  const before = await listAt(file);
  const same = before !== undefined && isListOf(before, certificate) ? before : undefined;
  const named = async (): Promise<RevokedCertificate[]> => {
    const records = await ledger();
    const known = new Set(
      records.filter(({ revoked, issuer }) => revoked !== null && issuer === certificate.fingerprint).map(({ serial }) => serial),
    );
    // What the ledger does not know was revoked before it was restored from a backup: what others were told is not taken back.
    const others = same === undefined ? [] : namedIn(same.bytes).filter(({ serial }) => !known.has(serial));
    // A list from the future has named nothing past its end yet.
    const since = same === undefined ? undefined : Math.min(same.facts.thisUpdate, now());
    return [...revokedOf(records, certificate.fingerprint, since), ...others];
  };
  const number = readTaken(
    await takeNumber({
      command: 'crl-number',
      operator,
      issuer: certificate.fingerprint,
      name: certificate.subject,
      above: same?.facts.number ?? 0,
      revoked: (await named()).length,
    }),
  );
  // After the number: whatever was revoked before it is in the ledger now.
  const revoked = await named();
  const nextUpdate = now() + valid;
  const bytes = writeCrl({ issuer: { certificate, key }, number, from: now() - BACKDATED_MS, to: nextUpdate, revoked });
  if (same === undefined) await putAside(file, certificate);
  await lay(file, bytes, async () => (await numberAt(file, certificate)) < number);
  return { file, number, revoked: revoked.length, nextUpdate, bytes };
}

/** Another CA's list of that name stays beside ours; looked at anew, since another process may have done it. */
async function putAside(file: string, certificate: Certificate): Promise<void> {
  const there = await listAt(file);
  if (there === undefined || isListOf(there, certificate)) return;
  await rename(file, `${file.slice(0, -'.crl'.length)}-${randomBytes(4).toString('hex')}.crl`);
}

/** Of the list of that CA that lies there; 0 where there is none. Throws `file-unreadable`. */
export async function numberAt(file: string, certificate: Certificate): Promise<number> {
  const there = await listAt(file);
  return there !== undefined && isListOf(there, certificate) ? there.facts.number : 0;
}

function readTaken(answer: unknown): number {
  if (typeof answer === 'number') return answer;
  throw new SealpostError('internal', { detail: 'a number of a list that is none' });
}

export interface ListThere {
  readonly facts: CrlFacts;
  readonly bytes: Buffer;
}

/** Undefined where there is none, or none that can be read: it is written anew. Throws `file-unreadable`. */
export async function listAt(file: string): Promise<ListThere | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new SealpostError('file-unreadable', { detail: file, cause });
  }
  try {
    const facts = readCrlFacts(bytes);
    return facts === undefined ? undefined : { facts, bytes };
  } catch {
    return undefined;
  }
}

/** Whether it is signed by that CA, and by no other of its name. */
export const isListOf = ({ bytes }: ListThere, issuer: Certificate): boolean => readCrl(bytes, issuerOf(issuer)).kind === 'list';

/** Whether a list of that CA lies there: what it names, the next one names too. True for the root, which has issued none of the ledger. */
export async function isNamed({ certificate, file }: Pick<ListIssuer, 'certificate' | 'file'>, folder: string): Promise<boolean> {
  if (file === ROOT_LIST) return true;
  const there = await listAt(join(folder, file));
  return there !== undefined && isListOf(there, certificate);
}

export interface Looked {
  /** Where the lists lie. */
  readonly folder: string;
  /** ms since the epoch */
  readonly now: number;
  /** The number that the list must have. */
  readonly recorded: number;
}

/**
 * Missing, another CA's, behind the ledger or ahead of one that was restored, at half of its life, or from the future: written while
 * the clock was ahead, and believed by nobody. Throws `file-unreadable`.
 */
export async function isDue(
  { certificate, file }: Pick<ListIssuer, 'certificate' | 'file'>,
  { folder, now, recorded }: Looked,
): Promise<boolean> {
  const there = await listAt(join(folder, file));
  if (there === undefined || !isListOf(there, certificate)) return true;
  const { number, thisUpdate, nextUpdate } = there.facts;
  return number !== recorded || thisUpdate > now || now >= (thisUpdate + nextUpdate) / 2;
}

/**
 * The data folder is the relay's: what root makes there must not keep it out. By what was opened, never by a name: whoever owns the
 * folder could put a link to a file of root's there, and would be given that (A36).
 */
export async function handOver(opened: FileHandle, path: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = await stat(dirname(path));
  // A running relay may change no owner, and has none to change: it serves a folder of its own.
  if (uid === process.getuid() && gid === process.getgid?.()) return;
  await opened.chown(uid, gid);
}

async function makeFolder(folder: string): Promise<void> {
  try {
    const made = await mkdir(folder, { recursive: true, mode: FOLDER_MODE });
    // Root would write wherever it leads.
    if (process.getuid?.() === 0 && (await lstat(folder)).isSymbolicLink())
      throw new SealpostError('data-folder-unsafe', { detail: `${folder} is a symbolic link` });
    if (made === undefined) return;
    const opened = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      await handOver(opened, folder);
    } finally {
      await opened.close();
    }
    await syncFolder(dirname(folder));
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    throw new SealpostError('file-unwritable', { detail: folder, cause });
  }
}

/** `wanted`: asked last, since another process may have laid a newer one there. */
async function lay(file: string, bytes: Buffer, wanted: () => Promise<boolean>): Promise<void> {
  const temporary = join(dirname(file), `.${randomBytes(8).toString('hex')}.tmp`);
  try {
    // O_EXCL follows no link.
    const handle = await open(temporary, 'wx', FILE_MODE);
    try {
      await handle.writeFile(bytes);
      await handOver(handle, temporary);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (await wanted()) await rename(temporary, file);
    else await rm(temporary, { force: true });
    await syncFolder(dirname(file));
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new SealpostError('file-unwritable', { detail: file, cause });
  }
}
