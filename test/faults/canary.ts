/**
 * Searches folders for a canary, a word that stood in a mail and must not be on any disk (P2): in file names and in every octet of every file,
 * as plain text and in the forms mail software gives to text. Not in what is compressed or encrypted: there it is not readable.
 */
import { createReadStream } from 'node:fs';
import { copyFile, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** Shorter words are found by chance in random octets. */
const MIN_CANARY_OCTETS = 8;
/** More copies of a database that is being written give no better picture. */
const COPY_ATTEMPTS = 5;
const SQLITE_MAGIC = 'SQLite format 3\0';

interface Needle {
  readonly form: string;
  /** As latin1, one character an octet. */
  readonly text: string;
  /** `wrapped`: looked for where line ends are taken out too, since base64 and quoted-printable break anywhere. */
  readonly wrapped: boolean;
}

/** Where the canary is: `path: form`, sorted; empty where it is nowhere. Throws where a file cannot be read: silence would look like proof. */
export async function findCanary(folders: readonly string[], canary: string): Promise<string[]> {
  const needles = needlesOf(canary);
  const found = new Set<string>();
  for (const folder of folders) {
    for (const { path, name, regular } of await entriesOf(folder)) {
      for (const form of formsIn([Buffer.from(name)], needles)) found.add(`${path}: name, ${form}`);
      if (regular) for (const form of await formsInFile(path, needles)) found.add(`${path}: ${form}`);
    }
  }
  return [...found].sort();
}

/** Everything below a folder. Symbolic links are not followed: what they point to is in the list of folders or is not ours. */
async function entriesOf(folder: string): Promise<{ path: string; name: string; regular: boolean }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.map((entry) => ({ path: join(entry.parentPath, entry.name), name: entry.name, regular: entry.isFile() }));
}

async function formsInFile(path: string, needles: readonly Needle[]): Promise<Set<string>> {
  const scanner = makeScanner(needles);
  let start = '';
  try {
    for await (const chunk of createReadStream(path)) {
      const octets = Buffer.from(chunk);
      if (start.length < SQLITE_MAGIC.length) start += octets.toString('latin1', 0, SQLITE_MAGIC.length);
      scanner.push(octets);
    }
  } catch (error) {
    // A temporary file that went away while we looked; what is left of the folder is what counts.
    if (isMissing(error)) return scanner.found;
    throw error;
  }
  if (start.startsWith(SQLITE_MAGIC)) for (const form of await formsInDatabase(path, needles)) scanner.found.add(form);
  return scanner.found;
}

/** A long value is cut by the page ends of the database file, so its values are read through SQLite as well, from a copy. */
async function formsInDatabase(path: string, needles: readonly Needle[]): Promise<Set<string>> {
  const dir = await mkdtemp(join(tmpdir(), 'copy-'));
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        await copyFile(path, join(dir, 'db'));
        await copyFile(`${path}-wal`, join(dir, 'db-wal')).catch((error: unknown) => {
          if (!isMissing(error)) throw error;
        });
        return formsInTables(join(dir, 'db'), needles);
      } catch (error) {
        // Copied while a transaction was being written: another copy will be whole.
        if (attempt === COPY_ATTEMPTS) throw new Error(`${path} cannot be read as a database`, { cause: error });
      }
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function formsInTables(path: string, needles: readonly Needle[]): Set<string> {
  const database = new DatabaseSync(path);
  try {
    const found = new Set<string>();
    for (const { name } of database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all()) {
      for (const row of database.prepare(`SELECT * FROM "${String(name).replaceAll('"', '""')}"`).iterate()) {
        for (const value of Object.values(row)) {
          if (typeof value !== 'string' && !(value instanceof Uint8Array)) continue;
          for (const form of formsIn([Buffer.from(value)], needles)) found.add(`${form}, table ${String(name)}`);
        }
      }
    }
    return found;
  } finally {
    database.close();
  }
}

function formsIn(chunks: readonly Buffer[], needles: readonly Needle[]): Set<string> {
  const scanner = makeScanner(needles);
  for (const chunk of chunks) scanner.push(chunk);
  return scanner.found;
}

/** Takes octets in pieces of any size and collects the forms that it saw, also across two pieces. */
function makeScanner(needles: readonly Needle[]): { push(octets: Buffer): void; readonly found: Set<string> } {
  const found = new Set<string>();
  // Twice the longest form: a wrapped form has line ends in it that count here and not there.
  const overlap = 2 * Math.max(...needles.map((needle) => needle.text.length));
  let tail = '';
  return {
    found,
    push(octets) {
      const text = tail + octets.toString('latin1');
      const unwrapped = text.replaceAll(/=?\r?\n/g, '');
      for (const { form, text: needle, wrapped } of needles) {
        if (text.includes(needle) || (wrapped && unwrapped.includes(needle))) found.add(form);
      }
      tail = text.slice(-overlap);
    },
  };
}

function needlesOf(canary: string): readonly Needle[] {
  const plain = Buffer.from(canary, 'utf8');
  if (plain.length < MIN_CANARY_OCTETS) throw new Error(`a canary needs ${MIN_CANARY_OCTETS} octets or more`);
  const little = Buffer.from(canary, 'utf16le');
  const big = Buffer.from(little).swap16();
  return [
    { form: 'plain', text: plain.toString('latin1'), wrapped: true },
    { form: 'quoted-printable', text: quotedPrintable(plain), wrapped: true },
    { form: 'UTF-16LE', text: little.toString('latin1'), wrapped: false },
    { form: 'UTF-16BE', text: big.toString('latin1'), wrapped: false },
    { form: 'hex', text: plain.toString('hex'), wrapped: true },
    ...[0, 1, 2].map((offset) => ({ form: `base64 at offset ${offset}`, text: base64At(plain, offset), wrapped: true })),
  ];
}

/** The characters that octets have in the middle of base64, `offset` octets behind a multiple of three; its neighbours do not matter. */
function base64At(octets: Buffer, offset: number): string {
  const bits = 6;
  const first = Math.ceil((offset * 8) / bits);
  const end = Math.floor(((offset + octets.length) * 8) / bits);
  return Buffer.concat([Buffer.alloc(offset), octets])
    .toString('base64')
    .slice(first, end);
}

const quotedPrintable = (octets: Buffer): string =>
  [...octets]
    .map((octet) => {
      const literal = octet > 0x20 && octet < 0x7f && octet !== 0x3d;
      return literal ? String.fromCharCode(octet) : `=${octet.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
