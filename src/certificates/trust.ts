/**
 * Whether a certificate chains to what the operator trusts for the mailbox, and is not revoked. Paths are tried in their order, the
 * shortest first: where revocation refuses one, another CA may still vouch for the certificate. Where it is not known of the first,
 * the others are asked too, side by side: one may know what another does not, and that may be that the certificate was revoked.
 */
import type { Mailbox } from '../message/envelope.ts';
import { makePathFinder } from './anchors.ts';
import type { FoundPath, PathFinderOptions } from './anchors.ts';
import type { Certificate } from './certificate.ts';
import type { Path } from './path.ts';
import type { AskOwnWord, OwnWord } from './revocation/own-word.ts';
import { makeSoftPatience, revocationModes } from './revocation/policy.ts';
import type { RevocationMode, RevocationPolicy, RevocationVerdict, SoftPatience } from './revocation/policy.ts';
import { day } from './usability.ts';

/**
 * `revocation`: what was asked and answered, for people and the audit log: `off`, `good: CRL of …`, `unknown: …`. `provisional`: who looks
 * at many takes it, and who seals would have to know more, since `hard` is set.
 */
export type TrustVerdict =
  | { readonly kind: 'trusted'; readonly path: Path; readonly revocation: string; readonly provisional?: true }
  | { readonly kind: 'untrusted'; readonly reason: string }
  /** `reason`: why it is untrusted as long as nothing changes, where that can be said. */
  | { readonly kind: 'unavailable'; readonly cause: unknown; readonly reason?: string };

/**
 * Asked for each usable candidate, for the mailbox that mail is meant for: an anchor may be believed for some domains only. `soft`: what
 * all who are given it may wait for revocation together. Never throws: a folder or list that cannot be read is `unavailable` (P5).
 */
export interface Trust {
  judge(certificate: Certificate, mailbox: Mailbox, signal: AbortSignal, soft?: SoftPatience): Promise<TrustVerdict>;
}

export interface TrustOptions extends PathFinderOptions {
  /** Undefined asks nobody. What is remembered of answers is the policy's: a list that changes counts at once. */
  readonly revocation?: { readonly policy: RevocationPolicy; readonly mode: RevocationMode };
  /** What this site has revoked itself is refused in every mode, `off` too: nobody else has to be asked. */
  readonly ownWord?: AskOwnWord | undefined;
}

/** The folders and the policy's sources stay the caller's, to close. */
export function makeTrust({ revocation, ownWord, ...options }: TrustOptions): Trust {
  const finder = makePathFinder(options);
  return {
    judge: async (certificate, mailbox, signal, soft = makeSoftPatience()) => {
      const found = await finder.find(certificate, mailbox);
      if (found.kind !== 'trusted') return found;
      const against = wordAgainst(found.paths, ownWord);
      if (against !== undefined) return against;
      const [first, ...others] = found.paths;
      if (revocation === undefined) return { kind: 'trusted', path: first.path, revocation: 'off' };
      const { policy, mode } = revocation;
      const ask = async ({ path, passed }: FoundPath): Promise<Asked> => ({
        path,
        verdict: await policy.judge(path, strictest(passed, mode), signal, soft),
      });
      const asked = [await ask(first)];
      if (asked[0]?.verdict.kind !== 'taken') asked.push(...(await Promise.all(others.map(ask))));
      return best(asked);
    },
  };
}

function wordAgainst(paths: readonly FoundPath[], ask: AskOwnWord | undefined): TrustVerdict | undefined {
  const words = paths.flatMap(({ path: [certificate, issuer] }) => ask?.(certificate, issuer) ?? []);
  const word = words.find(({ kind }) => kind === 'revoked') ?? words[0];
  return word === undefined ? undefined : verdictOf(word);
}

function verdictOf(word: OwnWord): TrustVerdict {
  if (word.kind === 'revoked')
    return { kind: 'untrusted', reason: `it was revoked on ${day(new Date(word.at))} (${word.reason}), says the in-house CA` };
  // It may not have been: mail waits for whoever mends the ledger (P5).
  return { kind: 'unavailable', cause: word.cause, reason: 'whether the in-house CA has revoked it cannot be read' };
}

/** `revocationModes` goes from the strictest down. */
function strictest(passed: FoundPath['passed'], general: RevocationMode): RevocationMode {
  const modes = passed.map((set) => set?.revocation ?? general);
  return revocationModes.find((mode) => modes.includes(mode)) ?? general;
}

interface Asked {
  readonly path: Path;
  readonly verdict: RevocationVerdict;
}

function best(asked: readonly Asked[]): TrustVerdict {
  const verdicts = asked.map(({ verdict }) => verdict);
  // Its own CA took it back: another way up does not give it back, nor one of which less is known.
  const refused = verdicts.filter((verdict) => verdict.kind === 'refused');
  const itself = refused.find((verdict) => verdict.itself);
  if (itself !== undefined) return { kind: 'untrusted', reason: itself.reason };
  for (const kind of ['taken', 'unsure'] as const)
    for (const { path, verdict } of asked) {
      if (verdict.kind !== kind) continue;
      if (verdict.kind === 'taken') return { kind: 'trusted', path, revocation: verdict.text };
      verdict.tell();
      return { kind: 'trusted', path, revocation: verdict.text, ...(verdict.provisional === true ? { provisional: true } : {}) };
    }
  // The path that could not be judged may be the one that holds.
  const unavailable = verdicts.find((verdict) => verdict.kind === 'unavailable');
  if (unavailable !== undefined) return { kind: 'unavailable', cause: unavailable.cause };
  return { kind: 'untrusted', reason: refused[0]?.reason ?? 'revoked' };
}
