/** One certificate into the first folder of recipients, one PEM file an address. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readCertificates } from '../../certificates/bundle.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';
import { type FolderLock, makeFolderLock } from './folder-lock.ts';
import { firstFolder, shown } from './paths.ts';
import type { CertificatePaths } from './paths.ts';
import { readFile } from './show.ts';
import { annotatedPem, fileNameOf, writeWhole } from './store.ts';

const PUBLIC_FILE = 0o644;

/** Writes it into the file of its first address, behind what is there. Returns the path. `lock`: of the first folder. */
export async function place(
  certificate: Certificate,
  paths: CertificatePaths,
  terminal: Terminal,
  lock: FolderLock = makeFolderLock(firstFolder(paths), terminal),
): Promise<string> {
  const file = join(firstFolder(paths), `${fileNameOf(certificate.addresses[0] ?? certificate.fingerprint)}.pem`);
  await lock.hold(() => writeBehind(file, certificate, terminal));
  return file;
}

function writeBehind(file: string, certificate: Certificate, terminal: Terminal): void {
  const before = existsSync(file) ? readFile(file, terminal) : Buffer.alloc(0);
  const { certificates, faults } = readCertificates(before);
  if (before.length > 0 && (faults.length > 0 || !before.includes('-----BEGIN'))) {
    const hint = 'it is no PEM file of certificates in good order: move it away or mend it';
    throw new SealpostError('file-exists', { detail: shown(file, terminal), hint });
  }
  if (certificates.some(({ fingerprint }) => fingerprint === certificate.fingerprint)) return;
  const end = before.length === 0 || before.at(-1) === 0x0a ? '' : '\n';
  writeWhole(file, Buffer.concat([before, Buffer.from(end + annotatedPem(certificate))]), PUBLIC_FILE);
}
