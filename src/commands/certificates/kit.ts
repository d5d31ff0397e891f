/** What a reader is handed with a certificate of the in-house CA: the PKCS#12, its password apart, and a page that says what to do. */
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { basename, join } from 'node:path';
import { authorityChain, type OpenAuthority } from '../../certificates/authority/files.ts';
import type { Issued } from '../../certificates/authority/issue.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { instructionPage, type PageContent } from '../../certificates/authority/page.ts';
import { openPkcs12 } from '../../certificates/pkcs12/keys.ts';
import { generatePassphrase, writePkcs12 } from '../../certificates/pkcs12/write.ts';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';
import { shown } from './paths.ts';
import { fileNameOf, makeFolder, writeAllNew } from './store.ts';

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

/** What is there of a kit. The PKCS#12 is written last: where it is, the others are, unless somebody took them away. */
export type KitState =
  | { readonly kind: 'none' | 'begun' | 'taken' }
  /** The certificate that the PKCS#12 opens to with its password. */
  | { readonly kind: 'whole'; readonly certificate: Certificate };

export function readKit(kit: Kit): KitState {
  if (!existsSync(kit.p12)) return { kind: existsSync(kit.password) || existsSync(kit.page) ? 'begun' : 'none' };
  try {
    const [pair] = openPkcs12(readFileSync(kit.p12), readFileSync(kit.password, 'utf8').trimEnd());
    return pair === undefined ? { kind: 'taken' } : { kind: 'whole', certificate: pair.certificate };
  } catch {
    return { kind: 'taken' }; // it is somebody else's, or its password was taken away
  }
}

/** Makes room where a run was interrupted; what stood there is kept, since a password may belong to a PKCS#12 that was moved. */
export function setAside(kit: Kit): void {
  for (const file of [kit.password, kit.page]) if (existsSync(file)) renameSync(file, `${file}.unfinished`);
}

/** Writes the three, for their owner's eyes alone; durable once the folder is synced. */
export async function writeKit(kit: Kit, { issued, authority, ...page }: KitContent): Promise<void> {
  const passphrase = generatePassphrase();
  const p12 = writePkcs12({ ...issued, authorities: authorityChain(authority), passphrase, friendlyName: page.address });
  makeFolder(join(kit.p12, '..'), SECRET_FOLDER);
  const { certificate } = issued;
  const html = instructionPage({ ...page, file: basename(kit.p12), certificate, root: authority.root.certificate });
  await writeAllNew([
    { path: kit.password, content: `${passphrase}\n`, mode: SECRET_FILE },
    { path: kit.page, content: html, mode: SECRET_FILE },
    { path: kit.p12, content: p12, mode: SECRET_FILE },
  ]);
}
