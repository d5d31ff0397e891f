/**
 * What tells one inside of a message from another. Readers of the same cipher and inside share one sealed body; held mail keeps the key of
 * its own beside it, so that its release can tell whether the body that is stored serves the decision of today.
 */
import { replacedBy } from '../message/look.ts';
import type { SignPolicy } from '../message/sign-policy.ts';
import type { Dress } from '../policy/decide.ts';

/** What of the message itself decides over its inside. Nothing of its content: names of fields, and whether it came signed. */
export interface InsideOf {
  /** Keys of outer fields that stand inside in any case. */
  readonly mended: readonly string[];
  /** False only where it is sure that it came without a signature. */
  readonly signed: boolean;
}

/** What of a rule decides over it. */
export type Chosen = Pick<Dress, 'subject' | 'from' | 'messageId' | 'sign'>;

/** The key of one inside: JSON, the same for the same inside. */
export function insideKey({ mended, signed }: InsideOf, dress: Chosen): string {
  const { subject, from, messageId } = dress;
  const look = { subject: subject.kind === 'replace' ? '' : undefined, from, messageId };
  const replaced = replacedBy(look).filter((key) => !mended.includes(key));
  return JSON.stringify({
    mended: mended.toSorted(),
    signed,
    replaced,
    sign: signatureOf(dress, signed) ?? null,
    show: showsSubject(dress),
  });
}

export const showsSubject = ({ subject }: Pick<Dress, 'subject'>): boolean => subject.kind === 'replace' && subject.show === true;

/** Inside a part that somebody signed not an octet may change (RFC 8551 §3.1): such a message is signed around as it is. */
export const signatureOf = ({ sign }: Pick<Dress, 'sign'>, signed: boolean): SignPolicy | undefined =>
  sign === undefined || !signed ? sign : { ...sign, recode: 'none' };
