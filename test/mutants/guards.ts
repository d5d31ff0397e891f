/** The guards that `npm run mutants` takes out, all of them. A new promise kept somewhere in the program is a new row here. */
import type { Guards } from './guard.ts';
import { boundGuards } from './guards/bounds.ts';
import { certificateGuards } from './guards/certificates.ts';
import { clearGuards } from './guards/clear.ts';
import { queueGuards } from './guards/queue.ts';
import { recordGuards } from './guards/records.ts';
import { refusalGuards } from './guards/refusals.ts';
import { sandboxGuards } from './guards/sandbox.ts';

export const guards: Guards = {
  ...queueGuards,
  ...clearGuards,
  ...refusalGuards,
  ...certificateGuards,
  ...boundGuards,
  ...sandboxGuards,
  ...recordGuards,
};
