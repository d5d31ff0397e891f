/** The pair of held mail that the shipped rules ask for, made once for all sites of a test file: making a key takes its time. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createHold, keysIn } from '../../src/commands/hold-key.ts';

const names = ['hold.passphrase', 'hold.key', 'hold.pem'];
let made: Promise<readonly Buffer[]> | undefined;

async function make(): Promise<readonly Buffer[]> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-hold-'));
  try {
    await createHold(keysIn(folder), 'Clinic', Date.now());
    return await Promise.all(names.map((name) => readFile(path.join(folder, name))));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** As `init` has it made. */
export async function makeHold(keys: string): Promise<readonly string[]> {
  const contents = await (made ??= make());
  const files = names.map((name) => path.join(keys, name));
  await Promise.all(files.map((file, index) => writeFile(file, contents[index] ?? '', { mode: 0o600 })));
  return files;
}
