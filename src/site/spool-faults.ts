/** What `check` looks at where a rule passes mail in clear: the key that its queued copies lie under. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import path from 'node:path';
import type { Fault } from '../document/fault.ts';
import { SealpostError } from '../errors.ts';
import type { Rule } from '../policy/decide.ts';
import { openSpoolKey, SPOOL_KEY_FILE } from '../queue/spool/key.ts';

export interface SpoolFindings {
  readonly faults: readonly Fault[];
  readonly notes: readonly string[];
}

/** `keys`: the folder of private keys. */
export async function spoolFaults(keys: string, rules: readonly Pick<Rule, 'name' | 'then'>[]): Promise<SpoolFindings> {
  const passing = rules.find(({ then }) => then === 'pass');
  if (passing === undefined) return { faults: [], notes: [] };
  const file = path.join(keys, SPOOL_KEY_FILE);
  const because = `the rule ${passing.name} passes mail in clear`;
  try {
    if ((await openSpoolKey(keys)) !== undefined) return { faults: [], notes: [] };
    await access(keys, constants.W_OK);
    return {
      faults: [],
      notes: [
        `${because}: the next start makes ${file}, the key of its queued copies; keep a copy elsewhere. If it was there before, restore it: mail in the queue waits under it`,
      ],
    };
  } catch (error) {
    const known = error instanceof SealpostError ? error : undefined;
    const wrong = known === undefined ? `is not there and cannot be made, and ${because}` : `${known.message}, and ${because}`;
    const mend =
      known?.hint ?? `make ${keys} writable for the first start, or make the file: (umask 077; openssl rand -base64 32 > ${file})`;
    return { faults: [{ place: file, key: 'keys', wrong, mend }], notes: [] };
  }
}
