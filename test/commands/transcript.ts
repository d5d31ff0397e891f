/** Runs the command line as an operator does, and keeps what it said. */
import { execFile } from 'node:child_process';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import type { TestContext } from 'node:test';

export interface Transcript {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

const CLI = path.resolve(import.meta.dirname, '../../src/cli.ts');

export function sealpost(cwd: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Transcript> {
  // Only what Node itself needs: SEALPOST_… and npm_… of whoever runs the tests would change what is said.
  const clean = { PATH: process.env['PATH'] ?? '', HOME: cwd, ...env };
  return new Promise((resolve) => {
    execFile(process.execPath, ['--disable-warning=ExperimentalWarning', CLI, ...args], { cwd, env: clean }, (error, stdout, stderr) => {
      resolve({ exit: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

/** A folder that is gone after the test; its path has no links in it, as programs print it. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await realpath(await mkdtemp(path.join(tmpdir(), 'sealpost-command-')));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
