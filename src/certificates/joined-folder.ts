/** Folders of intermediates that count as one: the operator's, what the relay took itself, and what came with a mail that is judged. */
import { join } from 'node:path';
import type { Certificate } from './certificate.ts';
import type { CertificateFolder, FolderContents, PlacedCertificate } from './folder.ts';

/** Where the relay keeps intermediates that came with harvested certificates. `data`: the data folder. */
export const takenIntermediates = (data: string): string => join(data, 'intermediates');

/**
 * `taken` may not be there before a relay has run: nothing was taken then. Where it has been made, or was seen, its absence is a loss, such
 * as of a mount, and what stood in it is unavailable (P5). Where `first` cannot be read the whole cannot.
 */
export function joinFolders(first: CertificateFolder, taken: CertificateFolder, { made }: { readonly made: boolean }): CertificateFolder {
  let stood = made;
  let versions = '';
  let version = 0;
  return {
    path: first.path,
    contents: async () => {
      const [one, other] = [await first.contents(), await taken.contents()];
      if (other.kind === 'read') stood = true;
      if (one.kind === 'unavailable') return one;
      const now = `${one.version} ${other.kind === 'read' ? other.version : 'none'}`;
      if (now !== versions) version++;
      versions = now;
      return { ...together(one, other, stood), version };
    },
    refresh: async () => {
      await Promise.all([first.refresh(), taken.refresh()]);
    },
    close: () => {
      first.close();
      taken.close();
    },
  };
}

/** For one question: the folder itself stays its owner's, to close. */
export function withCertificates(folder: CertificateFolder, more: readonly Certificate[]): CertificateFolder {
  const placed = more.map((certificate): PlacedCertificate => ({ certificate, place: 'the mail', file: '' }));
  return {
    ...folder,
    contents: async () => {
      const contents = await folder.contents();
      return contents.kind === 'read' ? { ...contents, certificates: [...contents.certificates, ...placed] } : contents;
    },
    close: () => undefined,
  };
}

type Read = FolderContents & { readonly kind: 'read' };

function together(first: Read, taken: FolderContents, stood: boolean): Read {
  if (taken.kind === 'unavailable')
    return isMissing(taken.cause) && !stood ? first : { ...first, unread: first.unread ?? asError(taken.cause) };
  return {
    ...first,
    certificates: [...first.certificates, ...taken.certificates],
    broken: [...first.broken, ...taken.broken],
    unread: first.unread ?? taken.unread,
  };
}

const isMissing = (cause: unknown): boolean => cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';

const asError = (cause: unknown): Error => (cause instanceof Error ? cause : new Error('a folder that cannot be read', { cause }));
