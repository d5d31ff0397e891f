/**
 * Keeps the octets of messages that have gone by from lying in memory (P6).
 *
 * They pass through buffers outside V8's heap, and those are freed when a collection finds the small objects that own them. V8 does
 * not count the octets: it collects its space for new objects when that is full, and by then one large message may have left sixty
 * times its chunks behind. So the octets are counted here, and the new space is collected for them: in under a millisecond each time.
 */

/** About what is left behind between two collections. */
const COLLECT_OCTETS = 4 * 1024 * 1024;

let passed = 0;

/** `octets` of a message were taken in or handed out. */
export function buffersPassed(octets: number): void {
  passed += octets;
  if (passed < COLLECT_OCTETS) return;
  passed = 0;
  // Only the relay's own life has it (sandbox/flags.ts); `sealpost seal` and tests go without.
  globalThis.gc?.({ type: 'minor' });
}
