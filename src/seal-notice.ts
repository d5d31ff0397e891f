/**
 * Notices under the same seal as all mail: the path of one message, with one rule for everybody and an outbox that holds what it is
 * given. Certificates are looked up while the notice is sent, so a retry may be sealed to a newer one.
 */
import type { Logger } from 'pino';
import type { NoticeSealer } from './delivery/notices.ts';
import { SealpostError } from './errors.ts';
import { plainRecipient } from './message/envelope.ts';
import { makeHeldOutbox } from './outbox.ts';
import { makePath, type PathParts } from './path.ts';
import { ALWAYS } from './policy/condition.ts';
import { makeRuleSet } from './policy/decide.ts';
import type { QueueStore } from './queue/queue.ts';

export interface NoticeSealerParts extends Pick<PathParts, 'hostname' | 'addressBook' | 'chooseForm' | 'pinned' | 'now' | 'randomBytes'> {
  /** Which certificate was chosen (P9). */
  readonly record: QueueStore['record'];
  readonly log: Logger;
}

const rules = makeRuleSet([
  { name: 'notices', when: ALWAYS, then: 'seal', missing: 'refuse', unavailable: 'retry', subject: { kind: 'keep' } },
]);

export function makeNoticeSealer({ addressBook, record, log, ...parts }: NoticeSealerParts): NoticeSealer {
  return {
    async seal(notice, { queueId, recipient }) {
      const resolution = await addressBook.resolve(recipient);
      if (resolution.kind === 'unavailable') throw new SealpostError('lookup-unavailable', { detail: 'for a notice' });
      if (resolution.kind === 'absent') return notice;
      const sealed: Buffer[] = [];
      const path = makePath({
        ...parts,
        rules: () => rules,
        addressBook: { resolve: async () => resolution },
        outbox: makeHeldOutbox(
          async (_, wire) => {
            for await (const octets of wire) sealed.push(octets);
          },
          (events, uses) =>
            record(
              events.filter(({ event }) => event === 'sealed' || event === 'skipped'),
              uses,
            ),
        ),
        newId: () => queueId,
        // A notice is smaller than anything that an upstream takes.
        largest: () => undefined,
        // Of a notice the queue and the audit log tell; it was accepted from nobody.
        log: log.child({}, { level: 'warn' }),
      });
      const client = { address: '127.0.0.1', helo: parts.hostname, tls: null, user: null };
      const envelope = { sender: null, recipients: [plainRecipient(recipient)], envid: null, client, protocol: 'LOCAL' };
      await path.accept(envelope, once(notice));
      return Buffer.concat(sealed);
    },
  };
}

async function* once(octets: Buffer): AsyncGenerator<Buffer> {
  yield octets;
}
