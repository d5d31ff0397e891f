/** Files that commands write beside people's own: whole or not at all, nothing overwritten. */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { link, open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SealpostError } from '../../errors.ts';
import { certificatePem } from '../../certificates/pem.ts';
import type { Certificate } from '../../certificates/certificate.ts';

/** Most file systems take 255 octets a name; `.password` and a temporary's ending want room. */
const MAX_NAME = 200;

/** The name of a file for an address: what a path could misread is written %XX. */
export function fileNameOf(address: string): string {
  const name = address
    .replace(/[^A-Za-z0-9@._+=-]/gu, (character) =>
      [...Buffer.from(character)].map((octet) => `%${octet.toString(16).padStart(2, '0')}`).join(''),
    )
    .replace(/^\./, '%2e');
  return name.slice(0, MAX_NAME);
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
  const temporaries = files.map(({ path }) => join(dirname(path), `.${basename(path)}.${process.pid}.tmp`));
  try {
    await Promise.all(files.map((file, index) => writeDurably(temporaries[index] ?? '', file)));
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
