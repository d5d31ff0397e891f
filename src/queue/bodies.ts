/**
 * Shared ciphertext on its way in and out, on the main thread: a slow disk slows the writer by its awaits, nobody else. Small
 * bodies become part of the database row. Large ones are files, named at random, durable before the row that names them.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { SealpostError } from '../errors.ts';
import { asStorageError } from './failure.ts';
import { linkFault, privacyFault, syncFolder } from './folder.ts';
import type { BodyWriter, StoredBody } from './queue.ts';

/** File names of bodies: 128 random bits. What is named otherwise was not made here. */
export const BODY_NAME = /^[0-9a-f]{32}$/;
const NAME_BYTES = 16;
const FILE_MODE = 0o600;
/** Octets read at a time. */
const READ_CHUNK = 64 * 1024;

export interface BodyFolder {
  readonly path: string;
  /** Bodies up to this many octets stay in memory and go into the database. */
  readonly inlineLimit: number;
  /** Throws where so many octets more may not be stored. */
  readonly assertRoom: (octets: number) => Promise<void>;
  /** An fsync failed: nothing written from here on can be believed. */
  readonly onSyncFailure: (error: SealpostError) => void;
  /** The disk took nothing more, though `assertRoom` said that there is room. */
  readonly onFull: () => void;
  /** Files that no enqueue has made the queue's own; `discard` deletes only these. */
  readonly unclaimed: Set<string>;
}

export function makeBodyWriter(folder: BodyFolder): BodyWriter {
  const hash = createHash('sha256');
  const held: Buffer[] = [];
  let length = 0;
  let file: { readonly name: string; readonly handle: FileHandle } | undefined;
  let closed = false;
  let busy = Promise.resolve();

  const toFile = async (bytes: Buffer): Promise<void> => {
    file ??= await createBody(folder);
    await writeAll(file.handle, bytes);
  };
  const take = async (ciphertext: Buffer): Promise<void> => {
    await folder.assertRoom(ciphertext.length);
    hash.update(ciphertext);
    length += ciphertext.length;
    if (length <= folder.inlineLimit) {
      held.push(ciphertext);
      return;
    }
    try {
      for (const bytes of held.splice(0)) await toFile(bytes);
      await toFile(ciphertext);
    } catch (error) {
      throw toldStorageError(error, folder);
    }
  };
  const closeFile = async (): Promise<void> => {
    if (closed || file === undefined) return;
    closed = true;
    await file.handle.close();
  };

  return {
    async write(ciphertext) {
      busy = take(ciphertext);
      await busy;
    },
    async finish(): Promise<StoredBody> {
      const sha256 = hash.digest();
      if (file === undefined) return { length, sha256, content: { kind: 'inline', bytes: Buffer.concat(held) } };
      try {
        await file.handle.sync();
        await closeFile();
        await syncFolder(folder.path);
      } catch (error) {
        const failure = toldStorageError(error, folder);
        if (failure.code !== 'storage-full') folder.onSyncFailure(failure);
        throw failure;
      }
      return { length, sha256, content: { kind: 'file', name: file.name } };
    },
    async discard() {
      // A write that is still opening the file would leave it behind.
      await busy.catch(() => undefined);
      held.length = 0;
      if (file === undefined) return;
      await closeFile().catch(() => undefined);
      if (!folder.unclaimed.delete(file.name)) return;
      // What cannot be unlinked now is swept at the next start.
      await unlink(join(folder.path, file.name)).catch(() => undefined);
    },
  };
}

function toldStorageError(error: unknown, folder: BodyFolder): SealpostError {
  const failure = asStorageError(error, folder.path);
  if (failure.code === 'storage-full') folder.onFull();
  return failure;
}

async function createBody(folder: BodyFolder): Promise<{ readonly name: string; readonly handle: FileHandle }> {
  const name = randomBytes(NAME_BYTES).toString('hex');
  const handle = await open(join(folder.path, name), 'wx', FILE_MODE);
  folder.unclaimed.add(name);
  return { name, handle };
}

async function writeAll(handle: FileHandle, bytes: Buffer): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written);
    written += bytesWritten;
  }
}

interface ExpectedBody {
  readonly length: number;
  readonly sha256: Uint8Array;
}

/**
 * The octets of a body file. Throws `queue-item-damaged` where the file is not ours, and at the latest in place of its end
 * where length or hash do not fit; never more than `length` octets.
 */
async function* readBodyFile(folder: string, name: string, expected: ExpectedBody): AsyncGenerator<Buffer> {
  const handle = await openBody(folder, name);
  try {
    const stats = await handle.stat();
    const fault = privacyFault(stats, 'file') ?? linkFault(stats);
    if (fault !== undefined) throw damaged(`its body ${fault}`);
    if (stats.size !== expected.length) throw damaged(`its body has ${stats.size} octets and not ${expected.length}`);
    const hash = createHash('sha256');
    for (let position = 0; position < expected.length;) {
      const want = Math.min(READ_CHUNK, expected.length - position);
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(want), 0, want, position);
      if (bytesRead === 0) throw damaged('its body ends early');
      position += bytesRead;
      const bytes = buffer.subarray(0, bytesRead);
      hash.update(bytes);
      // The last octets wait until the hash is known to fit.
      if (position === expected.length) assertHash(hash.digest(), expected.sha256);
      yield bytes;
    }
    if (expected.length === 0) assertHash(hash.digest(), expected.sha256);
  } catch (error) {
    throw asStorageError(error, folder);
  } finally {
    await handle.close();
  }
}

/** A body of the database: checked whole before its first octet goes out. */
function checkInlineBody(bytes: Uint8Array | null, expected: ExpectedBody): Buffer {
  if (bytes === null) throw damaged('its body is gone');
  if (bytes.length !== expected.length) throw damaged(`its body has ${bytes.length} octets and not ${expected.length}`);
  assertHash(createHash('sha256').update(bytes).digest(), expected.sha256);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Where the body of a row is. */
export interface BodyPlace {
  readonly body: number;
  readonly bodyLength: number;
  readonly bodySha256: Uint8Array;
  readonly bodyFile: string | null;
  /** Its octets, where they are at hand already. */
  readonly bytes?: Uint8Array | null;
}

/** The body of a row, wherever it is. Throws as readBodyFile and checkInlineBody do, and where there is no row. */
export async function* readStored(
  row: BodyPlace | undefined,
  folder: string,
  inlineBytes: (body: number) => Promise<Uint8Array | null>,
): AsyncGenerator<Buffer> {
  if (row === undefined) throw new SealpostError('internal', { detail: 'a row that is not leased cannot be read' });
  const expected = { length: row.bodyLength, sha256: row.bodySha256 };
  if (row.bodyFile !== null) yield* readBodyFile(folder, row.bodyFile, expected);
  else yield checkInlineBody(row.bytes ?? (await inlineBytes(row.body)), expected);
}

/** The files of these bodies are the queue's own now. */
export function claimFiles(bodies: readonly StoredBody[], unclaimed: Set<string>): void {
  for (const { content } of bodies) if (content.kind === 'file') unclaimed.delete(content.name);
}

function assertHash(found: Buffer, expected: Uint8Array): void {
  if (!found.equals(expected)) throw damaged('its body does not fit its checksum');
}

export const damaged = (detail: string, cause?: unknown): SealpostError => new SealpostError('queue-item-damaged', { detail, cause });

/** A link, a missing file, something else in its place: damaged. Too many open files, a sick disk: for now. */
const DAMAGE: ReadonlySet<unknown> = new Set(['ENOENT', 'ELOOP', 'EISDIR', 'ENOTDIR', 'ENXIO', 'ENODEV', 'EACCES', 'EPERM']);

async function openBody(folder: string, name: string): Promise<FileHandle> {
  if (!BODY_NAME.test(name)) throw damaged('its body has an impossible name');
  try {
    // O_NONBLOCK: a FIFO in the place of a body must not hold up the thread pool.
    return await open(join(folder, name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (DAMAGE.has(code)) throw damaged(`its body cannot be opened (${String(code)})`, cause);
    throw asStorageError(cause, folder);
  }
}
