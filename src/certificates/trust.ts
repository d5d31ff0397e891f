/** Whether a certificate chains to what the operator trusts: the folder of anchors, with help from the folder of intermediates. */
import type { Mailbox } from '../message/envelope.ts';
import type { Certificate } from './certificate.ts';
import type { CertificateFolder } from './folder.ts';
import { buildPath, makeCertificateSet } from './path.ts';
import type { CertificateSet, PathVerdict } from './path.ts';

/** `revocation`: what was asked and answered, for people and the audit log: `off`, `good: CRL of …`, `unknown: …`. */
export type TrustVerdict =
  | { readonly kind: 'trusted'; readonly path: readonly [Certificate, ...Certificate[]]; readonly revocation: string }
  | { readonly kind: 'untrusted'; readonly reason: string }
  | { readonly kind: 'unavailable'; readonly cause: unknown };

/**
 * Asked for each usable candidate, for the mailbox that mail is meant for: an anchor may be believed for some domains only. Never
 * throws: a folder or list that cannot be read is `unavailable` (P5).
 */
export interface Trust {
  judge(certificate: Certificate, mailbox: Mailbox, signal: AbortSignal): Promise<TrustVerdict>;
}

export interface TrustOptions {
  readonly anchors: CertificateFolder;
  readonly intermediates: CertificateFolder;
  /** ms */
  readonly now: () => number;
}

/** A verdict is remembered while nothing it rests on changes, and not longer than this: dates pass without anybody telling. */
const LONGEST_MEMORY_MS = 60_000;
/** Each holds its path, parsed. */
const MAX_REMEMBERED = 2000;

interface Remembered {
  readonly verdict: PathVerdict;
  /** ms */
  readonly until: number;
}

interface Shelf {
  readonly versions: string;
  readonly anchors: CertificateSet;
  readonly intermediates: CertificateSet;
  readonly verdicts: Map<string, Remembered>;
}

/** The folders stay the caller's, to close. */
export function makeTrust({ anchors, intermediates, now }: TrustOptions): Trust {
  let shelf: Shelf | undefined;
  return {
    judge: async (certificate) => {
      const [top, middle] = [await anchors.contents(), await intermediates.contents()];
      if (top.kind === 'unavailable') return top;
      if (middle.kind === 'unavailable') return middle;
      const versions = `${top.version} ${middle.version}`;
      if (shelf?.versions !== versions) {
        const of = (contents: typeof top): CertificateSet => makeCertificateSet(contents.certificates.map((entry) => entry.certificate));
        shelf = { versions, anchors: of(top), intermediates: of(middle), verdicts: new Map() };
      }
      const verdict = remember(shelf, certificate, now());
      // An anchor in a file that we were not let read may be the one that is missing.
      const unread = top.unread ?? middle.unread;
      if (verdict.kind === 'untrusted') return unread === undefined ? verdict : { kind: 'unavailable', cause: unread };
      return { ...verdict, revocation: 'off' };
    },
  };
}

function remember(shelf: Shelf, certificate: Certificate, now: number): PathVerdict {
  const known = shelf.verdicts.get(certificate.fingerprint);
  if (known !== undefined && known.until > now) return known.verdict;
  const verdict = buildPath(certificate, shelf.anchors, shelf.intermediates, now);
  const ends = verdict.kind === 'trusted' ? verdict.path.map(({ notAfter }) => notAfter.getTime()) : [];
  if (shelf.verdicts.size >= MAX_REMEMBERED) shelf.verdicts.clear();
  shelf.verdicts.set(certificate.fingerprint, { verdict, until: Math.min(now + LONGEST_MEMORY_MS, ...ends) });
  return verdict;
}
