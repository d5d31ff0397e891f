/** A folder of 100,000 certificate files: the first start, the second, look-ups in peace and during a scan, memory, the event loop. */
import { spawn } from 'node:child_process';
import { createPrivateKey, randomBytes, sign } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { text } from 'node:stream/consumers';
import { CERTIFICATE_LIMITS, readDer } from '../../../src/certificates/der.ts';
import { bitString, sequence } from '../../../src/certificates/encode.ts';
import { caExtensions, make, noOpenssl, rsa } from '../../certificates/openssl.ts';
import { HEAP_FLAGS } from '../../../src/commands/sandbox/flags.ts';
import type { Owner } from '../owner.ts';
import type { FilesFigures } from './files-child.ts';

const CHILD = resolve(import.meta.dirname, 'files-child.ts');
const FILES = 100_000;
const FIGURES = 6;
/** Of a folder; as people sort them, by department. */
const FILES_IN_FOLDER = 10_000;
const CHANGED = 20;

export async function benchFiles(print: (line: string) => void, owner: Owner): Promise<void> {
  if (noOpenssl !== false) return print(`certificates, files: skipped, ${noOpenssl}`);
  const dir = mkdtempSync(join(tmpdir(), 'bench-files-'));
  owner.after(() => rmSync(dir, { recursive: true, force: true }));
  for (const folder of ['made', 'recipients', 'anchors', 'intermediates', 'data']) mkdirSync(join(dir, folder), { mode: 0o700 });
  const begun = performance.now();
  const write = makeCertificates(dir);
  for (let number = 0; number < FILES; number++) write(number);
  print(`certificates, files: ${FILES} files of RSA-2048 certificates made in ${seconds(performance.now() - begun)} s`);

  const first = await measure(dir, owner);
  print(
    `certificates, files: first start ready within ${first.ready} s (wanted: 60), event loop blocked at most ${first.startDelay} ms (100)`,
  );
  tell('look-up', first, print);
  const second = await measure(dir, owner);
  print(`certificates, files: second start ready within ${second.ready} s (wanted: 5), event loop blocked at most ${second.startDelay} ms`);
  tell('look-up', second, print);
  for (let number = 0; number < CHANGED; number++) write(number);
  const third = await measure(dir, owner);
  print(`certificates, files: start after ${CHANGED} changes ready within ${third.ready} s`);
}

function tell(what: string, figures: FilesFigures, print: (line: string) => void): void {
  print(
    `certificates, files: ${what} p50 ${figures.p50} ms, p99 ${figures.p99} ms (wanted: 1), of nobody p99 ${figures.absent99} ms; ` +
      `during scans p99 ${figures.scanning99} ms; a scan takes ${figures.scan} s; event loop blocked at most ${figures.delay} ms (100); ` +
      `${figures.residentAtStart} MiB resident once it is ready, ${figures.resident} behind all look-ups, at most ${figures.peak} (300)`,
  );
}

const seconds = (ms: number): string => (ms / 1000).toFixed(1);

/** In a process of its own, as the relay is one. */
async function measure(dir: string, owner: Owner): Promise<FilesFigures> {
  const child = spawn(process.execPath, [...HEAP_FLAGS, CHILD, dir, String(FILES)], { stdio: ['ignore', 'pipe', 'inherit'] });
  owner.after(() => child.kill('SIGKILL'));
  const figures: FilesFigures = JSON.parse(await text(child.stdout));
  return figures;
}

export const addressOf = (number: number): string => `reader${String(number).padStart(FIGURES, '0')}@clinic.example`;

/** One certificate of openssl as the pattern: number and serial are put into it, and a CA with an EC key signs it anew, which is quick. */
export function makeCertificates(dir: string): (number: number) => void {
  const made = join(dir, 'made');
  make(made, { name: 'ca', extensions: caExtensions });
  copyFileSync(join(made, 'ca.pem'), join(dir, 'anchors/ca.pem'));
  const name = addressOf(0).replace(/@.*/, '');
  const extensions = [`subjectAltName=email:${addressOf(0)}`, 'keyUsage=critical,keyEncipherment', 'extendedKeyUsage=emailProtection'];
  const serial = randomBytes(16).map((octet, index) => (index === 0 ? 0x40 : octet));
  const pattern = make(made, { name, key: rsa(2048), issuer: 'ca', extensions, serial: Buffer.from(serial).toString('hex') });
  const [tbs, algorithm] = readDer(pattern, CERTIFICATE_LIMITS).children;
  if (tbs === undefined || algorithm === undefined) throw new Error('the pattern is no certificate');
  const key = createPrivateKey(readFileSync(join(made, 'ca.key')));
  return (number) => {
    const own = Buffer.from(tbs.bytes);
    randomBytes(8).copy(own, own.indexOf(serial) + 8);
    const digits = String(number).padStart(FIGURES, '0');
    for (let at = own.indexOf('reader'); at >= 0; at = own.indexOf('reader', at + 1)) own.write(digits, at + 'reader'.length);
    const der = sequence(own, algorithm.bytes, bitString(sign('sha256', own, key)));
    const folder = join(dir, 'recipients', `ward${Math.floor(number / FILES_IN_FOLDER)}`);
    if (number % FILES_IN_FOLDER === 0) mkdirSync(folder, { recursive: true });
    const lines = der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n');
    writeFileSync(join(folder, `${addressOf(number)}.pem`), `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`);
  };
}
