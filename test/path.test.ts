/** The path of one message with an outbox that only remembers: what holds whatever the queue does. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { readCertificates } from '../src/certificates/bundle.ts';
import type { Candidate } from '../src/certificates/directory.ts';
import type { Mailbox } from '../src/message/envelope.ts';
import { parseMailbox, plainRecipient } from '../src/message/envelope.ts';
import { makePath } from '../src/path.ts';
import type { NewMessage } from '../src/queue/queue.ts';
import { makeReaders } from './interop/fixtures.ts';
import { missingPrograms } from './interop/programs.ts';
import { chunked } from './message/sources.ts';

function mailbox(text: string): Mailbox {
  const verdict = parseMailbox(text);
  assert.equal(verdict.kind, 'mailbox', text);
  return verdict.mailbox;
}

describe('the path of one message', { skip: missingPrograms({ openssl: 'openssl' }) ?? false }, () => {
  let dir: string;
  let candidate: Candidate;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sealpost-path-'));
    const { people } = await makeReaders(dir);
    const [certificate] = readCertificates(readFileSync(people.dora.certificate)).certificates;
    assert.ok(certificate);
    candidate = { certificate, source: 'test', place: 'dora.pem' };
  });
  after(() => rm(dir, { recursive: true, force: true }));

  /** Sends one message to `recipients`, each a reader with three P-521 certificates; answers what reached the outbox. */
  async function accept(recipients: readonly string[], hostname = 'relay.example'): Promise<NewMessage[]> {
    const queued: NewMessage[] = [];
    const stored = { length: 0, sha256: Buffer.alloc(32), content: { kind: 'inline', bytes: Buffer.alloc(0) } } as const;
    const path = makePath({
      hostname,
      rules: [{ name: 'all', when: {}, then: 'seal', missing: 'refuse', subject: { kind: 'replace', template: 'for {recipient}' } }],
      directory: { lookup: async () => ({ kind: 'found', chosen: [candidate, candidate, candidate], rejected: [] }) },
      chooseForm: () => ({ cipher: 'aes-256-cbc', keyTransport: 'rsaes-pkcs1' }),
      outbox: {
        newBody: () => ({ write: async () => {}, finish: async () => stored, discard: async () => {} }),
        enqueue: async (message) => void queued.push(message),
      },
      largest: () => undefined,
      onQueued: () => {},
      now: Date.now,
      randomBytes,
      log: pino({ level: 'silent' }),
    });
    const client = { address: '127.0.0.1', helo: 'x', tls: null, user: null };
    const to = recipients.map((address) => plainRecipient(mailbox(address)));
    const envelope = { sender: null, recipients: to, envid: null, client, protocol: 'SMTP' };
    await path.accept(envelope, chunked('Subject: x\r\n\r\nbody\r\n'));
    return queued;
  }

  test('a mailbox that is named twice gets one message', async () => {
    const [message] = await accept(['dora@clinic.example', 'Dora@CLINIC.example', 'ben@clinic.example']);
    assert.deepEqual(
      message?.recipients.map(({ address }) => address.toLowerCase()),
      ['dora@clinic.example', 'ben@clinic.example'],
    );
  });

  test('P7 a header that could never be sent is refused before anything is queued', async () => {
    await assert.rejects(accept(['dora@clinic.example'], 'x'.repeat(1000)), { code: 'header-malformed' });
  });

  test('P6 many readers with costly keys leave the event loop to others', async () => {
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    try {
      const started = performance.now();
      await accept(Array.from({ length: 200 }, (_, index) => `reader${index}@clinic.example`));
      longest = Math.max(longest, performance.now() - last);
      // The work takes seconds; in one turn it would be one gap as long as all of it.
      assert.ok(longest < (performance.now() - started) / 3, `${longest} ms without a turn`);
    } finally {
      clearInterval(timer);
    }
  });
});
