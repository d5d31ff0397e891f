/** The path of one message with an outbox that only remembers: what holds whatever the queue does. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import { type BookEntries, makeAddressBook } from '../src/certificates/address-book.ts';
import { readCertificates } from '../src/certificates/bundle.ts';
import type { Chosen, Lookup } from '../src/certificates/directory.ts';
import type { Mailbox } from '../src/message/envelope.ts';
import { parseMailbox, plainRecipient } from '../src/message/envelope.ts';
import { ALWAYS } from '../src/policy/condition.ts';
import { makeRuleSet } from '../src/policy/decide.ts';
import { makePath } from '../src/path.ts';
import type { NewMessage } from '../src/queue/queue.ts';
import { wireSize } from '../src/delivery/wire.ts';
import { codeOf } from './ingress/front.ts';
import { makeReaders } from './interop/fixtures.ts';
import { missingPrograms } from './interop/programs.ts';
import { chunked } from './message/sources.ts';

function mailbox(text: string): Mailbox {
  const verdict = parseMailbox(text);
  assert.equal(verdict.kind, 'mailbox', text);
  return verdict.mailbox;
}

/** Milliseconds that `act` takes, and the longest stretch of it in which nobody else had a turn. */
async function longestTurn(act: () => Promise<unknown>): Promise<{ readonly gap: number; readonly whole: number }> {
  let gap = 0;
  const started = performance.now();
  let last = started;
  const look = (): void => {
    gap = Math.max(gap, performance.now() - last);
    last = performance.now();
  };
  const timer = setInterval(look, 1);
  try {
    await act();
    look();
    return { gap, whole: performance.now() - started };
  } finally {
    clearInterval(timer);
  }
}

describe('the path of one message', { skip: missingPrograms({ openssl: 'openssl' }) ?? false }, () => {
  let dir: string;
  let candidate: Chosen;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sealpost-path-'));
    const { people } = await makeReaders(dir);
    const [certificate] = readCertificates(readFileSync(people.dora.certificate)).certificates;
    assert.ok(certificate);
    candidate = { certificate, source: 'test', place: 'dora.pem', path: [certificate], revocation: 'off' };
  });
  after(() => rm(dir, { recursive: true, force: true }));

  /** Three certificates of one key, told apart by their fingerprints. */
  const threeOf = (address: string): Lookup => {
    const one = (number: number): Chosen => ({
      ...candidate,
      certificate: { ...candidate.certificate, fingerprint: `${address} ${number}` },
    });
    return { kind: 'found', chosen: [one(1), one(2), one(3)], rejected: [], asked: [] };
  };

  /** Sends one message to `recipients`, each a reader with three P-521 certificates; answers what reached the outbox. */
  const rules = makeRuleSet([
    {
      name: 'all',
      when: ALWAYS,
      then: 'seal',
      missing: 'refuse',
      unavailable: 'retry',
      subject: { kind: 'replace', template: 'for {recipient}' },
    },
  ]);
  async function accept(
    recipients: readonly string[],
    hostname = 'relay.example',
    {
      largest,
      source = chunked('Subject: x\r\n\r\nbody\r\n'),
      book,
    }: { largest?: number; source?: AsyncIterable<Buffer>; book?: BookEntries } = {},
  ): Promise<NewMessage[]> {
    const queued: NewMessage[] = [];
    const stored = { length: 0, sha256: Buffer.alloc(32), content: { kind: 'inline', bytes: Buffer.alloc(0) } } as const;
    const path = makePath({
      hostname,
      rules: () => rules,
      addressBook: makeAddressBook({ lookup: async ({ address }) => threeOf(address) }, book),
      chooseForm: () => ({ cipher: 'aes-256-cbc', keyTransport: 'rsaes-pkcs1' }),
      outbox: {
        newBody: () => ({ write: async () => {}, finish: async () => stored, discard: async () => {} }),
        enqueue: async (message) => void queued.push(message),
      },
      largest: () => largest,
      now: Date.now,
      randomBytes,
      log: pino({ level: 'silent' }),
    });
    const client = { address: '127.0.0.1', helo: 'x', tls: null, user: null };
    const to = recipients.map((address) => plainRecipient(mailbox(address)));
    const envelope = { sender: null, recipients: to, envid: null, client, protocol: 'SMTP' };
    await path.accept(envelope, source);
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

  test('what the upstream takes to the octet is taken, and one octet more is refused', async () => {
    const [message] = await accept(['dora@clinic.example']);
    const [reader] = message?.recipients ?? [];
    assert.ok(reader);
    // `Subject: x`, an empty line and `body` inside: 20 octets with MIME-Version and all, sealed in whole blocks of 16.
    const sizes = [1, 2, 3, 4, 5, 6].map((blocks) => wireSize(reader.header.length, reader.prefix.length + 16 * blocks));
    const taken: number[] = [];
    for (const largest of sizes) {
      const one = await accept(['dora@clinic.example'], 'relay.example', { largest }).catch((error: unknown) => error);
      if (Array.isArray(one)) taken.push(largest);
      else assert.equal(codeOf(one), 'sealed-too-big');
    }
    const [exact = 0] = taken;
    assert.ok(taken.length > 0 && taken.length < sizes.length);
    await assert.rejects(accept(['dora@clinic.example'], 'relay.example', { largest: exact - 1 }), { code: 'sealed-too-big' });
  });

  test('a body that is too long by itself is not sealed to its end', async () => {
    let read = 0;
    async function* endless(): AsyncIterable<Buffer> {
      yield Buffer.from('Subject: x\r\n\r\n');
      for (;;) {
        read += 65_536;
        if (read > 100_000_000) throw new Error('it reads on');
        yield Buffer.alloc(65_536, 'x');
      }
    }
    const options = { largest: 1_000_000, source: endless() };
    await assert.rejects(accept(['dora@clinic.example'], 'relay.example', options), { code: 'sealed-too-big' });
    assert.ok(read < 1_000_000, `${read} octets were read`);
  });

  test('P6 a group of fifty with costly keys leaves the event loop to others', async () => {
    const members = Array.from({ length: 50 }, (_, index) => mailbox(`member${index}@clinic.example`));
    const book = { groups: [{ address: mailbox('all@clinic.example'), members }] };
    const longest = await longestTurn(() => accept(['all@clinic.example'], 'relay.example', { book }));
    assert.ok(longest.gap < longest.whole / 3, `${longest.gap} ms of ${longest.whole} ms without a turn`);
  });

  test('P6 many readers with costly keys leave the event loop to others', async () => {
    const longest = await longestTurn(() => accept(Array.from({ length: 200 }, (_, index) => `reader${index}@clinic.example`)));
    // The work takes seconds; in one turn it would be one gap as long as all of it.
    assert.ok(longest.gap < longest.whole / 3, `${longest.gap} ms without a turn`);
  });
});
