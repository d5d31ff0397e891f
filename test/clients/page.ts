/** docs/clients.md as data: what stands in its tables and blocks is what the test runs. */
import { readFileSync } from 'node:fs';

export interface Cell {
  readonly connection: string;
  readonly login: boolean;
  /** Lines of code; empty where the cell says in words that the client cannot. */
  readonly lines: readonly string[];
  readonly text: string;
}

export interface Section {
  readonly title: string;
  /** The first fenced block; '' where there is none. */
  readonly block: string;
  readonly cells: readonly Cell[];
}

const page = readFileSync(new URL('../../docs/clients.md', import.meta.url), 'utf8');

/** The keys of the configuration that the page shows. */
export const configuration: string = /^```yaml\n(.*?)^```$/ms.exec(page)?.[1] ?? '';

/** Every section that has a table of connections, in the order of the page. */
export const sections: readonly Section[] = page
  .split(/^## /m)
  .slice(1)
  .map((text) => ({
    title: text.slice(0, text.indexOf('\n')),
    block: /^```[a-z]+\n(.*?)^```$/ms.exec(text)?.[1] ?? '',
    cells: [...text.matchAll(/^\| (plain|STARTTLS|implicit TLS) \| (.*) \| (.*) \|$/gm)].flatMap(
      ([, connection = '', without = '', login = '']) => [readCell(connection, false, without), readCell(connection, true, login)],
    ),
  }))
  .filter(({ cells }) => cells.length > 0);

function readCell(connection: string, login: boolean, text: string): Cell {
  const lines = text.startsWith('`') ? text.split('<br>').map((line) => line.trim().replace(/^`(.*)`$/, '$1')) : [];
  return { connection, login, lines, text };
}
