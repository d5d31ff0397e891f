/** A line plot as SVG: one panel a series, above each other, time in seconds below. */
export interface Series {
  readonly name: string;
  readonly unit: string;
  /** One value for each of `at`. */
  readonly values: readonly number[];
}

const WIDTH = 720;
const PANEL = 130;
const LEFT = 70;
const RIGHT = 10;
const TOP = 24;

export function plotSvg(at: readonly number[], series: readonly Series[]): string {
  const last = Math.max(1, at.at(-1) ?? 1);
  const x = (second: number): number => LEFT + (second / last) * (WIDTH - LEFT - RIGHT);
  const panels = series.map(({ name, unit, values }, index) => {
    const top = TOP + index * (PANEL + TOP);
    const most = Math.max(1, ...values);
    const y = (value: number): number => top + PANEL - (value / most) * PANEL;
    const points = values.map((value, place) => `${x(at[place] ?? 0).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    return [
      `<text x="${LEFT}" y="${top - 6}">${name}, ${unit}</text>`,
      `<path d="M${LEFT} ${top}V${top + PANEL}H${WIDTH - RIGHT}" fill="none" stroke="#888"/>`,
      `<text x="${LEFT - 6}" y="${top + 10}" text-anchor="end">${Math.round(most)}</text>`,
      `<text x="${LEFT - 6}" y="${top + PANEL}" text-anchor="end">0</text>`,
      `<polyline points="${points}" fill="none" stroke="#0550ae" stroke-width="1.2"/>`,
    ].join('\n');
  });
  const height = TOP + series.length * (PANEL + TOP) + 10;
  const end = `<text x="${WIDTH - RIGHT}" y="${height - 8}" text-anchor="end">${Math.round(last)} s</text>`;
  const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`;
  return `${head}\n<rect width="100%" height="100%" fill="#fff"/>\n${panels.join('\n')}\n${end}\n</svg>\n`;
}

/** Least squares: what a value grows by in a second. */
export function slopeOf(at: readonly number[], values: readonly number[]): number {
  const mean = (list: readonly number[]): number => list.reduce((sum, one) => sum + one, 0) / Math.max(1, list.length);
  const [meanAt, meanValue] = [mean(at), mean(values)];
  const spread = at.reduce((sum, one) => sum + (one - meanAt) ** 2, 0);
  return spread === 0 ? 0 : at.reduce((sum, one, place) => sum + (one - meanAt) * ((values[place] ?? 0) - meanValue), 0) / spread;
}
