/** `certs add` of 100,000 PEM files into an empty site, as the process that an operator starts: seconds, and the most it had resident. */
import { spawn } from 'node:child_process';
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { extension, keyIdOf, nameOf, signCertificate } from '../../../src/certificates/authority/x509.ts';
import { bitString, implicit, octetString, oid, sequence, trueValue } from '../../../src/certificates/encode.ts';
import { emailProtection, extensionOids } from '../../../src/certificates/oids.ts';
import { residentMiB } from '../memory.ts';
import type { Owner } from '../owner.ts';

const CLI = resolve(import.meta.dirname, '../../../src/cli.ts');
const FILES = 100_000;
const FILES_IN_FOLDER = 10_000;
/** Key pairs of readers: making a hundred thousand is no part of this. */
const KEYS = 20;
const DAY_MS = 86_400_000;
const LOOK_MS = 100;

export async function benchImport(print: (line: string) => void, owner: Owner): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'bench-import-'));
  owner.after(() => rmSync(dir, { recursive: true, force: true }));
  for (const folder of ['recipients', 'anchors', 'intermediates']) mkdirSync(join(dir, 'certs', folder), { recursive: true });
  const site = { hostname: 'relay.clinic.example', operator: 'postmaster@clinic.example' };
  const ends = { listen: [{ host: '127.0.0.1', port: 2525 }], upstream: [{ host: '127.0.0.1', port: 25 }] };
  writeFileSync(join(dir, 'sealpost.yaml'), JSON.stringify({ ...site, ...ends }));
  const begun = performance.now();
  makeFiles(dir);
  print(`certificates, import: ${FILES} PEM files made in ${seconds(performance.now() - begun)} s`);
  const first = await addAll(dir, owner);
  const taken = readdirSync(join(dir, 'certs/recipients')).length;
  if (taken !== FILES) throw new Error(`${taken} of ${FILES} files were taken: ${first.err}`);
  print(`certificates, import: taken in ${first.seconds} s (wanted: 60), ${first.peak} MiB resident at most (300)`);
  const again = await addAll(dir, owner);
  print(`certificates, import: the same again, already there, in ${again.seconds} s, ${again.peak} MiB resident at most`);
}

const seconds = (ms: number): string => (ms / 1000).toFixed(1);

interface Figures {
  readonly seconds: string;
  readonly peak: string;
  readonly err: string;
}

async function addAll(dir: string, owner: Owner): Promise<Figures> {
  const begun = performance.now();
  const child = spawn(process.execPath, [CLI, 'certs', 'add', 'made'], { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  owner.after(() => child.kill('SIGKILL'));
  let err = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err = (err + text).slice(-2000)));
  let peak = 0;
  const look = setInterval(() => {
    if (child.pid === undefined) return;
    // It may have ended by now.
    void residentMiB(child.pid, 'VmHWM').then(
      (most) => (peak = most),
      () => undefined,
    );
  }, LOOK_MS);
  await once(child, 'close');
  clearInterval(look);
  return { seconds: seconds(performance.now() - begun), peak: peak.toFixed(0), err };
}

/** One CA with an EC key; certificates as small as readers' are. */
function makeFiles(dir: string): void {
  const ca = pair();
  const name = nameOf('Bench CA');
  const [from, to] = [Date.now() - DAY_MS, Date.now() + 365 * DAY_MS];
  const caId = keyIdOf(ca.publicKey);
  const root = signCertificate({
    issuer: name,
    subject: name,
    publicKey: ca.publicKey,
    signer: ca.privateKey,
    from,
    to,
    extensions: [
      extension(extensionOids.basicConstraints, sequence(trueValue), true),
      extension(extensionOids.keyUsage, bitString(Buffer.from([0b0000_0110]), 1), true),
      extension(extensionOids.subjectKeyIdentifier, octetString(caId)),
    ],
  });
  writeFileSync(join(dir, 'certs/anchors/ca.pem'), pemOf(root));
  const keys = Array.from({ length: KEYS }, () => pair().publicKey);
  for (let number = 0; number < FILES; number++) {
    const address = `reader${String(number).padStart(6, '0')}@clinic.example`;
    const publicKey = keys[number % KEYS] ?? ca.publicKey;
    const der = signCertificate({
      issuer: name,
      subject: nameOf(address),
      publicKey,
      signer: ca.privateKey,
      from,
      to,
      extensions: [
        extension(extensionOids.subjectAltName, sequence(implicit(1, Buffer.from(address)))),
        extension(extensionOids.keyUsage, bitString(Buffer.from([0b1000_1000]), 3), true),
        extension(extensionOids.extKeyUsage, sequence(oid(emailProtection))),
        extension(extensionOids.authorityKeyIdentifier, sequence(implicit(0, caId))),
      ],
    });
    const folder = join(dir, 'made', `ward${Math.floor(number / FILES_IN_FOLDER)}`);
    if (number % FILES_IN_FOLDER === 0) mkdirSync(folder, { recursive: true });
    // As they come: under names that say nothing.
    writeFileSync(join(folder, `${createHash('sha1').update(address).digest('hex')}.pem`), pemOf(der));
  }
}

const pair = (): { publicKey: KeyObject; privateKey: KeyObject } => generateKeyPairSync('ec', { namedCurve: 'P-256' });

const pemOf = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')}\n-----END CERTIFICATE-----\n`;
