/** For `check`: what keeps the relay from telling of certificates that end, and from renewing them. */
import type { AddressBook } from '../../certificates/address-book.ts';
import type { Config } from '../../config.ts';
import type { Environment } from '../../config/environment.ts';
import type { Fault } from '../../document/fault.ts';
import { parseMailbox } from '../../message/envelope.ts';
import { renewalFault } from '../../upkeep/expiry/daily.ts';
import { ownFolderFault } from '../../upkeep/own-certificates.ts';

const RENEW = 'certificates.authority.renew';

/** What is configured and cannot be done. */
export async function expiryFaults(config: Config, env: Environment): Promise<readonly Fault[]> {
  if (config.certificates.authority.renew === undefined) return [];
  const folder = ownFolderFault(config, RENEW);
  const reason = await renewalFault(config, env);
  const mend = 'let the user of the relay read the key of the issuing CA and its passphrase, or take the key away and renew by hand';
  const key: Fault[] = reason === undefined ? [] : [{ place: config.file, key: RENEW, wrong: `cannot be done: ${reason}`, mend }];
  return [...(folder === undefined ? [] : [folder]), ...key];
}

/** Of a site that has certificates which may end. */
export async function noteOperator(config: Config, book: AddressBook): Promise<readonly string[]> {
  const verdict = parseMailbox(config.operator);
  if (config.certificates.expiry.summary === 'off' || verdict.kind === 'fault') return [];
  const { kind } = await book.resolve(verdict.mailbox);
  if (kind !== 'absent') return [];
  return [`operator: ${config.operator} has no usable certificate: the summary of certificates that end is not sent`];
}
