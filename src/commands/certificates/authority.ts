/** The in-house CA as commands meet it: made by `init`, opened by whatever signs. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AuthorityPlaces,
  authorityFiles,
  needsPassphrase,
  type OpenAuthority,
  openAuthority,
} from '../../certificates/authority/files.ts';
import { makeAuthority, makeIssuing } from '../../certificates/authority/issue.ts';
import { writeKeyFile } from '../../certificates/authority/key-file.ts';
import { generatePassphrase } from '../../certificates/pkcs12/write.ts';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';
import { askHidden } from '../users/password.ts';
import type { CertificatePaths } from './paths.ts';
import { annotatedPem, makeFolder, writeNew } from './store.ts';

/** In the keys folder; what `init` writes into the configuration names it. */
export const PASSPHRASE_FILE = 'ca.passphrase';
const SECRET_FILE = 0o600;
const SECRET_FOLDER = 0o700;
const PUBLIC_FILE = 0o644;

export interface NewAuthority extends OpenAuthority {
  /** Everything that was written, the passphrase first. */
  readonly files: readonly string[];
}

/** As mail programs list it. */
export const authorityName = (which: 'root' | 'issuing', of: string): string => `In-house ${which} CA of ${of}`;

/** For `init`: a root and an issuing CA in the site's folders. `of`: whose it is. Throws `file-exists` where there is one. `now` in ms. */
export async function createAuthority(places: AuthorityPlaces, of: string, now: number): Promise<NewAuthority> {
  const { rootKey, rootCertificate, issuingKey, issuingCertificate } = authorityFiles(places);
  const passphraseFile = join(places.keys, PASSPHRASE_FILE);
  const files = [passphraseFile, rootKey, issuingKey, rootCertificate, issuingCertificate];
  for (const file of files) if (existsSync(file)) throw new SealpostError('file-exists', { detail: file });
  const root = await makeAuthority({ name: authorityName('root', of), now });
  const issuing = await makeIssuing({ root, name: authorityName('issuing', of), now });
  const passphrase = generatePassphrase();
  makeFolder(places.keys, SECRET_FOLDER);
  makeFolder(places.anchors, 0o755);
  makeFolder(places.intermediates, 0o755);
  writeNew(passphraseFile, `${passphrase}\n`, SECRET_FILE);
  writeNew(rootKey, writeKeyFile(root.key, passphrase, `key of ${root.certificate.subject}`), SECRET_FILE);
  writeNew(issuingKey, writeKeyFile(issuing.key, passphrase, `key of ${issuing.certificate.subject}`), SECRET_FILE);
  writeNew(rootCertificate, annotatedPem(root.certificate), PUBLIC_FILE);
  writeNew(issuingCertificate, annotatedPem(issuing.certificate), PUBLIC_FILE);
  return { issuing, root, files };
}

/** With the passphrase of the configuration, else of whoever sits at the terminal. Throws what openAuthority() throws. */
export async function openSiteAuthority(paths: CertificatePaths, terminal: Terminal): Promise<OpenAuthority> {
  const named = await paths.passphrase();
  const asked = named === undefined && needsPassphrase(paths) ? await askHidden('passphrase of the in-house CA: ', terminal) : named;
  return openAuthority(paths, asked);
}
