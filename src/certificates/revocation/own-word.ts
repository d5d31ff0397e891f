/**
 * What this site's own CA says of a certificate, beside the lists that it writes for others: whoever revokes is believed at once, and
 * as long as they keep their ledger, whether or not a list lies there.
 */
import type { Certificate } from '../certificate.ts';

export type OwnWord =
  /** `at` in ms since the epoch, `reason` as in RFC 5280 §5.3.1. */
  | { readonly kind: 'revoked'; readonly at: number; readonly reason: string }
  /** It may have been revoked: what was written of it cannot be read. */
  | { readonly kind: 'unreadable'; readonly cause: Error };

/** Asked for each path that is found. `issuer`: who stands above it there. Undefined where nothing is known against it. Never throws. */
export type AskOwnWord = (certificate: Certificate, issuer: Certificate | undefined) => OwnWord | undefined;
