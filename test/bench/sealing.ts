/** Sealing against `openssl cms -encrypt -stream`: in process and as a process, for one RSA reader and AES-256-CBC. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { makeReaders } from '../interop/fixtures.ts';
import { succeed } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import type { Bench } from './figures.ts';
import { sealFile } from './ours.ts';
import type { Owner } from './owner.ts';
import { comparePairs, rateOf, showSpread } from './pairs.ts';

const MIB = 1024 * 1024;
const ROOT = resolve(import.meta.dirname, '../..');
const PEOPLE = ['--from', 'forms@clinic.example', '--to', 'anna@clinic.example'];

/**
 * Seals the entity in `input` to the certificate (a PEM file) with AES-256-CBC and writes the wire form (outer fields, base64 in
 * lines) to `output`.
 */
export type SealFile = (input: string, certificate: string, output: string) => Promise<void>;

/** The command that an operator has, built; no shell is paid for but the one that openssl's redirections would need. */
const sealProcess: SealFile = async (input, certificate, output) => {
  const command = ['seal', '--cert', certificate, ...PEOPLE, '--cipher', 'aes-256-cbc'];
  await succeed('sh', ['-c', 'input=$1 output=$2; shift 2; exec "$@" < "$input" > "$output"', 'sh', input, output, ...ourCommand(command)]);
};

const ourCommand = (args: readonly string[]): string[] => [process.execPath, join(ROOT, 'dist/cli.js'), ...args];

const opensslProcess: SealFile = async (input, certificate, output) => {
  const options = ['-stream', '-binary', '-aes-256-cbc', '-outform', 'SMIME', '-in', input, '-out', output];
  await succeed('openssl', ['cms', '-encrypt', ...options, certificate]);
};

/** In process openssl's start is its own cost, so it is printed apart. */
export async function benchSealing(bench: Bench, owner: Owner): Promise<void> {
  const { print, quick } = bench;
  const missing = openssl.missing();
  if (missing !== undefined) return print(`sealing: skipped, ${missing}`);
  // What is measured is what is in src/ now.
  await succeed('npm', ['run', '--silent', 'prepare'], { cwd: ROOT });
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-bench-'));
  owner.after(() => rm(dir, { recursive: true, force: true }));
  const readers = await makeReaders(join(dir, 'readers'));
  const { anna } = readers.people;
  const [input, output] = [join(dir, 'entity'), join(dir, 'sealed')];
  const entity = entityOf((quick ? 1 : 25) * MIB);
  await writeFile(input, 'x');
  const starts = await rateOf(1, () => opensslProcess(input, anna.certificate, output));
  print(`  openssl starts, seals one octet and ends ${starts.toFixed(0)} times a second`);
  await writeFile(input, entity);
  const body = entity.subarray(entity.indexOf('\r\n\r\n'));
  const program = await openssl.start(readers);
  const size = entity.length / 1e6;
  for (const { what, seal, unit, wanted } of [
    {
      what: `${Math.round(size)} MB entity sealed in process, against openssl as a process`,
      seal: sealFile,
      unit: 'MB/s',
      wanted: { least: 1 },
    },
    { what: `\`sealpost seal\` of it as a process: wall time against openssl's`, seal: sealProcess, unit: 's', wanted: { most: 2 } },
  ] as const) {
    // A fast seal that nobody can open would win every bench.
    await seal(input, anna.certificate, output);
    const opened = await program.open(await readFile(output), anna);
    if (!opened.subarray(-body.length).equals(body)) throw new Error('openssl opened something else than was sealed');
    const measure = async (work: () => Promise<void>): Promise<number> => {
      const rate = await rateOf(size, work);
      return unit === 's' ? size / rate : rate;
    };
    const result = await comparePairs(
      quick ? 1 : 7,
      () => measure(() => seal(input, anna.certificate, output)),
      () => measure(() => opensslProcess(input, anna.certificate, output)),
    );
    const digits = unit === 's' ? 2 : 0;
    const beside = `ours ${showSpread(result.ours, digits)}, openssl ${showSpread(result.theirs, digits)} ${unit}`;
    bench.figure({ what, measured: result.ratio, unit: '×', wanted, beside });
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
