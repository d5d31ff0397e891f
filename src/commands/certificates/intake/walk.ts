/**
 * The files that somebody names to take certificates from, folders and what is below them included. In a folder that rule holds by which
 * the live folders are read: the same names are passed over, links are followed to regular files only, and here no further than the
 * folder itself: a link in what somebody else packed would read this machine's files.
 */
import { type Dirent, readdirSync, realpathSync, type Stats, statSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { MAX_DEPTH, PASSED_OVER } from '../../../certificates/files/scan.ts';
import type { Refusal } from './outcome.ts';

/** `shown`: as it is told to people, escaped nowhere yet. */
export type Named =
  | { readonly kind: 'file'; readonly path: string; readonly shown: string }
  | { readonly kind: 'refused'; readonly shown: string; readonly refusal: Refusal };

/** In the order of names; each folder is listed when it is its turn. */
export function* filesOf(given: string, cwd: string): Generator<Named> {
  const path = resolve(cwd, given);
  const stats = attempt(() => statSync(path));
  if (stats instanceof Error) yield unread(given, stats);
  else if (stats.isDirectory()) yield* inFolder({ root: realpathSync(path), path, shown: given.replace(/(?<=.)\/+$/, '') });
  else yield stats.isFile() ? { kind: 'file', path, shown: given } : notRegular(given, stats);
}

/** Whoever names a folder means something by it: that it holds nothing is a mistake, of the folder or of its name. */
function* inFolder(folder: Folder): Generator<Named> {
  let isEmpty = true;
  for (const named of below(folder, 0)) {
    isEmpty = false;
    yield named;
  }
  if (isEmpty) yield { kind: 'refused', shown: folder.shown, refusal: { class: 'empty', reason: 'nothing to add in this folder' } };
}

interface Folder {
  /** Of the folder that was named, without links. */
  readonly root: string;
  readonly path: string;
  readonly shown: string;
}

function* below({ root, path, shown }: Folder, depth: number): Generator<Named> {
  if (depth > MAX_DEPTH) return yield refused(shown, `sub-folders deeper than ${MAX_DEPTH}`);
  const listed = attempt(() => readdirSync(path, { withFileTypes: true }));
  if (listed instanceof Error) return yield unread(shown, listed);
  for (const entry of listed.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (PASSED_OVER.test(entry.name)) continue;
    const one = { root, path: join(path, entry.name), shown: `${shown}/${entry.name}` };
    if (entry.isDirectory()) yield* below(one, depth + 1);
    else yield* fileIn(one, entry);
  }
}

function* fileIn({ root, path, shown }: Folder, entry: Dirent): Generator<Named> {
  if (entry.isFile()) return yield { kind: 'file', path, shown };
  if (!entry.isSymbolicLink()) return yield refused(shown, 'no regular file');
  const target = attempt(() => realpathSync(path));
  if (target instanceof Error) return yield codeOf(target) === 'ENOENT' ? refused(shown, 'a link to nothing') : unread(shown, target);
  const from = relative(root, target);
  if (from === '..' || from.startsWith(`..${sep}`))
    return yield refused(shown, 'a link that leads out of the folder, which is not followed');
  const stats = attempt(() => statSync(path));
  if (stats instanceof Error) return yield unread(shown, stats);
  // What a link to a folder leads to is met on its own way.
  if (!stats.isDirectory()) yield stats.isFile() ? { kind: 'file', path, shown } : notRegular(shown, stats);
}

const refused = (shown: string, reason: string): Named => ({ kind: 'refused', shown, refusal: { class: 'unreadable', reason } });

/** Of which an open might wait for ever, or a read never end. */
const notRegular = (shown: string, stats: Stats): Named =>
  refused(
    shown,
    `no regular file but ${stats.isFIFO() ? 'a pipe' : stats.isSocket() ? 'a socket' : 'a device'}: sealpost certs add - reads one`,
  );

const unread = (shown: string, error: Error): Named => refused(shown, reasonOf(error));

const codeOf = (error: Error): string => ('code' in error && typeof error.code === 'string' ? error.code : 'an unknown fault');

/** Without the path, which stands before it. */
export function reasonOf(error: Error): string {
  const code = codeOf(error);
  const words: Readonly<Record<string, string>> = {
    ENOENT: 'it is not there',
    EACCES: 'no permission to read it',
    EPERM: 'no permission to read it',
    ELOOP: 'a link that leads in a circle',
  };
  return words[code] ?? `it cannot be read (${code})`;
}

function attempt<Result>(act: () => Result): Result | Error {
  try {
    return act();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
