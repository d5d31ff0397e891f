/** What became of each certificate, and of each thing that is none, when certificates are taken. */
import type { Certificate } from '../../../certificates/certificate.ts';

/** Classes of refusals, by which they are counted; the names stand in `--json` and stay. */
export const refusalClasses = {
  expired: 'expired',
  'not-yet-valid': 'not valid yet',
  untrusted: 'with no path to an anchor',
  revoked: 'revoked, or not judged by revocation',
  'no-address': 'without a mail address',
  'unfit-key': 'with a key that mail is not sealed to',
  'unfit-use': 'for other uses than sealing mail',
  malformed: 'not readable as a certificate',
  locked: 'locked by a password',
  unreadable: 'not readable as a file',
  'in-the-way': 'with another file in their place',
  empty: 'with nothing to add in it',
} as const;
export type RefusalClass = keyof typeof refusalClasses;

export interface Refusal {
  readonly class: RefusalClass;
  readonly reason: string;
}

/** Where it came from: the file as it was named, `-` for standard input, and the line where that is known. */
export interface Origin {
  readonly file: string;
  readonly line?: number | undefined;
}

export type Outcome =
  /** `path`: of the file it was written to, or would be. `first`, in a dry run: from where it would be, and is not there yet. */
  | {
      readonly kind: 'taken' | 'already-there';
      readonly origin: Origin;
      readonly certificate: Certificate;
      readonly path: string;
      readonly first?: Origin | undefined;
    }
  | { readonly kind: 'authority'; readonly origin: Origin; readonly certificate: Certificate }
  | { readonly kind: 'private-key'; readonly origin: Origin }
  | { readonly kind: 'refused'; readonly origin: Origin; readonly certificate?: Certificate; readonly refusal: Refusal };

/** Of a reason that the rule of usability, or trust, gives. */
export function refusalOf(reason: string): Refusal {
  const [, found = 'untrusted'] = patterns.find(([pattern]) => pattern.test(reason)) ?? [];
  return { class: found, reason };
}

const patterns: readonly (readonly [RegExp, RefusalClass])[] = [
  [/^it expired on/, 'expired'],
  [/^it is not valid before/, 'not-yet-valid'],
  [/^it names no mail address/, 'no-address'],
  [/^it holds/, 'unfit-key'],
  [/^it is for signing only|^its key usage|^it is not for mail/, 'unfit-use'],
  [/revo/, 'revoked'],
];
