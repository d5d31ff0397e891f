/** NOTIFY of RFC 3461 §4.1 as text and as a set: what a client says, what the queue keeps, what an upstream is told. */
import type { Notify } from './envelope.ts';

const CONDITIONS = ['success', 'failure', 'delay'] as const;

export type Condition = (typeof CONDITIONS)[number];

/** `NEVER`, or conditions with commas between them; undefined where it is neither, or names one twice. */
export function parseNotify(text: string): ReadonlySet<Condition> | undefined {
  if (/^never$/i.test(text)) return new Set();
  const named = text.toLowerCase().split(',');
  const found = CONDITIONS.filter((condition) => named.includes(condition));
  return found.length === named.length ? new Set(found) : undefined;
}

/** The value of NOTIFY=; null where nothing was said. */
export function notifyText(notify: Notify): string | null {
  if (notify === null) return null;
  return notify.size === 0
    ? 'NEVER'
    : CONDITIONS.filter((condition) => notify.has(condition))
        .join(',')
        .toUpperCase();
}

/** Whether the sender wants to be told. Silence asks for failures, and leaves delays to the relay (RFC 3461 §4.1). */
export function wants(notify: Notify, condition: Condition): boolean {
  return notify === null ? condition !== 'success' : notify.has(condition);
}
