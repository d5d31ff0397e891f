/** For which certificates a list must speak, and whether it does (RFC 5280 §6.3.3 b.2): pure functions. */
import { createHash } from 'node:crypto';
import type { Certificate } from '../certificate.ts';
import type { CrlScope } from './crl-scan.ts';

/** What tells the certificates apart that lists are divided by. */
export interface CrlSubjects {
  readonly ca: boolean;
  /** The URLs that they name. */
  readonly urls: readonly string[];
}

export const subjectsOf = ({ ca, crlPoints }: Certificate): CrlSubjects => ({
  ca,
  urls: crlPoints.filter(({ indirect }) => !indirect).flatMap(({ urls }) => urls),
});

/** One word for them, which tells them from all others. */
export const subjectsKey = ({ ca, urls }: CrlSubjects): string =>
  `${ca ? 'ca' : 'user'} ${createHash('sha256').update(JSON.stringify(urls)).digest('hex')}`;

/** Why a list of that scope does not speak for them. */
export function scopeFault({ only, urls }: CrlScope, { ca, urls: named }: CrlSubjects): string | undefined {
  if (only === 'attributes') return 'speaks for attribute certificates only';
  if (only === (ca ? 'users' : 'cas')) return ca ? 'does not speak for CAs' : 'speaks for CAs only';
  return urls === undefined || urls.some((url) => named.includes(url)) ? undefined : 'is for another distribution point';
}
