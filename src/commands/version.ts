import { readFileSync } from 'node:fs';

/** Of the package this file stands in; the same two folders up from src/commands and dist/commands. */
export function readVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : '0';
}
