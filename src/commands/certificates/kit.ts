/** What a reader is handed with a certificate of the in-house CA: the PKCS#12, its password apart, and a page that says what to do. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { authorityChain, type OpenAuthority } from '../../certificates/authority/files.ts';
import type { Issued } from '../../certificates/authority/issue.ts';
import { instructionPage, type PageContent } from '../../certificates/authority/page.ts';
import { generatePassphrase, writePkcs12 } from '../../certificates/pkcs12/write.ts';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';
import { shown } from './paths.ts';
import { fileNameOf, makeFolder, writeNew } from './store.ts';

const SECRET_FILE = 0o600;
const SECRET_FOLDER = 0o700;

/** Paths of the files of one reader. */
export interface Kit {
  readonly p12: string;
  readonly password: string;
  readonly page: string;
}

export function kitFor(address: string, out: string): Kit {
  const base = join(out, fileNameOf(address));
  return { p12: `${base}.p12`, password: `${base}.password`, page: `${base}.html` };
}

/** Throws `file-exists`: whoever overwrites a key that was not handed out yet has lost it. */
export function assertFreeKit(kit: Kit, terminal: Terminal): void {
  const taken = Object.values(kit).find((file: string) => existsSync(file));
  if (taken === undefined) return;
  throw new SealpostError('file-exists', { detail: shown(taken, terminal), hint: 'move it away, or choose another folder with --out' });
}

export interface KitContent extends Pick<PageContent, 'address' | 'name' | 'operator' | 'renews'> {
  readonly issued: Issued;
  readonly authority: OpenAuthority;
}

/** Writes the three, for their owner's eyes alone. */
export function writeKit(kit: Kit, { issued, authority, ...page }: KitContent): void {
  const passphrase = generatePassphrase();
  const p12 = writePkcs12({ ...issued, authorities: authorityChain(authority), passphrase, friendlyName: page.address });
  makeFolder(join(kit.p12, '..'), SECRET_FOLDER);
  writeNew(kit.p12, p12, SECRET_FILE);
  writeNew(kit.password, `${passphrase}\n`, SECRET_FILE);
  const { certificate } = issued;
  writeNew(kit.page, instructionPage({ ...page, file: basename(kit.p12), certificate, root: authority.root.certificate }), SECRET_FILE);
}
