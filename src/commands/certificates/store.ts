/** Files that commands write beside people's own: whole or not at all, nothing overwritten. */
import { createHash, randomBytes } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { link, open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { SealpostError } from '../../errors.ts';
import { certificatePem } from '../../certificates/pem.ts';
import type { Certificate } from '../../certificates/certificate.ts';

/** Most file systems take 255 octets a name; `.password` and a temporary's ending want room. */
const MAX_NAME = 200;
/** Of the SHA-256 of an address whose name is cut; no short name has its `~`. */
const HASH_DIGITS = 16;

/** The name of a file for an address: what a path could misread is written %XX. */
export function fileNameOf(address: string): string {
  const name = address
    .replace(/[^A-Za-z0-9@._+=-]/gu, (character) =>
      [...Buffer.from(character)].map((octet) => `%${octet.toString(16).padStart(2, '0')}`).join(''),
    )
    .replace(/^\./, '%2e');
  if (name.length <= MAX_NAME) return name;
  // Cut, two long addresses would share one name, and the one would be handed the other's key.
  const end = `~${createHash('sha256').update(address).digest('hex').slice(0, HASH_DIGITS)}`;
  return `${name.slice(0, MAX_NAME - end.length)}${end}`;
}

/** Writes beside the place and renames, so that a reader, the running relay among them, sees the old file or the new one. */
export function writeWhole(path: string, content: Buffer | string, mode: number): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  try {
    writeSynced(temporary, content, mode);
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw new SealpostError('file-unwritable', { detail: path, cause });
  }
}

/** Throws `file-exists` where something has that name. */
export function writeNew(path: string, content: Buffer | string, mode: number): void {
  try {
    writeSynced(path, content, mode);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST')
      throw new SealpostError('file-exists', { detail: path, cause });
    throw new SealpostError('file-unwritable', { detail: path, cause });
  }
}

/** Before anything is signed: whether a folder takes what is handed out. Throws `file-unwritable`; it need not be there yet. */
export function assertWritable(folder: string): void {
  try {
    if (!existsSync(folder)) return;
    accessSync(folder, constants.W_OK | constants.X_OK);
    readdirSync(folder);
  } catch (cause) {
    throw new SealpostError('file-unwritable', { detail: folder, hint: 'choose a folder of yours with --out', cause });
  }
}

/** What a process that was killed left behind, keys and passwords among it. */
export function clearTemporaries(folder: string): void {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const [, pid] = /^\..+\.(\d+)\.tmp$/.exec(name) ?? [];
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(folder, name), { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'; // it is somebody else's
  }
}

export interface NewFile {
  readonly path: string;
  readonly content: Buffer | string;
  readonly mode: number;
}

/**
 * As writeNew, each whole or not at all, and named in their order: after a crash a name stands for all of its file, and those before it
 * are there. Their octets are synced side by side, since waiting for the disk one by one takes hours where there are thousands.
 */
export async function writeAllNew(files: readonly NewFile[]): Promise<void> {
  // Names of their own: who is given the same name at the same time is told so where the file is named, and nobody else stops for it.
  const call = randomBytes(4).toString('hex');
  const temporaries = files.map(({ path }) => join(dirname(path), `.${basename(path)}.${call}.${process.pid}.tmp`));
  try {
    // All of them end before any is removed.
    const written = await Promise.allSettled(files.map((file, index) => writeDurably(temporaries[index] ?? '', file)));
    for (const one of written) if (one.status === 'rejected') throw one.reason;
    for (const [index, { path }] of files.entries()) await linkNew(temporaries[index] ?? '', path);
  } finally {
    for (const temporary of temporaries) rmSync(temporary, { force: true });
  }
}

async function writeDurably(temporary: string, { path, content, mode }: NewFile): Promise<void> {
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new SealpostError('file-unwritable', { detail: path, cause });
  }
}

/** A second name, which overwrites nothing; file systems of memory sticks have no second names. */
async function linkNew(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch (cause) {
    if (existsSync(to)) throw new SealpostError('file-exists', { detail: to, cause });
    await rename(from, to).catch((error: unknown) => {
      throw new SealpostError('file-unwritable', { detail: to, cause: error });
    });
  }
}

function writeSynced(path: string, content: Buffer | string, mode: number): void {
  const file = openSync(path, 'wx', mode);
  try {
    writeFileSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

export function makeFolder(path: string, mode: number): void {
  try {
    mkdirSync(path, { recursive: true, mode });
  } catch (cause) {
    throw new SealpostError('file-unwritable', { detail: path, cause });
  }
}

/** A PEM block with the lines that people look for above it. */
export const annotatedPem = (certificate: Certificate): string =>
  `# ${certificate.addresses.join(', ')}\n# valid until ${certificate.notAfter.toISOString().slice(0, 10)}, sha-256 ${certificate.fingerprint}\n${certificatePem(certificate)}`;
