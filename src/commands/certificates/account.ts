/** What a look-up found, for people and as JSON: `certs lookup` and `explain` tell the same. */
import { escapeUnprintable } from '../../audit.ts';
import { MAX_SHARED, mixesKeyTypes, type Part, type Resolution, type Way } from '../../certificates/address-book.ts';
import { type Asked, causeText } from '../../certificates/choose.ts';
import type { Chosen, Rejection } from '../../certificates/directory.ts';
import { day } from '../../certificates/usability.ts';
import { keyText } from './key-text.ts';

/** One certificate; the form of `--json`, whose names therefore stay. */
export interface CandidateAccount {
  readonly verdict: 'used' | Rejection['verdict'];
  /** Why it is not used; null where it is. */
  readonly reason: string | null;
  readonly source: string;
  readonly place: string;
  readonly sha256: string;
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly key: string;
  readonly not_before: string;
  readonly not_after: string;
  /** What was asked and answered; null where it did not come to that. */
  readonly revocation: string | null;
  /** The subjects from the certificate to its anchor; empty where it is not used. */
  readonly path: readonly string[];
  /** When its reader confirmed by a code that they could open mail; null where they have not; missing where that was not asked. */
  readonly confirmed?: string | null;
}

/** One address that was asked for. */
export interface AddressAccount {
  readonly address: string;
  readonly by: Way;
  readonly state: 'found' | 'absent' | 'unavailable';
  /** Who gives no usable answer: a source, `trust`, or `pin` where a certificate waits for approval. */
  readonly unavailable: string | null;
  readonly sources: readonly { readonly source: string; readonly answer: string; readonly remarks: readonly string[] }[];
  readonly candidates: readonly CandidateAccount[];
}

export interface CertificateAccount {
  readonly state: 'found' | 'absent' | 'unavailable' | 'not asked';
  /** By which way the certificates that are used stand for the recipient. */
  readonly by: Way | null;
  readonly addresses: readonly AddressAccount[];
  /** What the reader of this should know besides. */
  readonly notes: readonly string[];
}

export function accountOf(resolution: Resolution | undefined): CertificateAccount {
  if (resolution === undefined) return { state: 'not asked', by: null, addresses: [], notes: [] };
  const { kind, way, parts } = resolution;
  const shares = kind === 'found' ? resolution.shares : [];
  const used = new Set(shares.flatMap(({ chosen }) => chosen));
  const unused = kind === 'found' ? `a message names ${MAX_SHARED} certificates at most` : 'another member cannot be looked up now';
  const addresses = parts.map((part) => addressOf(part, used, unused));
  return { state: kind, by: kind === 'found' ? way : null, addresses, notes: notesOf(resolution) };
}

/** With what is known of tries, by fingerprint in ms. */
export function withConfirmed(account: CertificateAccount, confirmed: ReadonlyMap<string, number>): CertificateAccount {
  const timeOf = (at: number | undefined): string | null => (at === undefined ? null : new Date(at).toISOString());
  const tell = (one: CandidateAccount): CandidateAccount => ({ ...one, confirmed: timeOf(confirmed.get(one.sha256)) });
  return { ...account, addresses: account.addresses.map((one) => ({ ...one, candidates: one.candidates.map(tell) })) };
}

const MIXED_KEYS = 'RSA and EC keys in one message: programs built on NSS, such as Thunderbird, may not open it';

/** What is right and may still not be what was meant; `check` tells it too. */
export function notesOf(resolution: Resolution): string[] {
  if (resolution.kind !== 'found') return [];
  const without = resolution.lacking.map((member) => `${member} has no usable certificate: the message is sealed to the other members`);
  return mixesKeyTypes(resolution.shares) ? [...without, MIXED_KEYS] : without;
}

function addressOf({ way, address, lookup }: Part, used: ReadonlySet<Chosen>, unused: string): AddressAccount {
  const chosen = lookup.kind === 'found' ? lookup.chosen : [];
  return {
    address,
    by: way,
    state: lookup.kind,
    unavailable: lookup.kind === 'unavailable' ? lookup.source : null,
    sources: lookup.asked.map(sourceOf),
    candidates: [...chosen.map((one) => chosenOf(one, used.has(one) ? null : unused)), ...lookup.rejected.map(rejectedOf)],
  };
}

const sourceOf = ({ source, answer, remarks, cause }: Asked): AddressAccount['sources'][number] => ({
  source,
  answer,
  remarks: answer === 'unavailable' ? [causeText(cause), ...remarks] : remarks,
});

function chosenOf(one: Chosen, reason: string | null): CandidateAccount {
  return {
    verdict: reason === null ? 'used' : 'usable',
    reason,
    ...factsOf(one),
    revocation: one.revocation,
    path: one.path.map(({ subject }) => subject),
  };
}

const rejectedOf = (one: Rejection): CandidateAccount => ({
  verdict: one.verdict,
  reason: one.reason,
  ...factsOf(one),
  revocation: one.revocation ?? null,
  path: [],
});

function factsOf({ certificate, source, place }: Chosen | Rejection) {
  const { fingerprint: sha256, subject, issuer, serial, notBefore, notAfter } = certificate;
  const times = { not_before: notBefore.toISOString(), not_after: notAfter.toISOString() };
  return { source, place, sha256, subject, issuer, serial, key: keyText(certificate), ...times };
}

/** As lines; not yet fit for a terminal: what is in certificates and file names is anybody's text, see `printable`. */
export function certificateLines({ state, addresses, notes }: CertificateAccount): string[] {
  if (state === 'not asked') return ['not looked up'];
  return [...addresses.flatMap(addressLines), ...notes.map((note) => `note: ${note}`)];
}

/** Of what a look-up calls the source of its being unavailable. */
export function unavailableText(source: string | null): string {
  if (source === 'pin') return 'a changed certificate waits for approval: sealpost certs pending';
  if (source === 'trust') return 'a certificate cannot be judged now';
  return `${source ?? 'a source'} gives no usable answer`;
}

const ways: Readonly<Record<Way, string | undefined>> = {
  address: undefined,
  alias: 'by alias, the certificate of',
  group: 'member of the group:',
  domain: 'the certificate of the domain:',
};

function addressLines({ address, by, state, unavailable, sources, candidates }: AddressAccount): string[] {
  const title = ways[by];
  const none =
    state === 'absent' ? ['none that can be used'] : state === 'unavailable' ? [`unavailable: ${unavailableText(unavailable)}`] : [];
  const asked = sources.map(({ source, answer, remarks }) =>
    [`${source}: ${answer}`, ...remarks.map((remark) => `  ${remark}`)].join('\n'),
  );
  return [
    ...(title === undefined ? [] : [`${title} ${address}`]),
    ...none,
    ...candidates.flatMap(candidateLines),
    ...asked.flatMap((text) => `asked ${text}`.split('\n')),
  ];
}

function candidateLines(one: CandidateAccount): string[] {
  const { verdict, reason, sha256, key, subject, issuer, source, place, revocation, path } = one;
  const valid = `${day(new Date(one.not_before))} to ${day(new Date(one.not_after))}`;
  return [
    verdict === 'used' ? `used: SHA-256 ${sha256}` : `not used: SHA-256 ${sha256}`,
    ...(reason === null ? [] : [`  ${reason}`]),
    `  ${key}, ${valid}, in ${source}: ${place}`,
    path.length > 1 ? `  ${path.join(', signed by ')}` : `  ${subject}, signed by ${issuer}`,
    ...(revocation === null ? [] : [`  revocation: ${revocation}`]),
    ...(one.confirmed === undefined || one.confirmed === null
      ? []
      : [`  confirmed on ${one.confirmed.slice(0, 10)}: its reader could open mail`]),
  ];
}

/** Controls, invisible characters and those that turn the order of text never reach the terminal; line ends stay. */
export const printable = (text: string): string => text.replaceAll(/(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu, '?');

/** JSON in lines of its own; what must not reach a terminal is written as an escape, which reads as the same text. */
export const printableJson = (value: unknown): string =>
  `${JSON.stringify(value, undefined, 2).split('\n').map(escapeUnprintable).join('\n')}\n`;
