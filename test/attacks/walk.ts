/** The path of a message for one reader, in this process: what would be queued is kept, opened and written as it would be sent. */
import assert from 'node:assert/strict';
import { createPrivateKey, type KeyObject, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import type { AuditEvent } from '../../src/audit.ts';
import { makeAddressBook } from '../../src/certificates/address-book.ts';
import { type Certificate, parseCertificate } from '../../src/certificates/certificate.ts';
import { wireForm } from '../../src/delivery/wire.ts';
import { plainRecipient } from '../../src/message/envelope.ts';
import { makePath, type PathParts } from '../../src/path.ts';
import { ALWAYS } from '../../src/policy/condition.ts';
import { makeRuleSet, type Rule } from '../../src/policy/decide.ts';
import type { NewMessage } from '../../src/queue/queue.ts';
import { parseSpoolKeys } from '../../src/queue/spool/key.ts';
import { makeSpool } from '../../src/queue/spool/spool.ts';
import { chooseForm } from '../../src/seal/algorithms.ts';
import { openMessage } from '../../src/seal/open.ts';
import { mailboxOf, make, rsa, temporaryFolder } from '../certificates/openssl.ts';
import { chunked, collect } from '../message/sources.ts';

export const seal: Rule = {
  name: 'everything',
  when: ALWAYS,
  then: 'seal',
  missing: 'refuse',
  unavailable: 'retry',
  subject: { kind: 'replace', template: 'New message' },
};

export interface Walked {
  readonly message: NewMessage;
  readonly events: readonly AuditEvent[];
  /** What goes over the wire to this recipient, before its dots are stuffed. */
  wire(address: string): Promise<Buffer>;
  /** What the reader sees; `wire` where it is another one, changed on the way. */
  open(address: string, wire?: Buffer): Promise<Buffer>;
}

export interface Walk {
  /** Hands in one message for `recipients`, each of whom reads with a key of their own; rejects with its refusal. */
  (text: string | Buffer, recipients?: readonly string[], parts?: Partial<PathParts>): Promise<Walked>;
  certificateOf(address: string): Certificate;
}

/** RSA readers, made once for each address; needs openssl. */
export function makeWalk(rules: readonly Rule[] = [seal]): Walk {
  const folder = temporaryFolder();
  const people = new Map<string, { readonly certificate: Certificate; readonly key: KeyObject }>();
  const personOf = (address: string) => {
    const known = people.get(address);
    if (known !== undefined) return known;
    const name = `reader-${people.size}`;
    const certificate = parseCertificate(make(folder, { name, key: rsa(2048), serial: `5EA1C0FFEE${10 + people.size}` }));
    const person = { certificate, key: createPrivateKey(readFileSync(join(folder, `${name}.key`))) };
    people.set(address, person);
    return person;
  };
  const spool = makeSpool({ keys: parseSpoolKeys(Buffer.alloc(32, 7).toString('base64'), 'test'), randomBytes });

  const walk = async (text: string | Buffer, recipients: readonly string[] = ['anna@clinic.example'], parts: Partial<PathParts> = {}) => {
    const queued: Walked[] = [];
    const path = makePath({
      hostname: 'relay.clinic.example',
      rules: () => makeRuleSet(rules),
      addressBook: makeAddressBook({
        lookup: async ({ address }) => {
          const { certificate } = personOf(address);
          const chosen = [{ certificate, source: 't', place: 'p', path: [certificate], revocation: 'off' }] as const;
          return { kind: 'found', chosen, rejected: [], asked: [] };
        },
      }),
      chooseForm: (list, policy) => chooseForm(list, 'compatible', policy),
      hold: () => undefined,
      spool,
      outbox: {
        newBody() {
          const chunks: Buffer[] = [];
          return {
            write: async (octets) => void chunks.push(octets),
            finish: async () => {
              const bytes = Buffer.concat(chunks);
              return { length: bytes.length, sha256: Buffer.alloc(32), content: { kind: 'inline', bytes } };
            },
            discard: async () => undefined,
          };
        },
        enqueue: async (message, events) => void queued.push(walkedOf(message, events)),
      },
      largest: () => undefined,
      now: () => Date.parse('2026-11-23T09:00:00Z'),
      randomBytes,
      log: pino({ level: 'silent' }),
      ...parts,
    });
    const client = { address: '192.0.2.7', helo: 'web.clinic.example', tls: null, user: null };
    const asked = recipients.map((address) => plainRecipient(mailboxOf(address)));
    await path.accept(
      { sender: mailboxOf('forms@clinic.example'), recipients: asked, envid: null, client, protocol: 'ESMTP' },
      chunked(text),
    );
    const [walked] = queued;
    assert.ok(walked !== undefined);
    return walked;
  };

  function walkedOf(message: NewMessage, events: readonly AuditEvent[]): Walked {
    const wire = async (address: string): Promise<Buffer> => {
      const row = message.recipients.find((one) => one.address === address) ?? assert.fail(address);
      const content = message.bodies[row.body]?.content;
      assert.equal(content?.kind, 'inline');
      if (row.kept === undefined || row.kept === null) return collect(wireForm(row, Readable.from([content.bytes])));
      const passed = { queueId: message.id, sender: row.sender, recipient: address };
      return collect(spool.read(Readable.from([content.bytes]), passed, row.kept.facts));
    };
    return {
      message,
      events,
      wire,
      async open(address, changed) {
        const { key, certificate } = personOf(address);
        return openMessage(changed ?? (await wire(address)), [{ key, certificate }]).entity;
      },
    };
  }
  return Object.assign(walk, { certificateOf: (address: string) => personOf(address).certificate });
}
