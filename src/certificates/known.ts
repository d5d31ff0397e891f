/**
 * Change control in the look-up (A22): under a pin an address that mail was sealed to before keeps the certificates that are known of
 * it. Another one passes every rule and is still not used until an operator approves it; what is known goes on being used meanwhile.
 * Where nothing else is left the look-up is unavailable, not absent: the approval may come at any time (P5).
 */
import { SealpostError } from '../errors.ts';
import { choose, type Assessed, type Consulted, type Lookup } from './choose.ts';
import type { Candidate } from './source.ts';
import { within } from './time-box.ts';

/** What is known of one address. `free`: nothing, so its first certificates are trusted. */
export type Pin =
  | { readonly kind: 'free' }
  | { readonly kind: 'pinned'; readonly fingerprints: ReadonlySet<string> }
  | { readonly kind: 'unavailable'; readonly cause: unknown };

/** Asked by the directory, under the address whose certificates they are (mailboxKey). Never throws. */
export interface KnownCertificates {
  /** True where it is remembered that mail may be sealed to it; false where the pin has to be asked. */
  remembers(address: string, fingerprint: string): boolean;
  pinOf(address: string): Promise<Pin>;
  /** Keeps these for the operator to approve. */
  wait(address: string, candidates: readonly Candidate[]): Promise<void>;
}

/** One look-up under a pin; without one it changes nothing. */
export interface Hold {
  /** What a source answered, with those taken out of the choice that would be used and are not approved. */
  apply(one: Consulted): Promise<Consulted>;
  conclude(lookup: Lookup): Lookup;
}

const WAITING = 'a changed certificate waits for approval';

/** `left`: ms that may still be waited for what is known; a disk that hangs is no reason to keep the client waiting for ever. */
export function makeHold(known: KnownCertificates | undefined, address: string, left: () => number): Hold {
  if (known === undefined) return { apply: async (one) => one, conclude: (lookup) => lookup };
  let waits = false;
  return {
    async apply(one) {
      const wanted = choose([one]);
      if (one.answer !== 'found' || wanted.kind !== 'found') return one;
      if (wanted.chosen.every(({ certificate }) => known.remembers(address, certificate.fingerprint))) return one;
      const pin = await within(left(), () => known.pinOf(address)).catch((cause: unknown): Pin => ({ kind: 'unavailable', cause }));
      if (pin.kind === 'free') return one;
      if (pin.kind === 'unavailable') {
        const verdict = { kind: 'unknown', cause: pin.cause } as const;
        return { ...one, candidates: one.candidates.map((candidate) => (isUsable(candidate) ? { ...candidate, verdict } : candidate)) };
      }
      const { rest, held } = withhold(one, address, pin.fingerprints);
      waits ||= held.length > 0;
      // Kept in the background where it takes too long: it is not used either way.
      if (held.length > 0) await within(left(), () => known.wait(address, held)).catch(() => undefined);
      return rest;
    },
    conclude: (lookup) => {
      if (!waits || lookup.kind !== 'absent') return lookup;
      const { rejected, asked } = lookup;
      const cause = new SealpostError('lookup-unavailable', { detail: WAITING, hint: 'sealpost certs pending shows it' });
      return { kind: 'unavailable', source: 'pin', cause, rejected, asked };
    },
  };
}

/** Those that the rule would choose are taken out while one of them is unknown; what it would not choose waits for nothing. */
function withhold(one: Consulted & { readonly answer: 'found' }, address: string, approved: ReadonlySet<string>) {
  const held: Candidate[] = [];
  let rest = one;
  for (;;) {
    const lookup = choose([rest]);
    const strangers = lookup.kind === 'found' ? lookup.chosen.filter(({ certificate }) => !approved.has(certificate.fingerprint)) : [];
    if (strangers.length === 0) return { rest, held };
    held.push(...strangers);
    const names = new Set(strangers.map(({ certificate }) => certificate.fingerprint));
    const candidates = rest.candidates.map((candidate): Assessed => {
      const { fingerprint } = candidate.certificate;
      if (!names.has(fingerprint) || !isUsable(candidate)) return candidate;
      // Whole: where too many wait for all to be listed, a part of it names none.
      const mend = `sealpost certs approve ${address} ${fingerprint}`;
      return {
        ...candidate,
        verdict: { kind: 'rejected', reason: `it waits for approval, since this address is pinned to others: ${mend}` },
      };
    });
    rest = { ...rest, candidates };
  }
}

const isUsable = ({ verdict }: Assessed): boolean => verdict.kind === 'usable';
