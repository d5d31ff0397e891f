/**
 * Who of those for whom mail is held has a certificate now. In a round each address is asked for once. Where look-ups fail one after the
 * other a source is down, and no more are made in that round; those that failed are put off, until the others have had their turn in a later
 * one. So a source that is down costs little, and few addresses that are never answered keep nobody from a certificate.
 */
import type { AddressBook, Resolution } from '../certificates/address-book.ts';
import { mailboxKey, parseMailbox } from '../message/envelope.ts';
import { domainOf, type RuleSet } from '../policy/decide.ts';
import type { HeldRow } from '../queue/queue.ts';

/** Look-ups one after the other that say nothing: a source is down. */
const MOST_UNAVAILABLE = 5;

type State = Resolution['kind'];

export interface HeldLookUps {
  /** A new round: what the one before heard counts no more. */
  begin(): void;
  /** `unavailable` without asking where sources are down, and of whom is put off. */
  stateOf(held: HeldRow, rule: string): Promise<State>;
  /** At the end of the rows. True where those that were put off before have their turn now: the rows are to be gone through once more. */
  again(): boolean;
}

interface LookUpParts {
  readonly addressBook: AddressBook;
  readonly rules: () => RuleSet;
}

export function makeHeldLookUps({ addressBook, rules }: LookUpParts): HeldLookUps {
  let known = new Map<string, State>();
  let unavailable = 0;
  /** Of rounds before this one. */
  let putOff = new Set<string>();
  const isDown = (): boolean => unavailable >= MOST_UNAVAILABLE;
  return {
    begin() {
      known = new Map();
      unavailable = 0;
    },
    async stateOf({ recipient }, name) {
      const verdict = parseMailbox(recipient);
      if (verdict.kind === 'fault') return 'absent';
      const rule = rules().rules.find((one) => one.name === name);
      // A rule that is gone may have taken the certificate of the domain: the decision will tell.
      const domain = rule === undefined ? 'fallback' : domainOf(rule);
      const key = `${domain} ${mailboxKey(verdict.mailbox)}`;
      const before = known.get(key);
      if (before !== undefined || isDown() || putOff.has(key)) return before ?? 'unavailable';
      const { kind } = await addressBook.resolve(verdict.mailbox, { domain });
      unavailable = kind === 'unavailable' ? unavailable + 1 : 0;
      known.set(key, kind);
      return kind;
    },
    again() {
      if (isDown()) {
        for (const [key, kind] of known) if (kind === 'unavailable') putOff.add(key);
        return false;
      }
      const waiting = putOff.size > 0;
      putOff = new Set();
      return waiting;
    },
  };
}
