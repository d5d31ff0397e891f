/** Which sources gave no answer lately, whatever is remembered of them: somebody should look, though mail may flow by what is. */
import type { CertificateSource } from './source.ts';

/** Nobody asks a source when no mail comes: a failure that is older tells nothing of it. */
const LATELY_MS = 5 * 60_000;

export interface Answering {
  /** The source, its answers looked at on the way. */
  watch(source: CertificateSource): CertificateSource;
  /** False where the last answer of any was none, and that is not long ago. */
  all(): boolean;
}

/** `elapsed` in ms, of a clock that nobody sets. */
export function makeAnswering(elapsed: () => number): Answering {
  const failedAt = new Map<CertificateSource, number>();
  return {
    watch: (source) => ({
      name: source.name,
      ...(source.keyOf === undefined ? {} : { keyOf: source.keyOf.bind(source) }),
      close: () => source.close(),
      async lookup(mailbox, signal) {
        const fail = (): void => void failedAt.set(source, elapsed());
        // Whoever hangs answers nobody, and may never come back.
        signal.addEventListener('abort', fail, { once: true });
        try {
          const answer = await source.lookup(mailbox, signal);
          if (answer.kind === 'unavailable') fail();
          else if (!signal.aborted) failedAt.delete(source);
          return answer;
        } catch (error) {
          fail();
          throw error;
        } finally {
          signal.removeEventListener('abort', fail);
        }
      },
    }),
    all: () => [...failedAt.values()].every((at) => elapsed() - at > LATELY_MS),
  };
}
