/** Files of certificates, several of one folder at a time: each whole and durable when this returns, or as it was before. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

export interface Writing {
  readonly folder: string;
  /** Names random to this run: what a killed one left behind is in nobody's way. */
  readonly suffix: string;
  readonly files: readonly { readonly path: string; readonly content: Uint8Array }[];
}

/** For each file why it was not written; undefined where it was. */
export type Written = readonly (string | undefined)[];

const PUBLIC_FILE = 0o644;

export function writeFiles({ folder, suffix, files }: Writing): Written {
  const faults = files.map(({ path, content }) => attempt(() => writeOne(join(folder, `.${basename(path)}.${suffix}.tmp`), path, content)));
  // The names last as the content does: one sync of the folder for all.
  const fault = attempt(() => syncFolder(folder));
  return fault === undefined ? faults : files.map(() => fault);
}

function writeOne(temporary: string, path: string, content: Uint8Array): void {
  try {
    const opened = openSync(temporary, 'wx', PUBLIC_FILE);
    try {
      writeFileSync(opened, content);
      fsyncSync(opened);
    } finally {
      closeSync(opened);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function syncFolder(folder: string): void {
  const opened = openSync(folder, 'r');
  try {
    fsyncSync(opened);
  } finally {
    closeSync(opened);
  }
}

function attempt(act: () => void): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
}
