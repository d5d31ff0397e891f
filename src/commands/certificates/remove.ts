/** `certs remove`: out of the first folder of recipients. */
import { rmSync } from 'node:fs';
import { readCertificates } from '../../certificates/bundle.ts';
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
import { annotatedPem, writeWhole } from './store.ts';

const PUBLIC_FILE = 0o644;
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
