/** `audit`: a path, as it always was, or keys. */
import type { z } from 'zod';
import type { Path } from '../document/fault.ts';
import { key } from '../document/schema.ts';
import type { Environment } from './environment.ts';
import { size } from './values.ts';

/** `path`: how one is written, from the folder of the configuration. */
export const audit = (path: z.ZodType<string>) => ({
  file: key(path.prefault('data/audit.jsonl'), {
    meaning: 'The audit log, one JSON line an event, hash-chained; `audit: PATH` is short for it.',
    unit: 'path',
    example: 'data/audit.jsonl',
  }),
  rotate: key(size.prefault('64MiB'), {
    meaning: 'Above it the file is closed, under the number of its first line, and a new one goes on.',
    unit: 'size',
    example: '64MiB',
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
export const auditPlace = (path: Path, written: unknown): Path =>
  path[0] === 'audit' && path.length === 2 && withAuditKeys(written) !== written ? ['audit'] : path;
