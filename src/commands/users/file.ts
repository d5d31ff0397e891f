/**
 * The users file as commands change it: what the operator wrote, comments and order among them, stays as it is. It is written whole
 * or not at all, and never in a form that the relay would not take. One command at a time, see lock.ts.
 */
import {
  closeSync,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { isMap, isSeq, parseDocument } from 'yaml';
import type { Document, YAMLMap, YAMLSeq } from 'yaml';
import { showFaults } from '../../document/fault.ts';
import { readText, systemCode } from '../../document/yaml.ts';
import { SealpostError } from '../../errors.ts';
import { readUserEntries } from '../../ingress/users/entries.ts';
import { IF_MISSING } from '../../ingress/users/file.ts';
import { withLock } from './lock.ts';

/** The keys of one entry, as the file has them. */
export interface WrittenUser {
  readonly name: string;
  readonly password?: string;
  readonly certificates?: readonly string[];
  readonly mailbox?: string;
  readonly senders?: readonly string[];
  readonly recipients?: readonly string[];
  readonly rate?: string;
}

const FIRST =
  '# Who may log in. sealpost users add and remove write here, and so may you: the relay takes a change within seconds.\nusers: []\n';

export interface Putting {
  /** Changes an entry that is there; keys that the new one lacks stay. */
  readonly replace: boolean;
  /** Belongs to the user that the relay runs as. */
  readonly dataFolder: string;
}

/** Answers false where there is an entry already that is not to be replaced. Throws `users-busy`, and what reading throws. */
export function putUser(file: string, user: WrittenUser, putting: Putting): Promise<boolean> {
  return withLock(followed(file), () => put(file, user, putting));
}

async function put(file: string, user: WrittenUser, { replace, dataFolder }: Putting): Promise<boolean> {
  const text = existsSync(file) ? await readText(file) : FIRST;
  const document = open(file, text);
  const users = listIn(document, file);
  const known = find(users, user.name);
  if (known !== undefined && !replace) return false;
  if (known === undefined) users.add(document.createNode(user));
  else for (const [key, value] of Object.entries(user)) known.set(key, document.createNode(value));
  // A list that was empty stands in brackets; entries read better below each other.
  users.flow = false;
  write(file, document, dataFolder);
  return true;
}

/** Answers false where there is no such entry. Throws `users-busy`, and what reading throws. */
export function removeUser(file: string, name: string): Promise<boolean> {
  return withLock(followed(file), () => remove(file, name));
}

async function remove(file: string, name: string): Promise<boolean> {
  const document = open(file, await readText(file, IF_MISSING));
  const users = listIn(document, file);
  const known = find(users, name);
  if (known === undefined) return false;
  users.items = users.items.filter((item) => item !== known);
  write(file, document);
  return true;
}

/** A file with faults is the operator's to mend: a command would only spread them. */
function open(file: string, text: string): Document.Parsed {
  assertValid(file, text);
  return parseDocument(text);
}

function assertValid(file: string, text: string): void {
  const read = readUserEntries(file, text);
  if (read.kind === 'invalid')
    throw new SealpostError('users-invalid', {
      detail: `nothing was changed\n${showFaults(read.faults)}`,
      hint: 'mend what is listed, then try again',
    });
}

function listIn(document: Document.Parsed, file: string): YAMLSeq {
  const users: unknown = document.get('users', true);
  if (isSeq(users)) return users;
  throw new SealpostError('users-invalid', {
    detail: `${file}: users is an alias, which a command cannot change`,
    hint: 'write the list out',
  });
}

const find = (users: YAMLSeq, name: string): YAMLMap | undefined => users.items.filter(isMap).find((item) => item.get('name') === name);

const OWN = 0o600;
/** What is kept of the mode of an older file: the group of the relay may read. */
const KEPT = 0o640;

/** A link to the file stays one. */
const followed = (named: string): string => (existsSync(named) ? realpathSync(named) : named);

function write(named: string, document: Document.Parsed, dataFolder?: string): void {
  const text = render(named, document);
  assertValid(named, text);
  const file = followed(named);
  const temporary = join(dirname(file), `.${basename(file)}.${process.pid}.tmp`);
  try {
    writeSynced(temporary, text, statOf(file) ?? readableBy(dataFolder));
    renameSync(temporary, file);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw new SealpostError('file-unwritable', { detail: `${file} (${systemCode(cause) ?? 'unknown reason'})`, cause });
  }
}

function render(file: string, document: Document.Parsed): string {
  try {
    return document.toString({ lineWidth: 0 });
  } catch (cause) {
    const hint = 'another entry repeats a part of this one by a * alias: write it out';
    throw new SealpostError('users-invalid', { detail: `${file}: nothing was changed`, hint, cause });
  }
}

type Belonging = Pick<Stats, 'uid' | 'gid' | 'mode'>;

const statOf = (file: string): Stats | undefined => statSync(file, { throwIfNoEntry: false });

/** A new file that root writes is root's, and the group of the relay reads it: whoever takes the relay over makes no users. */
function readableBy(dataFolder: string | undefined): Belonging | undefined {
  const data = dataFolder === undefined || process.getuid?.() !== 0 ? undefined : statOf(dataFolder);
  return data === undefined || data.uid === 0 ? undefined : { uid: 0, gid: data.gid, mode: KEPT };
}

function writeSynced(file: string, text: string, wanted: Belonging | undefined): void {
  const out = openSync(file, 'wx', OWN);
  try {
    const now = statSync(file);
    // The relay reads it as another user: whose file it was, it stays.
    if (wanted !== undefined && (wanted.uid !== now.uid || wanted.gid !== now.gid)) fchownSync(out, wanted.uid, wanted.gid);
    fchmodSync(out, wanted === undefined ? OWN : OWN | (wanted.mode & KEPT));
    writeFileSync(out, text);
    fsyncSync(out);
  } finally {
    closeSync(out);
  }
}
