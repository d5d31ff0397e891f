/** Whether a certificate chains to what the operator trusts for the mailbox, with help from the folder of intermediates. */
import type { Mailbox } from '../message/envelope.ts';
import { makePathFinder } from './anchors.ts';
import type { PathFinderOptions } from './anchors.ts';
import type { Certificate } from './certificate.ts';
import type { Path } from './path.ts';

/** `revocation`: what was asked and answered, for people and the audit log: `off`, `good: CRL of …`, `unknown: …`. */
export type TrustVerdict =
  | { readonly kind: 'trusted'; readonly path: Path; readonly revocation: string }
  | { readonly kind: 'untrusted'; readonly reason: string }
  | { readonly kind: 'unavailable'; readonly cause: unknown };

/**
 * Asked for each usable candidate, for the mailbox that mail is meant for: an anchor may be believed for some domains only. Never
 * throws: a folder or list that cannot be read is `unavailable` (P5).
 */
export interface Trust {
  judge(certificate: Certificate, mailbox: Mailbox, signal: AbortSignal): Promise<TrustVerdict>;
}

/** The folders stay the caller's, to close. */
export function makeTrust(options: PathFinderOptions): Trust {
  const finder = makePathFinder(options);
  return {
    judge: async (certificate, mailbox) => {
      const found = await finder.find(certificate, mailbox);
      return found.kind === 'trusted' ? { kind: 'trusted', path: found.paths[0].path, revocation: 'off' } : found;
    },
  };
}
