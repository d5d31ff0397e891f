/** Notices under the seal: to whoever has a certificate, never unsealed for a look-up that failed (P3, P5, P9). */
import assert from 'node:assert/strict';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import type { AuditEvent } from '../src/audit.ts';
import { makeAddressBook } from '../src/certificates/address-book.ts';
import { readCertificates } from '../src/certificates/bundle.ts';
import type { Chosen, Lookup } from '../src/certificates/directory.ts';
import { parseMailbox } from '../src/message/envelope.ts';
import { chooseForm } from '../src/seal/algorithms.ts';
import { openMessage } from '../src/seal/open.ts';
import { makeNoticeSealer } from '../src/seal-notice.ts';
import { makeReaders } from './interop/fixtures.ts';
import { missingPrograms } from './interop/programs.ts';

const notice = Buffer.from(
  'Date: Mon, 23 Nov 2026 09:14:02 +0000\r\nFrom: <mailer-daemon@relay.example>\r\nTo: <anna@clinic.example>\r\nSubject: Mail\r\n' +
    'Message-ID: <n1@relay.example>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nit failed\r\n',
);

function sealing(lookup: Lookup) {
  const events: AuditEvent[] = [];
  const logged: string[] = [];
  const sealer = makeNoticeSealer({
    hostname: 'relay.example',
    addressBook: makeAddressBook({ lookup: async () => lookup }),
    chooseForm: (list) => chooseForm(list, 'compatible'),
    now: Date.now,
    randomBytes,
    record: async (more) => void events.push(...more),
    log: pino({ level: 'info' }, { write: (line: string) => logged.push(line) }),
  });
  const verdict = parseMailbox('anna@clinic.example');
  assert.ok(verdict.kind === 'mailbox');
  return { events, logged, seal: () => sealer.seal(notice, { queueId: 'n1', recipient: verdict.mailbox }) };
}

async function people(t: TestContext) {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-notice-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return (await makeReaders(dir)).people;
}

test('a notice waits for a look-up that is unavailable, and goes as it is where there is no certificate', async () => {
  const unavailable = sealing({ kind: 'unavailable', source: 'ldap', cause: new Error('down'), rejected: [], asked: [] });
  await assert.rejects(unavailable.seal(), { code: 'lookup-unavailable', temporary: true });
  const absent = sealing({ kind: 'absent', rejected: [], asked: [] });
  assert.ok((await absent.seal()).equals(notice));
  for (const { events, logged } of [unavailable, absent]) assert.deepEqual([events, logged], [[], []]);
});

test(
  'a notice is sealed to the certificate that was chosen, under its own queue id, and the choice is recorded',
  { skip: missingPrograms({ openssl: 'openssl' }) ?? false },
  async (t) => {
    const { anna } = await people(t);
    const [certificate] = readCertificates(readFileSync(anna.certificate)).certificates;
    assert.ok(certificate !== undefined);
    const candidate: Chosen = { certificate, source: 'test', place: 'anna.pem', path: [certificate], revocation: 'off' };
    const { seal, events, logged } = sealing({ kind: 'found', chosen: [candidate], rejected: [], asked: [] });
    const [one, other] = [await seal(), await seal()];
    for (const sealed of [one, other]) {
      const text = sealed.toString('latin1');
      assert.ok(!text.includes('it failed'));
      assert.match(text, /^Received: [^;]* id n1;/m);
      for (const line of ['Message-ID: <n1@relay.example>', 'Date: Mon, 23 Nov 2026 09:14:02 +0000', 'Auto-Submitted: auto-replied'])
        assert.ok(text.includes(`\r\n${line}\r\n`), line);
      assert.match(openMessage(sealed, [{ key: createPrivateKey(readFileSync(anna.key)) }]).entity.toString(), /\r\n\r\nit failed\r\n$/);
    }
    assert.ok(!one.equals(other), 'a fresh key each time');
    for (const event of events)
      assert.partialDeepStrictEqual(event, {
        event: 'sealed',
        queue_id: 'n1',
        rule: 'notices',
        certificate_sha256: certificate.fingerprint,
      });
    assert.deepEqual([events.length, logged], [2, []]);
  },
);
