/** What the main thread and the thread of one folder say to each other. */
import type { BrokenFile } from '../folder.ts';
import type { FolderNews } from './news.ts';
import type { ScanState } from './scan.ts';
import type { Shelved } from './shelf.ts';

export interface WorkerStart {
  readonly path: string;
  /** What its places begin with. */
  readonly label: string;
  /** See ScannerOptions. */
  readonly own: boolean;
  /** ms, see FolderDelays. */
  readonly delays: { readonly loss: number; readonly emptiness: number };
  readonly index: { readonly file: string; readonly writable: boolean; readonly manyFiles: number };
  /** Of certificates of late that are held unparsed. */
  readonly heldBytes: number;
  /** Where the scan stands: see beat.ts. */
  readonly beat: SharedArrayBuffer;
}

/** Behind which certificate a page begins. */
export interface PagePlace {
  readonly path: string;
  readonly index: number;
}

export interface Operations {
  scan: { readonly ask: object; readonly answer: ScanAnswer };
  /** Those whose address has that hash: others may share it. */
  find: { readonly ask: { readonly hash: number }; readonly answer: FindAnswer };
  /** Those whose fingerprint, in hex, begins so. */
  begun: { readonly ask: { readonly fingerprint: string }; readonly answer: FindAnswer };
  /** Some certificates in the order of paths; none behind the last. */
  page: { readonly ask: { readonly after: PagePlace | undefined }; readonly answer: FindAnswer };
  /** Where each certificate stands. */
  places: { readonly ask: object; readonly answer: CertificateLocations };
  broken: { readonly ask: object; readonly answer: readonly BrokenFile[] };
}

export interface ScanAnswer {
  readonly state: ScanState;
  readonly files: number;
  readonly certificates: number;
}

/** Of all certificates of a folder. */
export interface CertificateLocations {
  /** SHA-256, one behind the other. */
  readonly fingerprints: Uint8Array;
  /** For each, in which of `paths` it stands. */
  readonly files: Uint32Array;
  readonly paths: readonly string[];
}

/** `stale`: what was found is not there any more; the next scan tells. */
export type FindAnswer =
  | { readonly kind: 'shelved'; readonly found: readonly Shelved[] }
  | { readonly kind: 'stale' }
  | { readonly kind: 'too-many' };

export type Request = {
  [Kind in keyof Operations]: { readonly id: number; readonly kind: Kind } & Operations[Kind]['ask'];
}[keyof Operations];

export type WorkerMessage<Answer = never> =
  | { readonly kind: 'answer'; readonly id: number; readonly answer: Answer }
  | { readonly kind: 'failure'; readonly id: number; readonly cause: Error }
  | { readonly kind: 'news'; readonly news: FolderNews };
