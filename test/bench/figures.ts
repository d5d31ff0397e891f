/** What a bench found, in a form for people, for docs/performance.md and for programs. */
import { showSpread, type Spread } from './pairs.ts';

export interface Figure {
  /** What was compared with what. */
  readonly what: string;
  readonly measured: Spread;
  /** `×`: a ratio. */
  readonly unit: '×' | 'MiB';
  /** The median must be at least, or at most, this. */
  readonly wanted: { readonly least: number } | { readonly most: number };
  /** Figures of this machine, behind the ratio. */
  readonly beside: string;
}

/** A plot of how cost grows: each series has a value for each of `at`. */
export interface Curve {
  readonly name: string;
  /** Of the axis below, logarithmic. */
  readonly along: string;
  readonly at: readonly number[];
  readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
}

/** What the time of something is spent on. */
export interface Shares {
  readonly what: string;
  /** Of all that was done together; the most first. */
  readonly each: readonly { readonly name: string; readonly microseconds: number }[];
  /** How often it was done. */
  readonly times: number;
}

/** What a bench is run with. */
export interface Bench {
  readonly print: (line: string) => void;
  /** The smallest form: everything is done, counted and opened, and nobody believes the figures. */
  readonly quick: boolean;
  readonly figure: (figure: Figure) => void;
  readonly curve: (curve: Curve) => void;
  readonly shares: (shares: Shares) => void;
}

export const isReached = ({ measured, wanted }: Figure): boolean =>
  'least' in wanted ? measured.median >= wanted.least : measured.median <= wanted.most;

const digitsOf = ({ unit }: Figure): number => (unit === '×' ? 2 : 0);

export const showWanted = ({ wanted, unit }: Figure): string =>
  'least' in wanted ? `≥ ${wanted.least} ${unit}` : `≤ ${wanted.most} ${unit}`;

export function lineOf(figure: Figure): string {
  const { what, measured, unit, beside } = figure;
  const verdict = isReached(figure) ? 'reached' : 'NOT reached';
  return `${what}: ${showSpread(measured, digitsOf(figure))} ${unit} (wanted ${showWanted(figure)}: ${verdict}); ${beside}`;
}

/** Markdown; min, median and max of the pairs of one run. */
export function tableOf(figures: readonly Figure[]): string[] {
  return [
    '| what | min / median / max | wanted | | on this machine |',
    '|---|---|---|---|---|',
    ...figures.map((figure) => {
      const measured = `${showSpread(figure.measured, digitsOf(figure))} ${figure.unit}`;
      return `| ${figure.what} | ${measured} | ${showWanted(figure)} | ${isReached(figure) ? 'reached' : '**not reached**'} | ${figure.beside} |`;
    }),
  ];
}

/** Markdown; what is less than a hundredth stands in one row. */
export function sharesTable({ what, each, times }: Shares): string[] {
  const all = each.reduce((sum, { microseconds }) => sum + microseconds, 0);
  const isSmall = ({ microseconds }: { readonly microseconds: number }): boolean => microseconds < all / 100;
  const small = each.filter(isSmall).reduce((sum, { microseconds }) => sum + microseconds, 0);
  const rows = [...each.filter((one) => !isSmall(one)), ...(small > 0 ? [{ name: 'all else', microseconds: small }] : [])];
  return [
    `| ${what} | µs | share |`,
    '|---|---|---|',
    ...rows.map(
      ({ name, microseconds }) => `| ${name} | ${(microseconds / times).toFixed(0)} | ${((100 * microseconds) / all).toFixed(0)} % |`,
    ),
    `| together | ${(all / times).toFixed(0)} | |`,
  ];
}
