/** `certs issue`, and the files of the in-house CA. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { readCertificates } from '../../certificates/bundle.ts';
import { issueCertificate, makeAuthority } from '../../certificates/authority/issue.ts';
import type { Authority, KeyChoice } from '../../certificates/authority/issue.ts';
import { isKeyOf, readKeyPem } from '../../certificates/pkcs12/keys.ts';
import { generatePassphrase, writePkcs12 } from '../../certificates/pkcs12/write.ts';
import { SealpostError } from '../../errors.ts';
import { parseMailbox } from '../../message/envelope.ts';
import type { Terminal } from '../terminal.ts';
import { place } from './place.ts';
import { shown } from './paths.ts';
import type { CertificatePaths } from './paths.ts';
import { keyText } from './key-text.ts';
import { annotatedPem, fileNameOf, makeFolder, writeNew } from './store.ts';

export const AUTHORITY_KEY_FILE = 'ca.key';
export const AUTHORITY_CERTIFICATE_FILE = 'in-house-ca.pem';
const SECRET_FILE = 0o600;
const SECRET_FOLDER = 0o700;
const PUBLIC_FILE = 0o644;

type AuthorityPaths = Pick<CertificatePaths, 'anchors' | 'keys'>;

/** For `init`: a new in-house CA in the site's folders. Throws `file-exists` where there is one. `now` in ms. */
export async function createAuthority(paths: AuthorityPaths, name: string, now: number): Promise<Authority> {
  const [keyFile, certificateFile] = [join(paths.keys, AUTHORITY_KEY_FILE), join(paths.anchors, AUTHORITY_CERTIFICATE_FILE)];
  for (const file of [keyFile, certificateFile]) if (existsSync(file)) throw new SealpostError('file-exists', { detail: file });
  const authority = await makeAuthority({ name, now });
  makeFolder(paths.keys, SECRET_FOLDER);
  makeFolder(paths.anchors, 0o755);
  writeNew(keyFile, authority.key.export({ type: 'pkcs8', format: 'pem' }).toString(), SECRET_FILE);
  writeNew(certificateFile, annotatedPem(authority.certificate), PUBLIC_FILE);
  return authority;
}

export function readAuthority(paths: AuthorityPaths): Authority {
  const [keyFile, certificateFile] = [join(paths.keys, AUTHORITY_KEY_FILE), join(paths.anchors, AUTHORITY_CERTIFICATE_FILE)];
  const key = readKeyPem(readPart(keyFile));
  const [certificate] = readCertificates(readPart(certificateFile)).certificates;
  if (certificate === undefined) throw new SealpostError('certificate-malformed', { detail: certificateFile });
  if (!isKeyOf(key, certificate)) {
    throw new SealpostError('key-malformed', {
      detail: `${keyFile} is not the key of ${certificateFile}`,
      hint: 'the two belong together: restore them from one backup',
    });
  }
  return { certificate, key };
}

function readPart(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new SealpostError('file-unreadable', {
      detail: file,
      hint: 'sealpost init makes a site with an in-house CA; issue works where its key is',
      cause,
    });
  }
}

export interface IssueWish {
  readonly key: KeyChoice;
  readonly days: number;
  readonly out: string;
  readonly name?: string;
}

/** Key and password first and the certificate last: nothing is ever sealed to a key that was not handed out. */
export async function issue(address: string, wish: IssueWish, paths: CertificatePaths, terminal: Terminal): Promise<void> {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault')
    throw new SealpostError('address-invalid', { detail: `${address}: ${verdict.fault}`, hint: 'local@domain, nothing else' });
  const { mailbox } = verdict;
  const out = resolve(terminal.cwd, wish.out);
  const base = join(out, fileNameOf(mailbox.address));
  for (const file of [`${base}.p12`, `${base}.password`]) {
    if (existsSync(file))
      throw new SealpostError('file-exists', { detail: shown(file, terminal), hint: 'move it away, or choose another folder with --out' });
  }
  const authority = readAuthority(paths);
  const { certificate, key } = await issueCertificate({
    authority,
    mailbox,
    name: wish.name,
    key: wish.key,
    days: wish.days,
    now: Date.now(),
  });
  const passphrase = generatePassphrase();
  const p12 = writePkcs12({ key, certificate, authority: authority.certificate, passphrase, friendlyName: mailbox.address });
  makeFolder(out, SECRET_FOLDER);
  writeNew(`${base}.p12`, p12, SECRET_FILE);
  writeNew(`${base}.password`, `${passphrase}\n`, SECRET_FILE);
  const file = place(certificate, paths, terminal);
  terminal.stdout.write(
    [
      `issued: ${mailbox.address}, ${keyText(certificate)}, valid until ${certificate.notAfter.toISOString().slice(0, 10)}`,
      `  certificate  ${shown(file, terminal)}  (in use within seconds)`,
      `  private key  ${shown(`${base}.p12`, terminal)}`,
      `  password     ${shown(`${base}.password`, terminal)}`,
      '',
      'next: hand the .p12 to the reader and the password by another way, such as the telephone. The reader imports it:',
      '  Windows and Outlook: open the .p12   Thunderbird: Settings, Privacy & Security, Certificates   macOS, iOS: open the .p12',
      'then delete both files here: who has them reads that mail.',
      '',
    ].join('\n'),
  );
}
