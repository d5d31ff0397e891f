/** `audit`: a path, as it always was, or keys. */
import type { z } from 'zod';
import type { Path } from '../document/fault.ts';
import { key, leaf } from '../document/schema.ts';
import type { Environment } from './environment.ts';
import path from 'node:path';
import { readDuration } from './units.ts';
import { oneOf, size } from './values.ts';

/** Below it somebody meant months, and wrote minutes: what is deleted then is gone. */
const SHORTEST_KEPT_MS = 30 * 86_400_000;

const kept = leaf((written) => {
  const read = readDuration(written);
  return read.kind === 'value' && read.value < SHORTEST_KEPT_MS
    ? { kind: 'wrong', wrong: 'is shorter than a month', mend: 'at least 30d; m is minutes' }
    : read;
});

/** `file`: how a path is written, from the folder of the configuration. */
export const audit = (file: z.ZodType<string>) => ({
  file: key(file.prefault('data/audit.jsonl'), {
    meaning: 'The audit log, one JSON line an event, hash-chained; `audit: PATH` is short for it.',
    unit: 'path',
    example: 'data/audit.jsonl',
  }),
  rotate: key(size.prefault('64MiB'), {
    meaning: 'Above it the file is closed, under the number of its first line, and a new one goes on.',
    unit: 'size',
    example: '64MiB',
  }),
  keep: key(kept.prefault('6y'), {
    meaning: 'Closed files whose newest line is older are deleted, once a day; see [audit](audit.md).',
    unit: 'duration',
    example: '6y',
  }),
  addresses: key(oneOf('clear', 'hashed').prefault('clear'), {
    meaning: '`hashed`: every address in the log is a keyed hash, see [audit](audit.md); `sealpost audit key` makes the key.',
    unit: 'word',
    example: 'hashed',
  }),
});

/** `audit: PATH` as the keys it stands for; everything else as it was written. */
export function withAuditKeys(written: unknown): unknown {
  if (typeof written !== 'object' || written === null || !('audit' in written) || typeof written.audit !== 'string') return written;
  return { ...written, audit: { file: written.audit } };
}

/** The name in the environment that the short form has. */
const SHORT = 'SEALPOST_AUDIT';

/** SEALPOST_AUDIT names the file too. */
export function withAuditName(env: Environment): Environment {
  const short = env[SHORT];
  if (short === undefined || env[`${SHORT}__FILE`] !== undefined) return env;
  return { ...env, [SHORT]: undefined, [`${SHORT}__FILE`]: short };
}

/** Where a key of the audit log stands that was written in the short form. */
export const auditPlace = (at: Path, written: unknown): Path =>
  at[0] === 'audit' && at.length === 2 && withAuditKeys(written) !== written ? ['audit'] : at;

/** The private keys of the audit log, in the folder of `keys`: of the hashes, and of the checkpoints. */
export const auditKeyFiles = (keys: string) => ({
  addresses: path.join(keys, 'audit.key'),
  signing: path.join(keys, 'audit-sign.key'),
  public: path.join(keys, 'audit.pub'),
});

/** The key that addresses are hashed with; undefined where they stand in clear. */
export const addressKey = ({
  audit,
  keys,
}: {
  readonly audit: { readonly addresses: 'clear' | 'hashed' };
  readonly keys: string;
}): string | undefined => (audit.addresses === 'hashed' ? auditKeyFiles(keys).addresses : undefined);
