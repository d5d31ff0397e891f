/**
 * Mail that the relay writes itself: summaries, notices of expiry, renewed certificates, tries. It walks the path of any other mail,
 * sealed to whoever it is for; where they have no usable certificate it is not sent at all (P3). In clear it is in memory only (P2).
 */
import type { AuditEvent } from '../audit.ts';
import type { Resolution } from '../certificates/address-book.ts';
import { SealpostError } from '../errors.ts';
import { plainRecipient, type Mailbox } from '../message/envelope.ts';
import { makePath, type Outbox, type PathParts } from '../path.ts';
import { ALWAYS } from '../policy/condition.ts';
import { makeRuleSet } from '../policy/decide.ts';
import { FOLLOWED, followedStates, type RecordStore } from '../queue/records.ts';
import { composeMail, type Attachment } from './compose.ts';

export interface OwnMessage {
  readonly recipient: Mailbox;
  /** Stands inside the seal; outside a fixed one does. */
  readonly subject: string;
  /** Lines of people's language, at most 78 characters each. */
  readonly text: string;
  readonly attachments?: readonly Attachment[];
  /** What it is sealed to, where the caller has looked that up; else it is looked up. */
  readonly resolution?: Resolution;
  /** Whether it was delivered can be asked by fateOf() then, until whoever asks removes its record. */
  readonly followed?: true;
  /** Written in the transaction that queues it. */
  readonly events?: (queueId: string) => readonly AuditEvent[];
}

export interface OwnMail {
  /**
   * Durable on resolve; answers the queue id. Throws `certificate-missing` where the recipient has no usable certificate,
   * `lookup-unavailable` while nobody knows, and what the queue throws.
   */
  send(message: OwnMessage): Promise<string>;
}

export interface OwnMailParts extends Pick<
  PathParts,
  'hostname' | 'addressBook' | 'chooseForm' | 'pinned' | 'now' | 'randomBytes' | 'log' | 'largest'
> {
  /** Records: for mail that is followed. */
  readonly outbox: Outbox & { readonly records?: Pick<RecordStore, 'change'> };
  /** Whom readers answer to. */
  readonly operator: string;
  readonly newId: () => string;
}

/** What it is about must not stand outside: whose certificate ends is nobody else's matter. */
const rules = makeRuleSet([
  {
    name: 'mail of the relay',
    when: ALWAYS,
    then: 'seal',
    missing: 'refuse',
    unavailable: 'retry',
    subject: { kind: 'replace', template: 'Message from the mail relay [{queue_id}]' },
  },
]);

export function makeOwnMail({ outbox, operator, newId, ...parts }: OwnMailParts): OwnMail {
  const { hostname, now } = parts;
  return {
    async send({ recipient, subject, text, attachments = [], events, resolution, followed }) {
      const id = newId();
      const path = makePath({
        ...parts,
        ...(resolution === undefined ? {} : { addressBook: { resolve: async () => resolution } }),
        rules: () => rules,
        outbox: {
          newBody: () => outbox.newBody(),
          enqueue: (message, told, uses) => outbox.enqueue(message, [...told, ...(events?.(id) ?? [])], uses),
        },
        newId: () => id,
      });
      const mail = composeMail({ hostname, operator, recipient, subject, text, attachments, id, at: now() });
      const client = { address: '127.0.0.1', helo: hostname, tls: null, user: null };
      // From the null sender: nothing answers it, and no notice is sent of it.
      const envelope = { sender: null, recipients: [plainRecipient(recipient)], envid: null, client, protocol: 'LOCAL' };
      if (followed === undefined) return path.accept(envelope, once(mail));
      const { records } = outbox;
      if (records === undefined) throw new SealpostError('internal', { detail: 'mail that nobody can follow' });
      const mark = (value: string | null): Promise<boolean> => records.change([{ kind: FOLLOWED, key: id, value }], []);
      await mark(followedStates.queued);
      try {
        return await path.accept(envelope, once(mail));
      } catch (error) {
        await mark(null);
        throw error;
      }
    },
  };
}

async function* once(octets: Buffer): AsyncGenerator<Buffer> {
  yield octets;
}
