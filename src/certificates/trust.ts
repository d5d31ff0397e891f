/**
 * Whether a certificate chains to what the operator trusts for the mailbox, and is not revoked. Paths are tried in their order, the
 * shortest first: where revocation refuses one, another CA may still vouch for the certificate.
 */
import type { Mailbox } from '../message/envelope.ts';
import { makePathFinder } from './anchors.ts';
import type { PathFinderOptions } from './anchors.ts';
import type { Certificate } from './certificate.ts';
import type { Path } from './path.ts';
import type { RevocationMode, RevocationPolicy } from './revocation/policy.ts';

/**
 * `revocation`: what was asked and answered, for people and the audit log: `off`, `good: CRL of …`, `unknown: …`. `provisional`: who looks
 * at many takes it, and who seals would have to know more, since `hard` is set.
 */
export type TrustVerdict =
  | { readonly kind: 'trusted'; readonly path: Path; readonly revocation: string; readonly provisional?: true }
  | { readonly kind: 'untrusted'; readonly reason: string }
  | { readonly kind: 'unavailable'; readonly cause: unknown };

/**
 * Asked for each usable candidate, for the mailbox that mail is meant for: an anchor may be believed for some domains only. Never
 * throws: a folder or list that cannot be read is `unavailable` (P5).
 */
export interface Trust {
  judge(certificate: Certificate, mailbox: Mailbox, signal: AbortSignal): Promise<TrustVerdict>;
}

export interface TrustOptions extends PathFinderOptions {
  /** Undefined asks nobody. What is remembered of answers is the policy's: a list that changes counts at once. */
  readonly revocation?: { readonly policy: RevocationPolicy; readonly mode: RevocationMode };
}

/** The folders and the policy's sources stay the caller's, to close. */
export function makeTrust({ revocation, ...options }: TrustOptions): Trust {
  const finder = makePathFinder(options);
  return {
    judge: async (certificate, mailbox, signal) => {
      const found = await finder.find(certificate, mailbox);
      if (found.kind !== 'trusted') return found;
      let [unavailable, reason]: [Error | undefined, string | undefined] = [undefined, undefined];
      for (const { path, set } of found.paths) {
        if (revocation === undefined) return { kind: 'trusted', path, revocation: 'off' };
        const verdict = await revocation.policy.judge(path, set?.revocation ?? revocation.mode, signal);
        if (verdict.kind === 'taken')
          return { kind: 'trusted', path, revocation: verdict.text, ...(verdict.provisional === true ? { provisional: true } : {}) };
        // Its own CA took it back: another way up does not give it back, nor one of which less is known.
        if (verdict.kind === 'refused' && verdict.itself) return { kind: 'untrusted', reason: verdict.reason };
        if (verdict.kind === 'unavailable') unavailable ??= verdict.cause;
        else reason ??= verdict.reason;
      }
      // The path that could not be judged may be the one that holds.
      return unavailable === undefined ? { kind: 'untrusted', reason: reason ?? 'revoked' } : { kind: 'unavailable', cause: unavailable };
    },
  };
}
