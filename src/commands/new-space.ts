/** How V8 collects in a command. */
import { setFlagsFromString } from 'node:v8';

const NO_GROWTH = '--semi-space-growth-factor=1';

/**
 * Keeps V8's space for new objects at its first size, in a command that carries one message (the relay does as sandbox/flags.ts says). To
 * be called before the code that carries it is loaded, since what has grown stays.
 *
 * The octets of a message pass through buffers outside the heap, and those are freed when a collection finds the small objects that
 * own them. The space for new objects grows to 16 MiB and is collected when it is full: by then a message has left 60 MiB of dead
 * buffers behind. Small, it is collected sixteen times as often, in under a millisecond each time (P6).
 */
export function keepNewSpaceSmall(): void {
  setFlagsFromString(NO_GROWTH);
}

/** Of what is in use, that the heap grows by before it is collected; V8 lets it double and more. */
const SMALL_STEPS = ['--heap-growing-percent=20', '--scavenger-max-new-space-capacity-mb=4'];

/**
 * For commands that go over a hundred thousand certificates: each leaves kilobytes of OpenSSL's behind, which V8 does not see and frees
 * only with the small objects that own them. Collected often, they take no time to speak of, and half the memory.
 */
export function keepHeapSmall(): void {
  keepNewSpaceSmall();
  for (const flag of SMALL_STEPS) setFlagsFromString(flag);
}
