/** What a list that has been read says of one certificate (RFC 5280 §6.3.3): a pure function. */
import type { Certificate } from '../certificate.ts';
import { readDer } from '../der.ts';
import { type CrlEntry, findEntries } from './crl-index.ts';
import type { Crl } from './crl-read.ts';
import { scopeFault, subjectsOf } from './crl-scope.ts';
import type { RevocationStatus } from './revocation.ts';

/** Clocks differ, in both directions. */
const SKEW_MS = 300_000;
const SERIAL_LIMITS = { bytes: 64 * 1024, nodes: 1, depth: 1 };

/** RFC 5280 §5.3.1. */
const reasons: Readonly<Record<number, string>> = {
  0: 'unspecified',
  1: 'keyCompromise',
  2: 'cACompromise',
  3: 'affiliationChanged',
  4: 'superseded',
  5: 'cessationOfOperation',
  6: 'certificateHold',
  8: 'removeFromCRL',
  9: 'privilegeWithdrawn',
  10: 'aACompromise',
};
const CERTIFICATE_HOLD = 6;
const REMOVE_FROM_CRL = 8;

/** `from` names the list, `now` in ms. `list` is signed by the issuer of `certificate`. */
export function judgeByList(list: Crl, certificate: Certificate, from: string, now: number): RevocationStatus {
  const { thisUpdate, nextUpdate, scope, index } = list;
  const outside = scopeFault(scope, subjectsOf(certificate));
  if (outside !== undefined) return { kind: 'unknown', why: `${from} ${outside}`, lasting: true };
  const entry = worst(findEntries(index, readDer(certificate.serialDer, SERIAL_LIMITS).content));
  const revoked: RevocationStatus | undefined = entry && {
    kind: 'revoked',
    from,
    at: entry.at,
    reason: reasons[entry.reason] ?? `reason ${entry.reason}`,
  };
  // What is revoked stays so, whatever the age of the list that says it; only a hold may be lifted.
  if (revoked !== undefined && entry?.reason !== CERTIFICATE_HOLD && entry?.reason !== REMOVE_FROM_CRL) return revoked;
  const unknown = (why: string): RevocationStatus => ({ kind: 'unknown', why: `${from} ${why}`, lasting: false });
  if (thisUpdate > now + SKEW_MS) return unknown(`is from the future: ${new Date(thisUpdate).toISOString()}`);
  if (nextUpdate + SKEW_MS <= now) return unknown(`is stale since ${new Date(nextUpdate).toISOString()}`);
  // RFC 5280 §5.3.1: for delta lists only. What it means in another nobody says.
  if (entry?.reason === REMOVE_FROM_CRL) return unknown('says removeFromCRL of it, which is for delta lists');
  if (revoked !== undefined) return revoked;
  // RFC 5280 §6.3.3 (b): not revoked for these reasons is not good.
  if (scope.partial) return { kind: 'unknown', why: `${from} covers some reasons only`, lasting: true };
  return { kind: 'good', from, until: new Date(nextUpdate) };
}

/** Of several entries the one that says most: revoked for good, held, taken out. */
function worst(entries: readonly CrlEntry[]): CrlEntry | undefined {
  const weight = ({ reason }: CrlEntry): number => (reason === REMOVE_FROM_CRL ? 0 : reason === CERTIFICATE_HOLD ? 1 : 2);
  return [...entries].sort((a, b) => weight(b) - weight(a) || a.at.getTime() - b.at.getTime())[0];
}
