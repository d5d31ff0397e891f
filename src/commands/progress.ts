/** A line on the terminal that tells how far long work is; nothing where stderr is a file or a pipe. */
import type { Terminal } from './terminal.ts';

export interface Progress {
  /** Takes the place of what was shown before. */
  show(text: string): void;
  /** The line is empty again. */
  end(): void;
}

const CLEAR_LINE = '\r\x1b[K';

export function makeProgress({ stderr }: Pick<Terminal, 'stderr'>): Progress {
  const seen = 'isTTY' in stderr && stderr.isTTY === true;
  let shown = false;
  return {
    show: (text) => {
      if (seen) stderr.write(`${CLEAR_LINE}sealpost: ${text}`);
      shown = seen;
    },
    end: () => {
      if (shown) stderr.write(CLEAR_LINE);
      shown = false;
    },
  };
}
