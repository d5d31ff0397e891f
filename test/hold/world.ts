/** The path that holds, the queue that keeps and the release, joined in one process, with certificates that come and go. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import type { AddressBook } from '../../src/certificates/address-book.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { type Envelope, type Mailbox, mailboxKey, parseMailbox, plainRecipient } from '../../src/message/envelope.ts';
import { makePath } from '../../src/path.ts';
import { ALWAYS } from '../../src/policy/condition.ts';
import { makeRuleSet, type Rule, type RuleSet } from '../../src/policy/decide.ts';
import type { HeldRow, QueueStore } from '../../src/queue/queue.ts';
import { makeRelease, type Released, type Releasing } from '../../src/release/release.ts';
import { type Cipher, ciphers } from '../../src/seal/algorithms.ts';
import { contentKeys, type Identity, openMessage } from '../../src/seal/open.ts';
import { readPrefix } from '../../src/seal/prefix.ts';
import type { Signers } from '../../src/sign/signer.ts';
import { chunked } from '../message/sources.ts';
import { makeSite, readAll, type Site } from '../queue/site.ts';

export interface Pair extends Identity {
  readonly certificate: Certificate;
}

export interface World {
  readonly site: Site;
  readonly store: QueueStore;
  readonly releasing: Releasing;
  readonly addressBook: AddressBook;
  readonly rules: () => RuleSet;
  /** Addresses that were asked for, in order. */
  readonly asked: string[];
  /** What the relay is made of today. */
  readonly today: { rules: readonly Rule[]; cipher: Cipher; certificates: Map<string, Certificate>; down: boolean };
  accept(message: string | Buffer, recipients?: readonly string[], envelope?: Partial<Envelope>): Promise<string>;
  held(queueId?: string): Promise<HeldRow[]>;
  /** With the hold key, or another. */
  release(held: HeldRow, by?: { readonly byHand?: boolean; readonly key?: Identity }): Promise<Released>;
  ciphertextOf(held: HeldRow): Promise<Buffer>;
  /** What goes out next: its outer header, its ciphertext as it is stored, and what its reader sees. */
  delivered(reader: Identity): Promise<{ header: string; ciphertext: Buffer; inside: string; sender: string; recipient: string }>;
  /** Closes the queue. */
  audit(): Promise<Record<string, unknown>[]>;
}

/** A rule with all that a rule has. */
export const rule = (said: Partial<Rule> & Pick<Rule, 'name'>): Rule => ({
  when: ALWAYS,
  then: 'seal',
  missing: 'hold',
  unavailable: 'hold',
  subject: { kind: 'replace', template: 'sealed [{queue_id}]' },
  ...said,
});

export function mailbox(text: string): Mailbox {
  const verdict = parseMailbox(text);
  assert.equal(verdict.kind, 'mailbox', text);
  return verdict.mailbox;
}

export async function makeWorld(
  t: TestContext,
  hold: Pair,
  { signers, pinned = false }: { readonly signers?: Signers; readonly pinned?: boolean } = {},
): Promise<World> {
  const site = await makeSite(t);
  const store = await site.open({ inlineLimit: 64 * 1024 });
  const today: World['today'] = { rules: [rule({ name: 'forms' })], cipher: 'aes-256-cbc', certificates: new Map(), down: false };
  const asked: string[] = [];
  const addressBook: AddressBook = {
    async resolve(recipient) {
      asked.push(recipient.address);
      const about = { way: 'address', parts: [], lacking: [] } as const;
      if (today.down) return { ...about, kind: 'unavailable', source: 'ldap', cause: new Error('down') };
      const certificate = today.certificates.get(mailboxKey(recipient));
      if (certificate === undefined) return { ...about, kind: 'absent' };
      const chosen = { certificate, source: 'test', place: 'a.pem', path: [certificate], revocation: 'off' } as const;
      return { ...about, kind: 'found', shares: [{ address: recipient.address, chosen: [chosen] }] };
    },
  };
  const parts = {
    hostname: 'relay.example',
    rules: () => makeRuleSet(today.rules),
    addressBook,
    chooseForm: (_: readonly Certificate[], said = {}) => ({ cipher: today.cipher, keyTransport: 'rsaes-pkcs1' as const, ...said }),
    ...(signers === undefined ? {} : { signers }),
    pinned,
    largest: () => undefined,
    onQueued: () => {},
    now: () => site.clock.now,
    randomBytes,
    log: pino({ level: 'silent' }),
  };
  const path = makePath({ ...parts, outbox: store, hold: () => hold.certificate });
  const releasing = makeRelease({ ...parts, queue: store });
  return {
    site,
    store,
    releasing,
    addressBook,
    rules: parts.rules,
    asked,
    today,
    accept(message, recipients = ['anna@clinic.example'], envelope = {}) {
      const client = { address: '192.0.2.7', helo: 'web.clinic.example', tls: null, user: null };
      const to = recipients.map((address) => plainRecipient(mailbox(address)));
      const whole = { sender: mailbox('forms@clinic.example'), recipients: to, envid: null, client, protocol: 'ESMTP', ...envelope };
      return path.accept(whole, chunked(message));
    },
    held: (queueId) => store.heldRows(queueId === undefined ? {} : { queueId }, 0, 100),
    async release(held, { byHand = true, key = hold } = {}) {
      const { content, recipients } = readPrefix(held.prefix, held.bodyLength, held.suffix);
      const [contentKey] = contentKeys(recipients, [key], ciphers[content.cipher].keyOctets);
      // Of another key there may be none: RSA of a smaller modulus.
      if (contentKey === undefined) return { kind: 'wrong-key' };
      return releasing.release(held, { contentKey, operator: 'tester', byHand });
    },
    async ciphertextOf(held) {
      const chunks: Buffer[] = [];
      for await (const chunk of store.readHeld(held)) chunks.push(chunk);
      return Buffer.concat(chunks);
    },
    async delivered(reader) {
      const [lease] = await store.claim(site.clock.now, 1);
      assert.ok(lease);
      const ciphertext = await readAll(store, lease);
      await store.settle(lease, { kind: 'delivered' }, []);
      const { entity } = openMessage(Buffer.concat([lease.prefix, ciphertext, lease.suffix]), [reader]);
      const { sender, recipient } = lease;
      return { header: lease.header.toString(), ciphertext, inside: entity.toString(), sender, recipient };
    },
    async audit() {
      await store.close();
      const lines = readFileSync(site.paths.audit, 'utf8').trim().split('\n');
      return lines.map((line): Record<string, unknown> => Object.assign({}, JSON.parse(line)));
    },
  };
}
