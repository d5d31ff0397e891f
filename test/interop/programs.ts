/** Running other people's programs: their octets, their exit code, their complaint. */
import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';

export interface RunOptions {
  readonly input?: Buffer;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Milliseconds; the program is killed after them. */
  readonly timeout?: number;
}

export interface Outcome {
  /** Null where a signal ended the program. */
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

const DEFAULT_TIMEOUT_MS = 60_000;

/** /usr/sbin as well: Debian keeps the mail programs there, and it is in nobody's PATH but root's. */
const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'].filter((folder) => folder !== '');

/** The full path of a program, or undefined where it is not installed. */
export function findProgram(name: string): string | undefined {
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** The text of a skip, naming the Debian package, or undefined where every program is there. Keys are programs, values packages. */
export function missingPrograms(needs: Readonly<Record<string, string>>): string | undefined {
  const absent = Object.entries(needs).find(([program]) => findProgram(program) === undefined);
  return absent === undefined ? undefined : `${absent[0]} is not installed (Debian package ${absent[1]})`;
}

/** Runs a program to its end. Rejects only where it could not be started; a refusal is an Outcome. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(findProgram(program) ?? program, args, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: 'C', ...options.env },
      timeout: options.timeout ?? DEFAULT_TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString('utf8') }));
    // A program that refuses before it has read everything closes the pipe: its exit code says more than EPIPE.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
  });
}

/** Runs a program and answers its stdout; throws with its stderr where it does not exit 0. */
export async function succeed(program: string, args: readonly string[], options: RunOptions = {}): Promise<Buffer> {
  const outcome = await run(program, args, options);
  if (outcome.code === 0) return outcome.stdout;
  throw new Error(`${program} exited with ${outcome.code}: ${outcome.stderr.trim()}`);
}
