/**
 * What the relay renewed by itself it sent to its reader sealed to the certificate before: whoever has that key opens the mail, and has
 * the key of the next, with its password. So a lost key is lost with all that came under it.
 */
import type { IssuedRecord } from '../../certificates/authority/ledger.ts';
import { BY_RELAY } from '../../upkeep/expiry/mailed.ts';

/** Those that are valid and not revoked, each behind the one it renews; also by way of one that is neither. `now` in ms. */
export function successorsOf(records: readonly IssuedRecord[], ledger: readonly IssuedRecord[], now: number): IssuedRecord[] {
  const byOld = Map.groupBy(
    ledger.filter(({ issuedBy, renews }) => issuedBy === BY_RELAY && renews !== null),
    ({ renews, issuer }) => `${issuer} ${renews}`,
  );
  const reached = new Set(records.map(({ serial }) => serial));
  const found: IssuedRecord[] = [];
  const next = [...records];
  for (let one = next.shift(); one !== undefined; one = next.shift()) {
    const mailed = (byOld.get(`${one.issuer} ${one.serial}`) ?? []).filter(({ serial }) => !reached.has(serial));
    for (const { serial } of mailed) reached.add(serial);
    found.push(...mailed);
    next.push(...mailed);
  }
  return found.filter(({ revoked, notAfter }) => revoked === null && notAfter > now);
}
