/**
 * What the relay's second life is started with: Node's permission model, and every way shut by which memory gets onto a disk or a
 * debugger into the process (A37). docs/hardening.md says what this holds and what only the kernel can.
 */
import { basename, dirname, extname, join } from 'node:path';
import type { Config } from '../../config.ts';
import type { Environment } from '../../config/environment.ts';
import { SealpostError } from '../../errors.ts';
import { queuePaths } from '../../queue/paths.ts';
import { SPOOL_KEY_FILE } from '../../queue/spool/key.ts';

/** New objects have room enough that small mails cost few collections; for large ones message/dead-buffers.ts asks for them. */
export const HEAP_FLAGS: readonly string[] = ['--max-semi-space-size=8', '--expose-gc'];

/** Reading is left open: certificates, policies and keys may stand anywhere, and are read anew while the relay runs. */
const FIXED = [
  '--permission',
  '--allow-fs-read=*',
  '--allow-worker',
  // "The flag --allow-worker must be used with extreme caution": it is, the guard holds workers to these flags.
  '--disable-warning=PERM0006',
  '--disable-sigusr1',
  '--report-exclude-env',
  ...HEAP_FLAGS,
];

/** Settings of the runtime that an operator may give by NODE_OPTIONS, and that open nothing. All others are dropped. */
const CARRIED =
  /^--(?:max-old-space-size|max-old-space-size-percentage|max-heap-size|use-system-ca|use-openssl-ca|use-bundled-ca|enable-fips|force-fips|dns-result-order)(?:=\S*)?$/;

/** Environment of Node's own that goes along. What is left out can load code, write files, or turn the check of certificates off. */
const CARRIED_NAMES: ReadonlySet<string> = new Set(['NODE_ENV', 'NODE_EXTRA_CA_CERTS', 'NODE_USE_SYSTEM_CA', 'NODE_NO_WARNINGS']);

type Places = Pick<Config, 'keys'> & { readonly queue: Pick<Config['queue'], 'sqlite'>; readonly audit: Pick<Config['audit'], 'file'> };

/** The paths below which the relay may write, as the permission model wants them; `*` at an end stands for whatever follows. */
export function writable(config: Places): string[] {
  const { folder, audit } = queuePaths(config.queue.sqlite, config.audit.file);
  const paths = [folder, join(folder, '*'), `${join(config.keys, SPOOL_KEY_FILE)}*`];
  // Beside the file stand those that it was rotated into.
  if (dirname(audit) !== folder) paths.push(join(dirname(audit), `${basename(audit, extname(audit))}*`));
  const unfit = [folder, config.keys, audit].find((path) => path.includes('*'));
  if (unfit !== undefined)
    throw new SealpostError('sandbox-failed', { detail: `${unfit} has an asterisk in it`, hint: 'choose a path without one' });
  return paths;
}

/**
 * `guard`: the path of the preload, by --require, since a thread whose program comes as text does not wait for --import.
 * `given`: flags this process was started with, and those of NODE_OPTIONS.
 */
export function sandboxFlags(config: Places, guard: string, given: readonly string[]): string[] {
  const writes = writable(config).map((path) => `--allow-fs-write=${path}`);
  return [...FIXED, ...writes, ...given.filter((flag) => CARRIED.test(flag)), `--require=${guard}`];
}

export function sandboxEnvironment(env: Environment): Record<string, string> {
  const kept = Object.entries(env).filter(([name]) => !name.startsWith('NODE_') || CARRIED_NAMES.has(name));
  return Object.fromEntries(kept.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}
