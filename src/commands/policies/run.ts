/** Each case of a table, held to what would become of it: by the decider of the relay, as `explain` asks it. */
import type { AddressBook, Resolution } from '../../certificates/address-book.ts';
import { type Account, explain, type ExplainParts } from '../explain/account.ts';
import { assume } from '../explain/assumed.ts';
import type { Case, Expectation } from './cases.ts';
import { ASSUMED } from './assumed-certificate.ts';

export interface Difference {
  readonly key: string;
  readonly expected: string;
  readonly found: string;
}

/** As `--json` prints it. */
export interface CaseResult {
  readonly name: string;
  readonly place: string;
  readonly passed: boolean;
  readonly differences: readonly Difference[];
  readonly account: Account;
}

const LOCAL = '127.0.0.1';

export async function runCase(parts: ExplainParts, one: Case): Promise<CaseResult> {
  const { subject, header_from: headerFrom, headers, message, user, size, certificate, archive_certificate: archived, expect } = one;
  // Without a word on the header it is an empty one: a table tells decisions, and those are made at DATA.
  const told = message === undefined ? { subject, headerFrom, headers: headers ?? [] } : { message };
  const assumed = await assume(told, one.from);
  const addressBook = certificate === undefined ? parts.addressBook : assuming(certificate);
  // What is taken of the recipient is not taken of the archive: a rule may seal to one and have no certificate of the other.
  const archives = archived === undefined ? parts.addressBook : assuming(archived);
  const account = await explain(
    { ...parts, addressBook, archives },
    {
      sender: one.from,
      recipient: one.to,
      client: { address: one.client ?? LOCAL, user: user === undefined ? null : { name: user, mailbox: null } },
      size: size ?? assumed?.size ?? null,
      content: assumed?.content,
      isSealedFor: assumed?.isSealedFor,
    },
  );
  const differences = compare(expect, account);
  return { name: one.name, place: one.place, passed: differences.length === 0, differences, account };
}

/** Of every recipient alike, and of its domain. */
function assuming(state: NonNullable<Case['certificate']>): AddressBook {
  const common = { way: 'address', parts: [], lacking: [] } as const;
  return {
    resolve: async ({ address }): Promise<Resolution> => {
      if (state === 'missing') return { ...common, kind: 'absent' };
      if (state === 'unavailable') return { ...common, kind: 'unavailable', source: 'assumed', cause: undefined };
      return { ...common, kind: 'found', shares: [{ address, chosen: [ASSUMED] }] };
    },
  };
}

/** Only what the case says is held against what is found. */
function compare(expect: Expectation, account: Account): Difference[] {
  const { changes, subject, replies } = account;
  const found: Readonly<Record<keyof Expectation, string>> = {
    decision: account.decision,
    rule: account.rule ?? 'none',
    because: account.because ?? 'none',
    at: account.at,
    subject: subject === null ? 'none' : subject.kind === 'keep' ? 'keep' : subject.text,
    from: changes === null ? 'none' : (changes.from?.replace.replaceAll('\r\n', '') ?? 'keep'),
    envelope_from: changes === null ? 'none' : (changes.envelope_from ?? 'keep'),
    message_id: changes === null ? 'none' : (changes.message_id ?? 'keep'),
    signed: account.signed?.identity ?? 'none',
    archive: account.archive ?? 'none',
    cipher: account.algorithms?.cipher ?? 'none',
    reply: replies.data ?? replies.rcpt,
  };
  return Object.entries(found).flatMap(([key, is]) => {
    const wanted = Object.entries(expect).find(([name]) => name === key)?.[1];
    if (wanted === undefined || (key === 'reply' ? is.includes(wanted) : is === wanted)) return [];
    return [{ key, expected: wanted, found: is }];
  });
}
