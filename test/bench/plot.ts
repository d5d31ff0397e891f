/** A curve as SVG: both axes logarithmic, so that a cost that grows as fast as its cause is a line at a slope of one. */
import type { Curve } from './figures.ts';

const WIDTH = 480;
const HEIGHT = 300;
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 30, 30, 46];

export function plotCurve({ along, at, series }: Curve): string {
  const [first] = series;
  const values = series.flatMap((one) => one.values);
  const [fromX, toX] = decades(at);
  const [fromY, toY] = decades(values);
  const x = (value: number): number => LEFT + ((Math.log10(value) - fromX) / (toX - fromX)) * (WIDTH - LEFT - RIGHT);
  const y = (value: number): number => HEIGHT - BOTTOM - ((Math.log10(value) - fromY) / (toY - fromY)) * (HEIGHT - TOP - BOTTOM);
  const grid = [
    ...powers(fromX, toX).map((power) => {
      const place = x(10 ** power).toFixed(1);
      return `<path d="M${place} ${TOP}V${HEIGHT - BOTTOM}" stroke="#ddd"/><text x="${place}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle">${short(10 ** power)}</text>`;
    }),
    ...powers(fromY, toY).map((power) => {
      const place = y(10 ** power).toFixed(1);
      return `<path d="M${LEFT} ${place}H${WIDTH - RIGHT}" stroke="#ddd"/><text x="${LEFT - 6}" y="${place}" dy="4" text-anchor="end">${short(10 ** power)}</text>`;
    }),
  ];
  const lines = series.map(({ values: own }) => {
    const points = own.map((value, place) => `${x(at[place] ?? 1).toFixed(1)},${y(value).toFixed(1)}`);
    const dots = points.map((point) => `<circle cx="${point.split(',')[0]}" cy="${point.split(',')[1]}" r="3" fill="#0550ae"/>`);
    return `<polyline points="${points.join(' ')}" fill="none" stroke="#0550ae" stroke-width="1.5"/>${dots.join('')}`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    `<text x="${LEFT}" y="${TOP - 12}">${first?.name ?? ''}</text>`,
    ...grid,
    ...lines,
    `<text x="${WIDTH - RIGHT}" y="${HEIGHT - 10}" text-anchor="end">${along}</text>`,
    '</svg>',
    '',
  ].join('\n');
}

/** The powers of ten around all values; at least one decade. */
function decades(values: readonly number[]): [number, number] {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const from = Math.floor(Math.min(...logs, 6));
  return [from, Math.max(from + 1, Math.ceil(Math.max(...logs, -6)))];
}

const powers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index);

/** `10 k`, `1 M`. */
const short = (value: number): string =>
  value >= 1e6 ? `${value / 1e6} M` : value >= 1000 ? `${value / 1000} k` : String(Number(value.toPrecision(3)));
