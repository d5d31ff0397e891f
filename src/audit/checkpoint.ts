/**
 * Signed checkpoints: which line stood at which number, when. Kept elsewhere they show what the chain cannot, that file and database were
 * rewritten together. Ed25519 over the four values, with a name of the use in front, so that a signature means nothing else.
 */
import { sign, verify, type KeyObject } from 'node:crypto';

export interface Checkpoint {
  readonly seq: number;
  /** Of line `seq`, lower-case hex SHA-256. */
  readonly hash: string;
  /** ISO 8601. */
  readonly time: string;
  readonly hostname: string;
}

const signedOctets = ({ seq, hash, time, hostname }: Checkpoint): Buffer =>
  Buffer.from(`sealpost audit checkpoint v1\n${JSON.stringify([seq, hash, time, hostname])}`);

/** One JSON line without its line feed. `key`: Ed25519, private. */
export function signCheckpoint(checkpoint: Checkpoint, key: KeyObject): string {
  const { seq, hash, time, hostname } = checkpoint;
  const signature = sign(null, signedOctets(checkpoint), key).toString('base64');
  return JSON.stringify({ seq, hash, time, hostname, signature });
}

/** Undefined where it is no checkpoint, or not signed by this key. Lines of the relay's log are taken too: they hold the same names. */
export function readCheckpoint(line: string, key: KeyObject): Checkpoint | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { seq, hash, checkpoint_time, time, hostname, signature }: Readonly<Record<string, unknown>> = { ...value };
  const at = checkpoint_time ?? time;
  if (typeof seq !== 'number' || typeof hash !== 'string' || typeof at !== 'string') return undefined;
  if (typeof hostname !== 'string' || typeof signature !== 'string') return undefined;
  const checkpoint = { seq, hash, time: at, hostname };
  return verify(null, signedOctets(checkpoint), key, Buffer.from(signature, 'base64')) ? checkpoint : undefined;
}
