/** Recipient certificates kept as files: a source whose folder is live (folder.ts). */
import { mailboxKey } from '../message/envelope.ts';
import type { Candidate, CertificateSource } from './source.ts';
import type { CertificateFolder, FolderContents } from './folder.ts';

/** Certificates count for every address they name. */
export function makeFileSource(folder: CertificateFolder): CertificateSource {
  const name = `files ${folder.path}`;
  let index: ReadonlyMap<string, readonly Candidate[]> = new Map();
  let indexed: FolderContents | undefined;
  return {
    name,
    close: () => folder.close(),
    lookup: async (mailbox) => {
      const contents = await folder.contents();
      if (contents.kind === 'unavailable') return contents;
      if (contents !== indexed) {
        index = byAddress(contents, name);
        indexed = contents;
      }
      const candidates = index.get(mailboxKey(mailbox));
      if (candidates !== undefined) return { kind: 'found', candidates };
      return contents.unread === undefined ? { kind: 'absent' } : { kind: 'unavailable', cause: contents.unread };
    },
  };
}

function byAddress(contents: FolderContents & { kind: 'read' }, source: string): ReadonlyMap<string, readonly Candidate[]> {
  const index = new Map<string, Candidate[]>();
  for (const { certificate, place } of contents.certificates) {
    for (const address of certificate.addresses) {
      const candidates = index.get(address) ?? [];
      candidates.push({ certificate, source, place });
      index.set(address, candidates);
    }
  }
  return index;
}
