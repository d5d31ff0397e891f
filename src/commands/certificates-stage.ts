/** What `init`, `check` and `explain` ask of the certificates stage: three functions, so that it is wired in one place. */
import type { Config } from '../config.ts';
import type { Directory } from '../certificates/directory.ts';
import type { Fault } from '../document/fault.ts';
import { SealpostError } from '../errors.ts';

/** WIRE: makes the in-house CA of a new site; answers the files it wrote. */
export async function makeInHouseAuthority(_keysFolder: string, _anchorsFolder: string): Promise<readonly string[]> {
  return [];
}

export interface CertificateSurvey {
  /** Certificates that mail can be sealed to now. */
  readonly usable: number;
  /** Unreadable files, no anchor at all, … */
  readonly faults: readonly Fault[];
}

/** WIRE: reads every folder of certificates that the configuration names. */
export async function surveyCertificates(_config: Config): Promise<CertificateSurvey> {
  return { usable: 0, faults: [] };
}

/** WIRE: the directory as the relay builds it. */
export async function openDirectory(_config: Config): Promise<Directory> {
  return { lookup: async () => ({ kind: 'unavailable', source: 'none', cause: new SealpostError('lookup-unavailable') }) };
}
