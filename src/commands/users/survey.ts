/** What `check` says of the users file. */
import { stat } from 'node:fs/promises';
import type { Fault } from '../../document/fault.ts';
import { SealpostError } from '../../errors.ts';
import { readUsersFile } from '../../ingress/users/file.ts';
import { inspectMode } from '../site.ts';

export interface UserSurvey {
  readonly faults: readonly Fault[];
  readonly count: number;
}

/** Its group may read it, so that the operator writes and the relay reads; for all others the hashes are a start for guessing. */
const FORBIDDEN = 0o037;

/** `file`: as `clients.users` has it, undefined where there is none. */
export async function surveyUsers(file: string | undefined): Promise<UserSurvey> {
  if (file === undefined) return { faults: [], count: 0 };
  try {
    const read = await readUsersFile(file);
    const open = inspectMode(file, await stat(file), FORBIDDEN, 'clients.users', '0600');
    return read.kind === 'valid' ? { faults: open, count: read.value.length } : { faults: [...read.faults, ...open], count: 0 };
  } catch (error) {
    if (!(error instanceof SealpostError)) throw error;
    return { faults: [{ place: error.detail ?? file, key: 'clients.users', wrong: 'cannot be read', mend: error.hint }], count: 0 };
  }
}
