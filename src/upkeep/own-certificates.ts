/**
 * The certificates that the running relay keeps itself: harvested ones that were approved, renewed ones of the in-house CA. They stand in
 * `certs` in the data folder, the one place it may write, as files like those of any other folder: one certificate a file, whole or
 * not there at all. The folder is a source only where the configuration names it.
 */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { getuid } from 'node:process';
import type { Logger } from 'pino';
import { readCertificates } from '../certificates/bundle.ts';
import type { Certificate } from '../certificates/certificate.ts';
import { takenIntermediates } from '../certificates/joined-folder.ts';
import { certificatePem } from '../certificates/pem.ts';
import type { Config } from '../config.ts';
import { ownFolderBeside } from '../config/own-folder.ts';
import type { Fault } from '../document/fault.ts';
import { systemCode } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import { syncFolder } from '../queue/folder.ts';

/** Absolute. */
export const ownFolder = ({ queue }: Pick<Config, 'queue'>): string => ownFolderBeside(queue.sqlite);

/** Names of files are addresses of people: closed to other users, as the data folder around it is. */
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o644;
/** Of the address in a name; most file systems take 255 octets. */
const MAX_ADDRESS = 120;
/** Of the fingerprint in a name: what keeps two certificates of an address apart. */
const DIGITS = 16;

const ROOT = 0;

/**
 * Of readers, and of the CAs above them: made at start, so that later absence is a loss. Durable on resolve. Throws `file-unwritable`.
 * Something else in the place of one is told, and no reason to take no mail: what would be written there then fails.
 */
export async function makeOwnFolder(config: Pick<Config, 'queue'>, log: Pick<Logger, 'error'>): Promise<void> {
  for (const folder of [ownFolder(config), takenIntermediates(dirname(config.queue.sqlite))]) {
    try {
      await makeFolder(folder);
    } catch (error) {
      if (!(error instanceof SealpostError) || error.code !== 'data-folder-unsafe') throw error;
      log.error({ err: error }, 'the relay keeps no certificates: the folder for them is not its own');
    }
  }
}

/** Throws `file-unwritable`, and `data-folder-unsafe` where what stands there would lead its files elsewhere, or to somebody else. */
async function makeFolder(folder: string): Promise<void> {
  try {
    if (await isOwnFolder(folder)) return;
    await mkdir(folder, { recursive: true, mode: FOLDER_MODE });
    await syncFolder(dirname(folder));
    await isOwnFolder(folder);
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    throw new SealpostError('file-unwritable', { detail: folder, cause });
  }
}

/** False where nothing is there. Root may look after another user's. */
async function isOwnFolder(folder: string): Promise<boolean> {
  const stats = await lstat(folder).catch((cause: unknown) => {
    if (systemCode(cause) === 'ENOENT') return undefined;
    throw cause;
  });
  if (stats === undefined) return false;
  const user = getuid?.();
  let fault: string | undefined;
  if (stats.isSymbolicLink()) fault = 'is a symbolic link';
  else if (!stats.isDirectory()) fault = 'is not a folder';
  else if (user !== undefined && user !== ROOT && stats.uid !== user) fault = `belongs to user ${stats.uid}`;
  if (fault === undefined) return true;
  const hint = 'move it away: the relay makes a folder of its own there, with what it keeps itself';
  throw new SealpostError('data-folder-unsafe', { detail: `${folder} ${fault}`, hint });
}

/**
 * Durable on resolve; answers the file. One that is there already stays as it is. Throws `file-exists` where another certificate has its
 * place, and `file-unwritable`.
 */
export const writeOwnCertificate = (config: Pick<Config, 'queue'>, certificate: Certificate): Promise<string> =>
  writeInto(ownFolder(config), certificate);

/** Whether it stands there, be it read by the source already or not. */
export const isOwnCertificate = (config: Pick<Config, 'queue'>, certificate: Certificate): Promise<boolean> =>
  holds(join(ownFolder(config), nameOf(certificate)), certificate);

/** A CA certificate that a harvested one needs; trust reads that folder beside `certificates.trust.intermediates`. */
export const writeTakenIntermediate = ({ queue }: Pick<Config, 'queue'>, certificate: Certificate): Promise<string> =>
  writeInto(takenIntermediates(dirname(queue.sqlite)), certificate);

async function writeInto(folder: string, certificate: Certificate): Promise<string> {
  await makeFolder(folder);
  const file = join(folder, nameOf(certificate));
  if (await holds(file, certificate)) return file;
  const temporary = join(folder, `.${randomBytes(8).toString('hex')}.tmp`);
  try {
    const handle = await open(temporary, 'wx', FILE_MODE);
    try {
      await handle.writeFile(certificatePem(certificate));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    await syncFolder(folder);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new SealpostError('file-unwritable', { detail: file, cause });
  }
  return file;
}

/** The address is for whoever looks into the folder: it need not be readable back. */
function nameOf({ addresses, fingerprint }: Certificate): string {
  const address = (addresses[0] ?? '').replaceAll(/[^A-Za-z0-9@._+=-]/g, '_').replace(/^\./, '_');
  return `${address.slice(0, MAX_ADDRESS)}-${fingerprint.slice(0, DIGITS)}.pem`.replace(/^-/, '');
}

async function holds(file: string, { fingerprint }: Certificate): Promise<boolean> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return false;
    throw new SealpostError('file-unreadable', { detail: file, cause });
  }
  const { certificates } = readCertificates(bytes);
  if (certificates.some((one) => one.fingerprint === fingerprint)) return true;
  if (certificates.length === 0) return false; // somebody's cut copy of it: the whole one takes its place
  throw new SealpostError('file-exists', { detail: file, hint: 'it holds another certificate: move it away' });
}

interface Sources {
  readonly sources: readonly { readonly files?: readonly string[] | undefined }[];
}

/** For `check`: what is written there is of no use while no source reads it. `key`: what makes the relay write. */
export function ownFolderFault(
  config: Pick<Config, 'queue' | 'file'> & { readonly certificates: Sources },
  key: string,
): Fault | undefined {
  const folder = ownFolder(config);
  if (config.certificates.sources.some(({ files }) => files?.includes(folder) === true)) return undefined;
  const wrong = `what the relay takes goes into ${folder}, which no source reads`;
  return { place: config.file, key, wrong, mend: `certificates.sources: [{ files: [certs/recipients, ${folder}] }]` };
}
