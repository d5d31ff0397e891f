/**
 * Which certificates mail to an address was sealed to: kept durably, so that another one is noticed (A22). A row for each pair of
 * address and fingerprint; its states:
 *
 *   enqueue ─▶ used         mail was sealed to it; the first of an address is no change, each later one is an audit event
 *   wait ────▶ waiting      under `certificates.pin` it would be used, and nobody has approved it
 *                 └─approve─▶ approved ─enqueue─▶ used
 *   forget: by a named operator, from any state. What was not used for long is pruned.
 *
 * Duties. The queue: what an `enqueue` or `record` was sealed to becomes durable in its transaction, and whether a certificate is
 * new for its address is decided there, so that two messages at one time tell of one change once. The caller: names every
 * certificate that it sealed to, under the address whose certificate it is, which need not be the recipient's (groups).
 */

/** One certificate as it is used for one address. Texts are for people. */
export interface CertificateUse {
  /** mailboxKey() of the address whose certificate it is. */
  readonly address: string;
  /** SHA-256, lower-case hex. */
  readonly fingerprint: string;
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  /** Ms since the epoch. */
  readonly notAfter: number;
  /** Where it was found. */
  readonly source: string;
  /** True where another than the known ones may not be used unless it is approved. */
  readonly pinned: boolean;
  /** Of the message; null where there is none. */
  readonly queueId: string | null;
}

export const knownStates = ['used', 'waiting', 'approved'] as const;

export type KnownState = (typeof knownStates)[number];

/** `state` damaged: the disk changed it. Such a certificate makes its address a known one, and is not to be used under a pin. */
export interface KnownCertificate extends Omit<CertificateUse, 'pinned' | 'queueId'> {
  readonly state: KnownState | 'damaged';
  /** Ms since the epoch: when it was first met, and last, to the day. */
  readonly firstAt: number;
  readonly lastAt: number;
  readonly approvedBy: string | null;
}

/** A certificate that mail may be sealed to under a pin. */
export const isApproved = ({ state }: KnownCertificate): boolean => state === 'used' || state === 'approved';

/** An address of which nothing but what waits is known has no certificate that a change could be measured by. */
export const isKnownAddress = (rows: readonly KnownCertificate[]): boolean => rows.some(({ state }) => state !== 'waiting');

/** The one that was used last, or was approved where none was; undefined where there is none. */
export function lastUsed(rows: readonly KnownCertificate[]): KnownCertificate | undefined {
  const used = rows.filter(({ state }) => state === 'used');
  return (used.length > 0 ? used : rows.filter(isApproved)).toSorted((a, b) => b.lastAt - a.lastAt || b.firstAt - a.firstAt)[0];
}

/** What an operator names: an address, and of its certificates all, or those whose fingerprint begins so. */
export interface KnownFilter {
  readonly address: string;
  readonly fingerprint: string | null;
}

export type KnownPlace = Pick<KnownCertificate, 'address' | 'fingerprint'>;

export type Approval =
  | { readonly kind: 'approved'; readonly fingerprint: string }
  | { readonly kind: 'none' }
  /** None of those that are kept; but more may wait than are kept, and one of these has to be named whole. */
  | { readonly kind: 'unlisted' }
  /** More than one waits, and none was named. */
  | { readonly kind: 'several'; readonly fingerprints: readonly string[] };

export interface KnownStore {
  /** Newest use first. */
  of(address: string): Promise<readonly KnownCertificate[]>;
  /** True where it is remembered that mail may be sealed to it; false where that has to be asked. */
  remembers(address: string, fingerprint: string): boolean;
  /**
   * Keeps that it waits, with an audit event at its first time. An address that nothing is known of has nothing that waits. Only so many
   * of one address are kept; that there are more is an audit event, once a day.
   */
  wait(certificate: CertificateUse): Promise<void>;
  /** Also one that could not be kept as waiting, where its whole fingerprint is named. */
  approve(filter: KnownFilter, operator: string): Promise<Approval>;
  /** Answers how many certificates were forgotten. */
  forget(filter: KnownFilter, operator: string): Promise<number>;
  /**
   * All of every address that were used, or seen waiting, since then (ms since the epoch), by address and fingerprint: so many at a time,
   * those behind `after`. Empty at the end.
   */
  page(since: number, after: KnownPlace | null): Promise<readonly KnownCertificate[]>;
  /** Forgets what was not used, or has not waited, for long; answers how many. No audit event: nothing about mail changes. */
  prune(): Promise<number>;
}
