/**
 * The operator's YAML files as plain values, each part of them with its place. Whoever owns a schema holds them to it
 * (schema.ts); this file knows none.
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import type { Document } from 'yaml';
import { SealpostError } from '../errors.ts';
import type { Path, Place, Reading, Side } from './fault.ts';

/** A YAML file in memory: its plain value (undefined where it is empty), and where each part of it stands. */
export interface OperatorDocument {
  readonly value: unknown;
  readonly place: Place;
}

/** A configuration or a file of rules is a page; more than this is another file. */
const MAX_FILE_BYTES = 1024 * 1024;

/** The file as text. Throws `file-unreadable`, with `ifMissing` as its hint where nothing is there. */
export const readText = async (file: string, ifMissing?: string, most = MAX_FILE_BYTES): Promise<string> =>
  (await readHashed(file, ifMissing, most)).text;

/** The same, with the SHA-256 of its octets in lower-case hex. */
export async function readHashed(
  file: string,
  ifMissing?: string,
  most = MAX_FILE_BYTES,
): Promise<{ readonly text: string; readonly sha256: string }> {
  try {
    const { size } = await stat(file);
    if (size > most) throw new SealpostError('file-unreadable', { detail: `${file} (larger than ${most / MAX_FILE_BYTES} MiB)` });
    const octets = await readFile(file);
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(octets), sha256: createHash('sha256').update(octets).digest('hex') };
  } catch (error) {
    throw error instanceof SealpostError ? error : unreadable(file, error, systemCode(error) === 'ENOENT' ? ifMissing : undefined);
  }
}

/** `cause` as `file-unreadable`, naming the file. */
export function unreadable(file: string, cause: unknown, hint?: string): SealpostError {
  const why = cause instanceof TypeError ? 'it is not UTF-8' : (systemCode(cause) ?? 'unknown reason');
  return new SealpostError('file-unreadable', { detail: `${file} (${why})`, cause, ...(hint === undefined ? {} : { hint }) });
}

/** `ENOENT` and its kin. */
export const systemCode = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;

/** Anchors that name anchors grow without bound ("billion laughs"); nobody's policy needs a hundred. */
const MAX_ALIASES = 100;
/** In all: each is resolved by a walk over those before it. */
const MOST_ALIASES = 1000;
/** A file that is broken all over is told of by its first faults: what follows from them would fill a log. */
const MAX_FAULTS = 20;

/** The text of `file` as a value, or what keeps YAML from reading it. */
export function readYaml(file: string, text: string): Reading<OperatorDocument> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, logLevel: 'error' });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
  };
  const broken = [...document.errors, ...document.warnings];
  if (broken.length > 0) {
    return {
      kind: 'invalid',
      faults: broken.slice(0, MAX_FAULTS).map((error) => ({ place: at(error.pos[0]), key: '', ...sayYaml(error.code, error.message) })),
    };
  }
  const walked = walk(document);
  for (const kind of [TWICE, STRAY, ODD]) {
    const faults = walked[kind.at]
      .slice(0, MAX_FAULTS)
      .map((offset) => ({ place: at(offset), key: '', wrong: kind.wrong, mend: kind.mend }));
    if (faults.length > 0) return { kind: 'invalid', faults };
  }
  const tooMany = (): Reading<never> => {
    const mend = 'write the values out instead of repeating them by * aliases';
    return { kind: 'invalid', faults: [{ place: at(0), key: '', wrong: 'too many YAML aliases', mend }] };
  };
  if (walked.aliases > MOST_ALIASES) return tooMany();
  try {
    const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
    return { kind: 'valid', value: { value, place: (path, side) => at(offsetOf(document, path, side)) } };
  } catch {
    return tooMany();
  }
}

/** What the library takes and nobody means; each with the offsets where it stands. */
interface Walked {
  readonly aliases: number;
  readonly twice: readonly number[];
  readonly stray: readonly number[];
  readonly odd: readonly number[];
}

const TWICE = { at: 'twice', wrong: 'this key stands twice', mend: 'keep one of the two' } as const;
/** Nearly always a pattern such as `*@clinic.example` that lacks its quotes. */
const STRAY = {
  at: 'stray',
  wrong: 'an unquoted * begins a YAML alias, and this one leads nowhere',
  mend: 'put the value in quotes: "*@clinic.example"',
} as const;
const ODD = {
  at: 'odd',
  wrong: 'a list, a section or an alias stands in the place of a key',
  mend: 'take the ? away, or put the name of the key in front of its value',
} as const;

/** One walk for all of it: the library compares each key with all before it, and walks the document anew for each alias. */
function walk(document: Document.Parsed): Walked {
  const anchors = new Set<string>();
  const [twice, stray, odd]: [number[], number[], number[]] = [[], [], []];
  let aliases = 0;
  visit(document, {
    Alias: (_, alias) => {
      aliases++;
      if (!anchors.has(alias.source)) stray.push(alias.range?.[0] ?? 0);
    },
    Map: (_, { items }) => {
      const keys = new Set<string>();
      for (const { key } of items) {
        const offset = startOf(key) ?? 0;
        const name = isScalar(key) ? nameOf(key.value) : undefined;
        if (name === undefined) odd.push(offset);
        else if (keys.has(name)) twice.push(offset);
        else keys.add(name);
      }
    },
    Value: (_, { anchor }) => {
      if (anchor !== undefined) anchors.add(anchor);
    },
  });
  return { aliases, twice, stray, odd };
}

/** As a key is called in the plain value, where 1 and "1" are one, as are null and "". */
const nameOf = (key: unknown): string =>
  typeof key === 'string' ? key : key === null ? '' : typeof key === 'number' ? String(key) : JSON.stringify(key);

/** What operators meet most, in plain words; the rest in the words of the YAML library. */
function sayYaml(code: string, message: string): { wrong: string; mend: string } {
  switch (code) {
    case 'TAB_AS_INDENT':
      return { wrong: 'a tab where YAML wants blanks', mend: 'indent with two blanks' };
    case 'BAD_INDENT':
      if (message.startsWith('Flow')) return { wrong: 'a [ or { above is not closed', mend: 'close it' };
      return { wrong: 'this line is not indented as its neighbours are', mend: 'keys of one section start in the same column' };
    case 'MULTIPLE_DOCS':
      return { wrong: 'a second document begins here', mend: 'take the line --- out' };
    case 'MISSING_CHAR':
      return { wrong: `not YAML: ${message}`, mend: 'close the quote or bracket, and put a blank behind every : and ,' };
    case 'BLOCK_AS_IMPLICIT_KEY':
    case 'MULTILINE_IMPLICIT_KEY':
      return { wrong: 'two keys in one line, or a value with ": " in it', mend: 'one key a line; a value with ": " in it wants quotes' };
    default:
      // Without what stands there, which the library quotes: in a file of users it may be a hash.
      return {
        wrong: `not YAML: ${message.replace(/:? ?".*|: .*/su, '')}`,
        mend: 'YAML is "key: value", one a line, blanks for indentation',
      };
  }
}

/** The offset of the key or value at `path`; where the path is not written, of the nearest part above it that is. */
function offsetOf(document: Document, path: Path, side: Side): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [depth, step] of path.entries()) {
    const found = child(document, node, step);
    if (found === undefined) break;
    const wanted = depth === path.length - 1 && side === 'key' ? found.key : (found.value ?? found.key);
    offset = startOf(wanted) ?? offset;
    node = found.value;
  }
  return offset;
}

function child(document: Document, node: unknown, step: PropertyKey): { readonly key: unknown; readonly value: unknown } | undefined {
  const whole = isAlias(node) ? node.resolve(document) : node;
  if (isSeq(whole) && typeof step === 'number') return { key: whole.items[step], value: whole.items[step] };
  return isMap(whole) ? whole.items.find((pair) => String(pair.key) === String(step)) : undefined;
}

const startOf = (node: unknown): number | undefined => (isNode(node) ? node.range?.[0] : undefined);
