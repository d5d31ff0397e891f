/** `certs add` and `certs remove`: the first folder of recipient certificates, one PEM file an address. */
import { existsSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { readCertificates } from '../../certificates/bundle.ts';
import type { Bundle } from '../../certificates/bundle.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import type { Selection } from '../../certificates/files.ts';
import type { PlacedCertificate } from '../../certificates/folder.ts';
import { certificatePem } from '../../certificates/pem.ts';
import { SealpostError } from '../../errors.ts';
import { mailboxKey, parseMailbox } from '../../message/envelope.ts';
import type { Terminal } from '../terminal.ts';
import { firstFolder, shown } from './paths.ts';
import type { CertificatePaths } from './paths.ts';
import { readFile } from './show.ts';
import { withSite } from './site.ts';
import type { Site } from './site.ts';
import { annotatedPem, fileNameOf, writeWhole } from './store.ts';

const PUBLIC_FILE = 0o644;

/** Adds what is usable and says why not of the rest; throws at the end where anything was refused. */
export async function add(files: readonly string[], paths: CertificatePaths, terminal: Terminal): Promise<void> {
  const { refused, all } = await withSite(paths, terminal, async (site) => {
    const added = new Map<string, string>();
    let [refused, all] = [0, 0];
    for (const file of files) {
      const { certificates, faults } = await read(file, terminal);
      for (const fault of faults) terminal.stderr.write(`sealpost: ${file}: ${fault}\n`);
      refused += faults.length;
      all += faults.length + certificates.length;
      for (const certificate of certificates) {
        if (!(await addOne(certificate, file, { site, paths, terminal, added }))) refused++;
      }
    }
    return { refused, all };
  });
  if (refused === 0) return;
  throw new SealpostError('certificate-unusable', { detail: `${refused} of ${all} not added`, hint: 'the reasons stand above' });
}

async function read(file: string, terminal: Terminal): Promise<Bundle> {
  return readCertificates(file === '-' ? await buffer(terminal.stdin) : readFile(resolve(terminal.cwd, file), terminal));
}

interface Adding {
  readonly site: Site;
  readonly paths: CertificatePaths;
  readonly terminal: Terminal;
  /** Files by fingerprint. */
  readonly added: Map<string, string>;
}

/** False where it is refused. */
async function addOne(certificate: Certificate, from: string, { site, paths, terminal, added }: Adding): Promise<boolean> {
  const known = added.get(certificate.fingerprint) ?? (await fileOf(certificate, site, paths));
  if (known !== undefined) {
    terminal.stdout.write(`already there: ${certificate.addresses.join(', ')} in ${shown(known, terminal)}\n`);
    return true;
  }
  if (certificate.ca && certificate.addresses.length === 0) {
    const { trust } = paths.places;
    const folder = shown(certificate.issuerDer.equals(certificate.subjectDer) ? trust.anchors : trust.intermediates, terminal);
    terminal.stderr.write(`sealpost: ${from}: ${certificate.subject} is a CA and was left out; if you trust it, put it into ${folder}\n`);
    return true;
  }
  const reason = await site.reasonAgainst(certificate);
  if (reason !== undefined) {
    const hint = reason.startsWith('no path')
      ? `\n  hint: where you trust its CA, put the CA's certificate into ${shown(paths.anchors, terminal)} first`
      : '';
    terminal.stderr.write(
      `sealpost: ${from}: ${certificate.addresses.join(', ') || certificate.subject} was not added: ${reason}${hint}\n`,
    );
    return false;
  }
  const file = place(certificate, paths, terminal);
  added.set(certificate.fingerprint, file);
  terminal.stdout.write(
    `added: ${certificate.addresses.join(', ')}, valid until ${certificate.notAfter.toISOString().slice(0, 10)}, in ${shown(file, terminal)}\n`,
  );
  return true;
}

/** Where it is already. */
async function fileOf({ fingerprint }: Certificate, site: Site, paths: CertificatePaths): Promise<string | undefined> {
  for await (const { file } of site.read(firstFolder(paths), { fingerprint })) return file;
  return undefined;
}

/** Writes it into the file of its first address, behind what is there. Returns the path. */
export function place(certificate: Certificate, paths: CertificatePaths, terminal: Terminal): string {
  const file = join(firstFolder(paths), `${fileNameOf(certificate.addresses[0] ?? certificate.fingerprint)}.pem`);
  const before = existsSync(file) ? readFile(file, terminal) : Buffer.alloc(0);
  const { certificates, faults } = readCertificates(before);
  if (before.length > 0 && (faults.length > 0 || !before.includes('-----BEGIN'))) {
    const hint = 'it is no PEM file of certificates in good order: move it away or mend it';
    throw new SealpostError('file-exists', { detail: shown(file, terminal), hint });
  }
  if (certificates.some(({ fingerprint }) => fingerprint === certificate.fingerprint)) return file;
  const end = before.length === 0 || before.at(-1) === 0x0a ? '' : '\n';
  writeWhole(file, Buffer.concat([before, Buffer.from(end + annotatedPem(certificate))]), PUBLIC_FILE);
  return file;
}

/** The shortest beginning of a fingerprint that is taken for one. */
const MIN_FINGERPRINT = 8;

export async function remove(what: string, paths: CertificatePaths, terminal: Terminal): Promise<void> {
  const folder = firstFolder(paths);
  const which = selection(what);
  const found: PlacedCertificate[] = [];
  await withSite(paths, terminal, async (site) => {
    for await (const entry of site.read(folder, which)) found.push(entry);
  });
  const wanted = new Set(found.map(({ certificate }) => certificate.fingerprint));
  if ('fingerprint' in which && wanted.size > 1)
    throw new SealpostError('usage', { detail: `${what} begins ${wanted.size} fingerprints`, hint: 'give more of it' });
  if (found.length === 0) {
    throw new SealpostError('certificate-missing', {
      detail: `${what} in ${shown(folder, terminal)}`,
      hint: 'sealpost certs list shows what is there',
    });
  }
  for (const file of new Set(found.map((entry) => entry.file))) {
    removeFrom(file, wanted, terminal);
    for (const { certificate } of found.filter((entry) => entry.file === file)) {
      terminal.stdout.write(
        `removed: ${certificate.addresses.join(', ') || certificate.subject} (${certificate.fingerprint.slice(0, 16)}) from ${shown(file, terminal)}\n`,
      );
    }
  }
}

/** The certificates that an address names, or the one that a fingerprint, whole or begun, names. */
function selection(what: string): Selection {
  const verdict = parseMailbox(what);
  if (verdict.kind === 'mailbox') return { address: mailboxKey(verdict.mailbox) };
  const begun = what.replace(/[:\s]/g, '').toLowerCase();
  if (!/^[0-9a-f]+$/.test(begun) || begun.length < MIN_FINGERPRINT) {
    throw new SealpostError('usage', {
      detail: `${what} is neither an address nor a fingerprint`,
      hint: `a fingerprint is SHA-256 in hex, ${MIN_FINGERPRINT} figures of it or more`,
    });
  }
  return { fingerprint: begun };
}

function removeFrom(file: string, wanted: ReadonlySet<string>, terminal: Terminal): void {
  const bytes = readFile(file, terminal);
  const { certificates, faults } = readCertificates(bytes);
  const left = certificates.filter(({ fingerprint }) => !wanted.has(fingerprint));
  if (faults.length > 0 || (left.length > 0 && !bytes.includes('-----BEGIN CERTIFICATE'))) {
    const hint = 'it holds other things too, which a command must not lose: edit it by hand';
    throw new SealpostError('file-exists', { detail: shown(file, terminal), hint });
  }
  if (left.length === 0) rmSync(file);
  else
    writeWhole(
      file,
      left.map((certificate) => (certificate.addresses.length > 0 ? annotatedPem(certificate) : certificatePem(certificate))).join(''),
      PUBLIC_FILE,
    );
}
