/** Where certificates and the in-house CA's key lie, from the configuration. */
import { relative } from 'node:path';
import type { CertificatePlaces } from '../../certificates/site.ts';
import { type Config, loadConfig } from '../../config.ts';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';

/** Absolute paths. */
export interface CertificatePaths {
  readonly places: CertificatePlaces;
  /** Folders of recipient certificates, in the order they are asked; commands write to the first. */
  readonly sources: readonly [string, ...string[]];
  readonly anchors: string;
  readonly keys: string;
}

/** Throws what loadConfig throws. */
export async function certificatePaths(file: string | undefined, { env, cwd }: Terminal): Promise<CertificatePaths> {
  return pathsOf(await loadConfig({ file, env, cwd }));
}

export function pathsOf({ certificates, keys }: Pick<Config, 'certificates' | 'keys'>): CertificatePaths {
  const [first, ...others] = certificates.sources.map((source) => source.files);
  if (first === undefined) throw new SealpostError('config-invalid', { detail: 'certificates.sources: at least one is needed' });
  return { places: certificates, sources: [first, ...others], anchors: certificates.trust.anchors, keys };
}

/** A path as the person at the terminal would write it. */
export function shown(path: string, terminal: Pick<Terminal, 'cwd'>): string {
  const short = relative(terminal.cwd, path);
  return short === '' || short.startsWith('..') ? path : short;
}
