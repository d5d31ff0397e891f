/** What is wrong in an operator's file: told all at once, each with its place, the key, and how to mend it. */

export interface Fault {
  /** `/etc/sealpost/sealpost.yaml:3:7`, `environment SEALPOST_HOSTNAME`, or a path. */
  readonly place: string;
  /** `limits.message_bytes`, `listen[1].port`; '' where the fault is of the whole file. */
  readonly key: string;
  readonly wrong: string;
  readonly mend: string;
}

export type Reading<T> = { readonly kind: 'valid'; readonly value: T } | { readonly kind: 'invalid'; readonly faults: readonly Fault[] };

export type Path = readonly PropertyKey[];
export type Side = 'key' | 'value';

/** Where a path of keys stands: `/etc/sealpost/sealpost.yaml:3:7`, or `environment SEALPOST_HOSTNAME`. */
export type Place = (path: Path, side: Side) => string;

/** `listen[1].port` */
export function showPath(path: Path): string {
  return path.map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? String(step) : `.${String(step)}`)).join('');
}

/** In the order of the file, line 9 before line 10. */
export function inOrder(faults: readonly Fault[]): Fault[] {
  const collator = new Intl.Collator('en', { numeric: true });
  return [...faults].sort((a, b) => collator.compare(a.place, b.place));
}

/** Faults as a person reads them, two lines each, once each; control characters of the file never reach the terminal. */
export function showFaults(faults: readonly Fault[]): string {
  const shown = faults.map(({ place, key, wrong, mend }) => `${place}: ${key === '' ? '' : `${key}: `}${wrong}\n  mend: ${mend}`);
  return [...new Set(shown)].join('\n').replaceAll(/(?!\n)\p{Cc}/gu, '?');
}
