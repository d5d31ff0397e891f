/** Signs how far the audit log has come, hourly and at the stop, where the site has a key for it. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Logger } from 'pino';
import type { AuditHead } from '../audit.ts';
import { signCheckpoint } from '../audit/checkpoint.ts';
import { isClosed } from '../document/secret-file.ts';
import { systemCode } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import { assertPrivate, assertPrivateFile, privacyFault } from '../queue/folder.ts';

const HOUR_MS = 3_600_000;
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;

interface CheckpointParts {
  /** The private key; checkpoints are made while it is there at the start. */
  readonly key: string;
  /** Where they are appended. */
  readonly file: string;
  readonly hostname: string;
  readonly head: () => Promise<AuditHead>;
  readonly now: () => number;
  readonly log: Logger;
}

/** Answers how to end it, which signs once more. Throws `file-unreadable`, `key-malformed`, `data-folder-unsafe`. */
export async function startCheckpoints({ key, file, hostname, head, now, log }: CheckpointParts): Promise<() => Promise<void>> {
  const secret = await readSigningKey(key);
  if (secret === undefined) return () => Promise.resolve();
  // Somebody else's: whoever can write it can take lines out of it again.
  await assertPrivateFile(file);
  let signed = 0;
  const signNow = async (): Promise<void> => {
    const { seq, hash } = await head();
    if (seq === signed || seq === 0) return;
    const checkpoint = { seq, hash, time: new Date(now()).toISOString(), hostname };
    const line = signCheckpoint(checkpoint, secret);
    const { signature }: { readonly signature: string } = JSON.parse(line);
    // In the log too: whoever sends it to another machine has it where nobody here can change it.
    log.info({ seq, hash, checkpoint_time: checkpoint.time, hostname, signature }, 'audit checkpoint');
    await using handle = await open(file, APPEND, 0o600);
    assertPrivate(await handle.stat(), file, 'file');
    await handle.writeFile(`${line}\n`);
    await handle.sync();
    signed = seq;
  };
  const signOrLog = (): Promise<void> =>
    signNow().catch((error: unknown) => log.error({ err: error }, 'a checkpoint of the audit log could not be written'));
  const timer = setInterval(() => void signOrLog(), HOUR_MS);
  return async () => {
    clearInterval(timer);
    await signOrLog();
  };
}

/** Undefined where there is none, or where it would be in a folder that the relay may not enter. Throws `file-unreadable`, `key-malformed`. */
export async function readSigningKey(file: string): Promise<KeyObject | undefined> {
  try {
    await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const fault = privacyFault(await handle.stat(), 'file');
    if (fault !== undefined) throw new SealpostError('file-unreadable', { detail: `${file} ${fault}`, hint: `chmod 0600 ${file}` });
    const key = createPrivateKey(await handle.readFile('utf8'));
    if (key.asymmetricKeyType !== 'ed25519') throw new SealpostError('key-malformed', { detail: `${file} is no Ed25519 key` });
    return key;
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    // A folder of keys that is closed to the relay belongs to whoever issues certificates.
    if (systemCode(cause) === 'ENOENT' || (await isClosed(file))) return undefined;
    throw new SealpostError('file-unreadable', { detail: file, hint: 'sealpost audit key makes the keys of the audit log', cause });
  }
}
