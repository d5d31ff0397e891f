/** What the queue and the audit log meet. */
import { type ErrorRow, row } from './row.ts';

export const queueErrors = {
  'queue-in-use': row(451, '4.3.0', 'another sealpost owns the queue', 'one relay at a time; sealpost queue talks to the running one'),
  'queue-newer': row(451, '4.3.0', 'the queue was written by a newer release', 'run the release that wrote it, or a newer one'),
  'queue-item-damaged': row(
    451,
    '4.3.0',
    'a queued message is damaged',
    'it is never sent; the relay sets it aside when it meets it: sealpost queue list --state damaged',
  ),
  'data-folder-unsafe': row(
    451,
    '4.3.0',
    'the data folder is not safe to use',
    'everything in it must belong to the user the relay runs as, and be closed to others: chmod -R go= on the folder',
  ),
  'hold-key-elsewhere': row(
    451,
    '4.3.0',
    'the key of held mail is not here',
    'name it: sealpost queue release ID --key FILE; or see hold.passphrase and sealpost check',
  ),
  'not-released': row(
    451,
    '4.3.0',
    'some held mail was not released',
    'the reason stands beside each; sealpost certs lookup ADDRESS and sealpost explain say more',
  ),
  'queue-id-unknown': row(451, '4.3.0', 'no such message in the queue', 'sealpost queue list shows what is there'),
  'audit-failed': row(
    451,
    '4.3.0',
    'the audit log cannot be written, please try again later',
    'look at the disk and the permissions of the audit file',
  ),
  'audit-broken': row(
    451,
    '4.3.0',
    'the audit log does not fit its chain',
    'somebody changed it, or the disk did: sealpost audit verify names the line',
  ),
  'relay-unreachable': row(451, '4.4.1', 'the relay cannot be reached', 'start it: sealpost serve; its log says why it does not answer'),
  'relay-not-running': row(451, '4.3.0', 'no relay is running on this data folder', 'start it: sealpost serve'),
} as const satisfies Record<string, ErrorRow>;
