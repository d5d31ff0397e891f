/** `certs remove`: out of every folder of recipients, the one that the relay keeps itself among them. */
import { accessSync, constants, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { readCertificates } from '../../certificates/bundle.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import type { Selection } from '../../certificates/files.ts';
import { certificatePem } from '../../certificates/pem.ts';
import { systemCode } from '../../document/yaml.ts';
import { SealpostError } from '../../errors.ts';
import { mailboxKey, parseMailbox } from '../../message/envelope.ts';
import type { Terminal } from '../terminal.ts';
import { makeFolderLock } from './folder-lock.ts';
import { firstFolder, shown } from './paths.ts';
import type { CertificatePaths } from './paths.ts';
import { readFile } from './show.ts';
import { withSite } from './site.ts';
import { annotatedPem, writeWhole } from './store.ts';

const PUBLIC_FILE = 0o644;
/** The shortest beginning of a fingerprint that is taken for one. */
const MIN_FINGERPRINT = 8;

export async function remove(what: string, paths: CertificatePaths, terminal: Terminal): Promise<void> {
  firstFolder(paths);
  const folders = new Set(paths.folders);
  const which = selection(what);
  const found: Found[] = [];
  await withSite(paths, terminal, async (site) => {
    for (const folder of folders)
      for await (const { file, certificate } of site.read(folder, which)) found.push({ folder, file, certificate });
  });
  const wanted = new Set(found.map(({ certificate }) => certificate.fingerprint));
  if ('fingerprint' in which && wanted.size > 1)
    throw new SealpostError('usage', { detail: `${what} begins ${wanted.size} fingerprints`, hint: 'give more of it' });
  const unseen = unseenFault(paths, terminal);
  if (found.length === 0) {
    if (unseen !== undefined) throw unseen;
    throw new SealpostError('certificate-missing', {
      detail: `${what} in ${[...folders].map((folder) => shown(folder, terminal)).join(', ')}`,
      hint: 'sealpost certs list shows what is there',
    });
  }
  for (const [folder, inFolder] of Map.groupBy(found, (one) => one.folder)) {
    await makeFolderLock(folder, terminal).hold(() => removeAll(inFolder, wanted, terminal));
  }
  if (unseen !== undefined) throw unseen;
}

interface Found {
  readonly folder: string;
  readonly file: string;
  readonly certificate: Certificate;
}

function removeAll(found: readonly Found[], wanted: ReadonlySet<string>, terminal: Terminal): void {
  for (const [file, ofFile] of Map.groupBy(found, (one) => one.file)) {
    removeFrom(file, wanted, terminal);
    for (const { certificate } of ofFile) {
      terminal.stdout.write(
        `removed: ${certificate.addresses.join(', ') || certificate.subject} (${certificate.fingerprint.slice(0, 16)}) from ${shown(file, terminal)}\n`,
      );
    }
  }
}

/** The relay's own folder, where this user may not look into it: what lies there is used on, and nobody may think that it is gone. */
function unseenFault({ folders, options: { own } }: CertificatePaths, terminal: Terminal): SealpostError | undefined {
  if (own === undefined || !folders.includes(own)) return undefined;
  try {
    accessSync(own, constants.R_OK | constants.X_OK);
    return undefined;
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined;
    const user = statSync(dirname(own), { throwIfNoEntry: false })?.uid;
    const hint = `what the relay keeps there is used on; be its user: sudo -u '#${user ?? '…'}' sealpost certs remove …`;
    return new SealpostError('file-unreadable', { detail: shown(own, terminal), hint, cause });
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
  if (left.length === 0) removeFile(file, terminal);
  else
    writeWhole(
      file,
      left.map((certificate) => (certificate.addresses.length > 0 ? annotatedPem(certificate) : certificatePem(certificate))).join(''),
      PUBLIC_FILE,
    );
}

function removeFile(file: string, terminal: Terminal): void {
  try {
    rmSync(file);
  } catch (cause) {
    throw new SealpostError('file-unwritable', { detail: shown(file, terminal), cause });
  }
}
