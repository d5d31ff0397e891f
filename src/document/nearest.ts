/** Names that were probably meant: for unknown keys, so that a typing fault costs one look and not a search. */

/** A third of the letters may be wrong; beyond that a suggestion misleads. */
const TOLERANCE = 1 / 3;
/** Names longer than any of ours are compared with nothing. */
const MAX_NAME = 64;

/** The known name nearest to `name`, case and - for _ aside; undefined where none is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > MAX_NAME) return undefined;
  const folded = fold(name);
  let best: string | undefined;
  let least = Infinity;
  for (const candidate of known) {
    const distance = distanceOf(folded, fold(candidate));
    if (distance < least && distance <= Math.max(1, Math.max(name.length, candidate.length) * TOLERANCE)) {
      best = candidate;
      least = distance;
    }
  }
  return best;
}

const fold = (name: string): string => name.toLowerCase().replaceAll('-', '_');

/** A name cut short, or written on, is near whatever it lacks: `warning` for `warn`. */
const SHORTEST_STEM = 3;

function distanceOf(a: string, b: string): number {
  const stem = Math.min(a.length, b.length) >= SHORTEST_STEM && (a.startsWith(b) || b.startsWith(a));
  return stem ? 1 : editDistance(a, b);
}

/** Insertions, deletions, changes and swapped neighbours that turn `a` into `b` (Damerau and Levenshtein, without overlaps). */
function editDistance(a: string, b: string): number {
  let beforeLast: readonly number[] = [];
  let last: readonly number[] = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const change = (last[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      const swap = swapped ? (beforeLast[column - 2] ?? 0) + 1 : Infinity;
      current.push(Math.min(change, swap, (last[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length] ?? 0;
}
