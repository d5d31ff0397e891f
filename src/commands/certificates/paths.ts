/** Where certificates and the in-house CA's key lie, from the configuration. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { parse } from 'yaml';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';

/** Absolute paths. */
export interface CertificatePaths {
  /** Folders of recipient certificates, in the order they are asked; commands write to the first. */
  readonly sources: readonly [string, ...string[]];
  readonly anchors: string;
  readonly intermediates: string;
  readonly keys: string;
}

export const certificatePaths = async (configFile: string | undefined, terminal: Terminal): Promise<CertificatePaths> => {
  const given = configFile ?? terminal.env['SEALPOST_CONFIG'];
  const places = given === undefined ? ['sealpost.yaml', '/etc/sealpost/sealpost.yaml'] : [given];
  const file = places.map((place) => resolve(terminal.cwd, place)).find((place) => existsSync(place));
  if (file === undefined) {
    throw new SealpostError('file-unreadable', {
      detail: places.join(', '),
      hint: 'sealpost init makes a site; -c FILE names its configuration',
    });
  }
  const config = readConfig(file);
  const certificates = field(config, 'certificates');
  const trust = field(certificates, 'trust');
  const path = (value: unknown, otherwise: string): string => resolve(dirname(file), typeof value === 'string' ? value : otherwise);
  const list = field(certificates, 'sources');
  const folders = (Array.isArray(list) ? list : []).map((source: unknown) => path(field(source, 'files'), 'certs/recipients'));
  const [first = path(undefined, 'certs/recipients'), ...others] = folders;
  return {
    sources: [first, ...others],
    anchors: path(field(trust, 'anchors'), 'certs/anchors'),
    intermediates: path(field(trust, 'intermediates'), 'certs/intermediates'),
    keys: path(field(config, 'keys'), 'keys'),
  };
};

function readConfig(file: string): unknown {
  try {
    return parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new SealpostError('config-invalid', { detail: file, cause });
  }
}

const field = (value: unknown, key: string): unknown =>
  typeof value === 'object' && value !== null ? new Map<string, unknown>(Object.entries(value)).get(key) : undefined;

/** A path as the person at the terminal would write it. */
export function shown(path: string, terminal: Terminal): string {
  const short = relative(terminal.cwd, path);
  return short === '' || short.startsWith('..') ? path : short;
}
