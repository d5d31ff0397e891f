/** Certificates: many of them, and what a stranger's can cost. Each part stands in a file of its own under certificates/. */
import { benchAbsent } from './certificates/absent.ts';
import { benchCrl } from './certificates/crl.ts';
import { benchExpiring } from './certificates/expiring.ts';
import { benchFiles } from './certificates/files.ts';
import { benchImport } from './certificates/import.ts';
import { benchIssue } from './certificates/issue.ts';
import { benchKnown } from './certificates/known.ts';
import { benchLookup } from './certificates/lookup.ts';
import { benchMesh } from './certificates/mesh.ts';
import { benchSmimea } from './certificates/smimea.ts';
import type { Owner } from './owner.ts';

export type Print = (line: string) => void;

/** In the order they run. */
const parts: readonly ((print: Print, owner: Owner) => Promise<void>)[] = [
  benchFiles,
  benchExpiring,
  benchLookup,
  benchAbsent,
  benchImport,
  benchKnown,
  benchCrl,
  benchMesh,
  benchSmimea,
  benchIssue,
];

export async function benchCertificates(print: Print, owner: Owner): Promise<void> {
  for (const part of parts) await part(print, owner);
}
