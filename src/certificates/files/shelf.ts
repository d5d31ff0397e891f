/** The certificates that a catalogue points to, read again from their files; and those of late, held unparsed up to a limit. */
import { hash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { certificateOctets, MAX_BUNDLE_BYTES } from '../bundle.ts';
import type { Certificate } from '../certificate.ts';
import type { Catalogue } from './catalogue.ts';

/** `der` is undefined where it stands in its file no more and is not held either. */
export interface Shelved {
  readonly der: Uint8Array | undefined;
  /** Hex. */
  readonly fingerprint: string;
  readonly path: string;
  /** Its place among all of the file, from 0. */
  readonly index: number;
  readonly all: number;
  /** What is wrong with its file, where something is. */
  readonly faults: readonly string[];
}

/** `stale`: a file is not what the catalogue says; the next scan tells. Throws where the file system does. */
export type ShelfAnswer =
  | { readonly kind: 'shelved'; readonly found: readonly Shelved[] }
  | { readonly kind: 'stale' }
  | { readonly kind: 'too-many' };

/** Certificates for one address: beyond, nobody would wait for them to be judged. */
export const MAX_FOR_ADDRESS = 1000;

export interface Shelf {
  hold(certificate: Pick<Certificate, 'fingerprint' | 'der'>): void;
  /** Certificates by their numbers in the catalogue; `begin` is told each file. */
  take(catalogue: Catalogue, certificates: readonly number[], begin: (path: string) => void): ShelfAnswer;
}

export function makeShelf(root: string, most: number): Shelf {
  const held = new Map<string, Uint8Array>();
  let bytes = 0;
  const hold = (fingerprint: string, der: Uint8Array): void => {
    if (held.delete(fingerprint)) bytes -= der.length;
    held.set(fingerprint, der);
    bytes += der.length;
    for (const [oldest, { length }] of held) {
      if (bytes <= most) break;
      held.delete(oldest);
      bytes -= length;
    }
  };
  const octetsOf = (catalogue: Catalogue, certificate: number, path: string): Uint8Array | undefined => {
    const fingerprint = catalogue.fingerprint(certificate);
    const name = fingerprint.toString('hex');
    const at = { at: catalogue.at.array[certificate] ?? 0, length: catalogue.lengths.array[certificate] ?? 0 };
    const der = held.get(name) ?? (at.length === 0 ? undefined : readAgain(join(root, path), at, fingerprint));
    if (der !== undefined) hold(name, der);
    return der;
  };
  return {
    // An array of its own, since what it is a slice of may be much larger.
    hold: ({ fingerprint, der }) => hold(fingerprint, new Uint8Array(der)),
    take: (catalogue, certificates, begin) => {
      if (certificates.length > MAX_FOR_ADDRESS) return { kind: 'too-many' };
      const found: Shelved[] = [];
      for (const certificate of certificates) {
        const row = catalogue.fileOf.array[certificate] ?? 0;
        const path = catalogue.paths[row] ?? '';
        begin(path);
        const der = octetsOf(catalogue, certificate, path);
        if (der === undefined && catalogue.lengths.array[certificate] !== 0) return { kind: 'stale' };
        const [start, end] = catalogue.certificatesOf(row);
        const fingerprint = catalogue.fingerprint(certificate).toString('hex');
        const faults = catalogue.faults.get(row) ?? [];
        found.push({ der, fingerprint, path, index: certificate - start, all: end - start, faults });
      }
      found.sort((a, b) => (a.path === b.path ? a.index - b.index : a.path < b.path ? -1 : 1));
      return { kind: 'shelved', found };
    },
  };
}

/** The certificate of that fingerprint, where the file has it there still. */
function readAgain(
  path: string,
  { at, length }: { readonly at: number; readonly length: number },
  fingerprint: Buffer,
): Uint8Array | undefined {
  const span = spanOf(path, at, length);
  const der = span === undefined ? undefined : certificateOctets(span).find((one) => hash('sha256', one, 'buffer').equals(fingerprint));
  return der === undefined ? undefined : new Uint8Array(der);
}

function spanOf(path: string, at: number, length: number): Buffer | undefined {
  let opened: number;
  try {
    // Were a pipe in its place by now, opening it would wait for a writer.
    opened = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    if (!fstatSync(opened).isFile()) return undefined;
    const span = Buffer.allocUnsafe(Math.min(length, MAX_BUNDLE_BYTES));
    const read = readSync(opened, span, 0, span.length, at);
    return span.subarray(0, read);
  } finally {
    closeSync(opened);
  }
}
