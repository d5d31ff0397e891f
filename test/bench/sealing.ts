/** Sealing in process against `openssl cms -encrypt -stream`, one message after the other, for one RSA reader and AES-256-CBC. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeReaders } from '../interop/fixtures.ts';
import { succeed } from '../interop/programs.ts';
import { openssl, type MailProgram } from '../interop/readers.ts';
import type { Owner } from './owner.ts';
import { comparePairs, rateOf, showSpread } from './pairs.ts';

const MIB = 1024 * 1024;
const SIZES_MIB = [1, 25] as const;
const PAIRS = 7;

/**
 * Seals the entity in `input` to the certificate (a PEM file) with AES-256-CBC and writes the wire form (outer fields, base64 in
 * lines) to `output`. Runs in this process: openssl's start is its own cost, printed apart.
 */
export type SealFile = (input: string, certificate: string, output: string) => Promise<void>;

/** Prints MiB/s of both, their ratio, and what of openssl's time is its start. */
export async function benchSealing(seal: SealFile, print: (line: string) => void, owner: Owner): Promise<void> {
  const missing = openssl.missing();
  if (missing !== undefined) return print(`sealing: skipped, ${missing}`);
  const dir = await mkdtemp(join(tmpdir(), 'bench-sealing-'));
  owner.after(() => rm(dir, { recursive: true, force: true }));
  const { people } = await makeReaders(join(dir, 'readers'));
  const { certificate } = people.anna;
  const [input, output] = [join(dir, 'entity'), join(dir, 'sealed')];
  const theirs = async (): Promise<void> => {
    const options = ['-stream', '-binary', '-aes-256-cbc', '-outform', 'SMIME', '-in', input, '-out', output];
    await succeed('openssl', ['cms', '-encrypt', ...options, certificate]);
  };
  await writeFile(input, 'x');
  print(`sealing: openssl starts, seals one octet and ends ${(await rateOf(1, theirs)).toFixed(0)} times a second`);
  for (const size of SIZES_MIB) {
    const entity = entityOf(size * MIB);
    await writeFile(input, entity);
    // A fast seal that nobody can open would win every bench.
    await seal(input, certificate, output);
    const reader: MailProgram = await openssl.start({ ca: certificate, passphrase: '', people });
    const opened = await reader.open(await readFile(output), people.anna);
    if (!opened.equals(entity)) throw new Error('openssl opened something else than was sealed');
    const result = await comparePairs(
      PAIRS,
      () => rateOf(size, () => seal(input, certificate, output)),
      () => rateOf(size, theirs),
    );
    print(
      `sealing ${size} MiB: ratio ${showSpread(result.ratio, 2)} of openssl (min / median / max of ${PAIRS} pairs); ` +
        `ours ${showSpread(result.ours, 0)}, openssl ${showSpread(result.theirs, 0)} MiB/s`,
    );
  }
}

/** A form mail with base64 in it: nothing to mend, so that both sides do the same work. */
function entityOf(octets: number): Buffer {
  const noise = createHash('shake256', { outputLength: Math.floor((octets * 3) / 4) })
    .update('bench')
    .digest();
  return Buffer.from(
    `Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n${noise.toString('base64').replace(/.{76}/g, '$&\r\n')}`,
  );
}
