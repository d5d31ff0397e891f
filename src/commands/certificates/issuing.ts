/** `certs issue`. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { authorityChain } from '../../certificates/authority/files.ts';
import { issueCertificate } from '../../certificates/authority/issue.ts';
import type { KeyChoice } from '../../certificates/authority/issue.ts';
import { generatePassphrase, writePkcs12 } from '../../certificates/pkcs12/write.ts';
import { SealpostError } from '../../errors.ts';
import { parseMailbox } from '../../message/envelope.ts';
import type { Terminal } from '../terminal.ts';
import { openSiteAuthority } from './authority.ts';
import { place } from './keep.ts';
import { shown } from './paths.ts';
import type { CertificatePaths } from './paths.ts';
import { keyText } from './key-text.ts';
import { fileNameOf, makeFolder, writeNew } from './store.ts';

const SECRET_FILE = 0o600;
const SECRET_FOLDER = 0o700;

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
  const authority = await openSiteAuthority(paths, terminal);
  const { certificate, key } = await issueCertificate({
    authority: authority.issuing,
    mailbox,
    name: wish.name,
    key: wish.key,
    days: wish.days,
    now: Date.now(),
  });
  const passphrase = generatePassphrase();
  const p12 = writePkcs12({ key, certificate, authorities: authorityChain(authority), passphrase, friendlyName: mailbox.address });
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
