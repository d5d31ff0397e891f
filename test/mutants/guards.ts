/** The guards that `npm run mutants` takes out, all of them. A new promise kept somewhere in the program is a new row here. */
import type { Guards } from './guard.ts';
import { queueGuards } from './guards/queue.ts';

export const guards: Guards = { ...queueGuards };
