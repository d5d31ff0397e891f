import type { Readable, Writable } from 'node:stream';
import type { Command } from 'commander';

/** What a command may touch of the world around it; tests hand in their own. */
export interface Terminal {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly colour: boolean;
}

/** Every file in commands/ exports one as `build`. Its actions throw SealpostError; cli.ts makes that exit 1. */
export type BuildCommand = (terminal: Terminal) => Command;
