/**
 * The spool key: `spool.key` in the keys folder, away from the data that it protects. Its lines are keys, the first of which encrypts;
 * all of them decrypt what still lies in the queue, so that a new one is a line in front.
 *
 *   # comment
 *   0f1e2d3c4b5a6978 BASE64 OF 32 OCTETS        the id is part of a hash of the key: what was damaged is told from what is another key
 *   BASE64 OF 32 OCTETS                         written by an operator
 */
import { createHash, createSecretKey, type KeyObject } from 'node:crypto';
import { constants } from 'node:fs';
import { link, open, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SealpostError } from '../../errors.ts';
import { asStorageError } from '../failure.ts';
import { othersWriteFault, privacyFault, syncFolder } from '../folder.ts';

export interface SpoolKey {
  /** Eight octets of a hash of the key: what a message names its key by. */
  readonly id: Buffer;
  readonly secret: KeyObject;
}

/** The first encrypts. */
export type SpoolKeys = readonly [SpoolKey, ...SpoolKey[]];

/** In the folder of private keys. */
export const SPOOL_KEY_FILE = 'spool.key';

const KEY_OCTETS = 32;
const KEY_ID_OCTETS = 8;
const FILE_MODE = 0o600;
/** Of a file that people edit; a key has a hundred octets. */
const MAX_FILE = 64 * 1024;
const LINE = /^(?:([0-9a-f]{16})[ \t]+)?([A-Za-z0-9+/]{43}=)$/;
const INTRODUCTION = `# Encrypts the mail that a rule passes in clear while it waits in the queue. Without it that mail is lost: keep a copy elsewhere.
# A new key goes in front: sealpost reads all of them, and writes with the first.
`;

export interface MakeKey {
  /** Made where there is none; needs `randomBytes`, a cryptographic source. */
  readonly create: (octets: number) => Buffer;
}

/**
 * The keys of `folder`; undefined where there is no file, and `make` does not say to make it. What is there is never written over.
 * Throws `file-unreadable`, `file-unwritable` or `key-malformed`, with the mend.
 */
export async function openSpoolKey(folder: string, make?: MakeKey): Promise<SpoolKeys | undefined> {
  const file = join(folder, SPOOL_KEY_FILE);
  const text = await readKeyText(file);
  if (text !== undefined) return parseSpoolKeys(text, file);
  if (make === undefined) return undefined;
  await writeNew(folder, file, make.create);
  const made = await readKeyText(file);
  if (made === undefined) throw new SealpostError('file-unreadable', { detail: file });
  return parseSpoolKeys(made, file);
}

/** Throws `key-malformed`; nothing of a line is ever told. */
export function parseSpoolKeys(text: string, file: string): SpoolKeys {
  const keys: SpoolKey[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const written = line.trim();
    if (written === '' || written.startsWith('#')) continue;
    const fault = (detail: string): SealpostError => malformed(`${file}, line ${index + 1}: ${detail}`);
    const [, id, base64] = LINE.exec(written) ?? [];
    const octets = Buffer.from(base64 ?? '', 'base64');
    if (octets.length !== KEY_OCTETS) throw fault('not a key: an id, if any, and 32 octets in base64');
    const key = keyOf(octets);
    octets.fill(0);
    if (id !== undefined && id !== key.id.toString('hex')) throw fault('the key does not fit its id: one of the two was changed');
    if (keys.some((other) => other.id.equals(key.id))) throw fault('this key stands there twice');
    keys.push(key);
  }
  const [first, ...older] = keys;
  if (first === undefined) throw malformed(`${file} holds no key`);
  return [first, ...older];
}

function keyOf(octets: Buffer): SpoolKey {
  const id = createHash('sha256').update('sealpost spool key id\n').update(octets).digest().subarray(0, KEY_ID_OCTETS);
  return { id, secret: createSecretKey(octets) };
}

const malformed = (detail: string): SealpostError =>
  new SealpostError('key-malformed', {
    detail,
    hint: 'restore the file from a backup of the keys folder: passed mail in the queue cannot be read without its key',
  });

/** Undefined where there is no such file. */
async function readKeyText(file: string): Promise<string | undefined> {
  const unreadable = (detail: string, hint: string, cause?: unknown): SealpostError =>
    new SealpostError('file-unreadable', { detail, hint, cause });
  try {
    const folder = dirname(file);
    const shared = othersWriteFault(await stat(folder));
    if (shared !== undefined)
      throw unreadable(
        `${folder} ${shared}`,
        `whoever can write it can put another key there: chown it to the user of the relay, chmod go-w ${folder}`,
      );
    // What a link leads to may lie where others can put another file in its place.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stats = await handle.stat();
    const fault = privacyFault(stats, 'file');
    if (fault !== undefined)
      throw unreadable(`${file} ${fault}`, `it must be readable by the user of the relay alone: chown it to that user, chmod 0600 ${file}`);
    if (stats.size > MAX_FILE) throw malformed(`${file} is no file of keys: ${stats.size} octets`);
    return await handle.readFile('utf8');
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'ENOENT') return undefined;
    if (code === 'ELOOP')
      throw unreadable(`${file} is a symbolic link`, `put the file itself there: rm ${file}, and copy what it led to`, cause);
    throw unreadable(`${file} (${String(code)})`, `let the user of the relay read ${file}`, cause);
  }
}

/** Whole or not at all, and durable; a file that came to be meanwhile stays. */
async function writeNew(folder: string, file: string, randomBytes: (octets: number) => Buffer): Promise<void> {
  const octets = randomBytes(KEY_OCTETS);
  const text = `${INTRODUCTION}${keyOf(octets).id.toString('hex')} ${octets.toString('base64')}\n`;
  octets.fill(0);
  const draft = `${file}.${randomBytes(KEY_ID_OCTETS).toString('hex')}`;
  try {
    await writeSynced(draft, text);
    try {
      await link(draft, file);
    } finally {
      await unlink(draft);
    }
    await syncFolder(folder);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') return;
    const { code } = asStorageError(cause, folder);
    throw new SealpostError('file-unwritable', {
      detail: code === 'storage-full' ? `${file}: no room on its disk` : file,
      hint: `a rule passes mail in clear, whose queued copy needs this key: make ${folder} writable for the first start, or make the file yourself: (umask 077; openssl rand -base64 32 > ${file})`,
      cause,
    });
  }
}

async function writeSynced(file: string, text: string): Promise<void> {
  await using handle = await open(file, 'wx', FILE_MODE);
  await handle.writeFile(text);
  await handle.sync();
}
