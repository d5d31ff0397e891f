/** What there is to tell of a folder, as lines of the log. */
import type { Logger } from 'pino';
import type { ScanNews } from './scan.ts';

export type FolderNews =
  | ScanNews
  /** The index is thrown away, and the folder read anew. */
  | { readonly kind: 'index-refused'; readonly reason: string }
  | { readonly kind: 'index-unwritable'; readonly cause: Error };

export function logOf(path: string, log: Logger): (news: FolderNews) => void {
  return (news) => {
    switch (news.kind) {
      case 'broken':
        log.warn({ path: news.path, faults: news.faults, certificates: news.certificates }, 'certificate file is broken');
        return;
      case 'unreadable':
        log.warn({ path: news.path, err: news.cause }, 'certificate file cannot be read');
        return;
      case 'no-folder':
        log.warn({ path, err: news.cause }, 'certificate folder cannot be read');
        return;
      case 'emptied':
        log.warn({ path, seconds: news.seconds }, 'certificate folder is empty all at once: unavailable, until it is believed');
        return;
      case 'empty-at-first':
        log.warn({ path, seconds: news.seconds }, 'certificate folder is empty at start: unavailable, until it is believed');
        return;
      case 'progress':
        log.info({ path, files: news.files, certificates: news.certificates }, 'certificate folder is being read');
        return;
      case 'index-refused':
        log.warn({ path, reason: news.reason }, 'index of the certificate folder is not used, all files are read');
        return;
      case 'index-unwritable':
        log.warn({ path, err: news.cause }, 'index of the certificate folder cannot be written');
        return;
    }
  };
}
