/** Mail that the relay writes itself: strangers open it and read it, and until then nobody else does (P2, P3). */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { makeAddressBook } from '../../src/certificates/address-book.ts';
import { readCertificates } from '../../src/certificates/bundle.ts';
import type { Chosen, Lookup } from '../../src/certificates/directory.ts';
import { wireForm } from '../../src/delivery/wire.ts';
import { chooseForm } from '../../src/seal/algorithms.ts';
import { makeOwnMail } from '../../src/upkeep/own-mail.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { makeReaders, type ReaderName } from '../interop/fixtures.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import { claimOne, makeSite, START } from '../queue/site.ts';

const needs = { skip: missingPrograms({ openssl: 'openssl', python3: 'python3' }) ?? false };

/** Python's mail library reads the entity, as a mail program would: its text, and every attachment in base64. */
const READ = `
import sys, json, base64, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = [p for p in m.walk() if not p.is_multipart()]
json.dump({"fields": m.keys(), "subject": m["Subject"], "text": parts[0].get_content(), "defects": len(m.defects) + sum(len(p.defects) for p in parts),
  "attached": [[p.get_filename(), p.get_content_type(), base64.b64encode(p.get_payload(decode=True)).decode()] for p in parts[1:]]}, sys.stdout)
`;

interface Read {
  readonly fields: readonly string[];
  readonly subject: string;
  readonly text: string;
  readonly defects: number;
  readonly attached: readonly (readonly [string, string, string])[];
}

async function makeSetting(t: TestContext) {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-own-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const readers = await makeReaders(dir);
  const site = await makeSite(t);
  const store = await site.open();
  const chosenOf = (name: ReaderName): Chosen => {
    const [certificate] = readCertificates(readFileSync(readers.people[name].certificate)).certificates;
    assert.ok(certificate !== undefined);
    return { certificate, source: 'test', place: `${name}.pem`, path: [certificate], revocation: 'off' };
  };
  const lookupOf = (address: string): Lookup => {
    const account = { rejected: [], asked: [] };
    if (address.startsWith('down')) return { kind: 'unavailable', source: 'ldap', cause: new Error('down'), ...account };
    if (address.startsWith('nobody')) return { kind: 'absent', ...account };
    return { kind: 'found', chosen: [chosenOf(address.startsWith('ben') ? 'ben' : 'anna')], ...account };
  };
  let ids = 0;
  const ownMail = makeOwnMail({
    hostname: 'relay.clinic.example',
    operator: 'postmaster@clinic.example',
    addressBook: makeAddressBook({ lookup: async ({ address }) => lookupOf(address) }),
    chooseForm: (list) => chooseForm(list, 'compatible'),
    outbox: store,
    newId: () => `own${++ids}`,
    now: () => START,
    randomBytes,
    largest: () => undefined,
    log: pino({}, { write: (line: string) => site.logged.push(line) }),
  });
  return {
    site,
    store,
    ownMail,
    /** Sends what is queued to the reader: the message as it goes on the wire, and what is in it. */
    receive: async (name: ReaderName): Promise<{ wire: string; read: Read }> => {
      const lease = await claimOne(store);
      const pieces: Buffer[] = [];
      for await (const piece of wireForm(lease, store.read(lease))) pieces.push(piece);
      await store.settle(lease, { kind: 'delivered' }, []);
      const wire = Buffer.concat(pieces);
      const program = await openssl.start(readers);
      const entity = await program.open(wire, readers.people[name]);
      await program.close();
      const read: Read = JSON.parse((await succeed('python3', ['-c', READ], { input: entity })).toString());
      return { wire: wire.toString('latin1'), read };
    },
    /** Every octet that was written by now, and every line of the log. */
    written: (): string =>
      readdirSync(dirname(site.paths.database), { recursive: true, encoding: 'utf8' })
        .map((name) => join(dirname(site.paths.database), name))
        .filter((path) => statSync(path).isFile())
        .map((path) => readFileSync(path, 'latin1'))
        .concat(site.logged)
        .join('\n'),
  };
}

const anna = mailboxOf('anna@clinic.example');

test('text in any language and attachments come out as they went in, for RSA and EC readers', needs, async (t) => {
  const { ownMail, receive, written } = await makeSetting(t);
  const subject = 'Ihr Zertifikat läuft ab: bitte öffnen 日本 '.repeat(4).trim();
  const text = 'Grüße an Dr. Ärztin\n.\n..\nFrom the relay\n\nSecretWord 漢字 😀\n';
  const p12 = randomBytes(150_000);
  const page = Buffer.from('<p>\r\n.\r\n--=_own1--\r\n</p>');
  const attachments = [
    { name: 'anna@clinic.example.p12', type: 'application/pkcs12', bytes: p12 },
    { name: 'how-to.html', type: 'text/html', bytes: page },
    { name: 'empty', type: 'application/octet-stream', bytes: Buffer.alloc(0) },
  ];
  for (const name of ['anna', 'ben'] as const) {
    await ownMail.send({ recipient: mailboxOf(`${name}@clinic.example`), subject, text, attachments });
    const stored = written();
    const fragments = [subject, 'SecretWord', 'Zertifikat', p12.toString('latin1', 0, 40), p12.toString('base64', 0, 30)];
    for (const clear of [
      ...fragments,
      Buffer.from('SecretWord 漢字').toString('latin1'),
      Buffer.from('SecretWord').toString('base64', 0, 9),
    ])
      assert.ok(!stored.includes(clear), `${clear} stands in the data folder or the log`);
    const { read, wire } = await receive(name);
    assert.deepEqual([read.subject, read.text, read.defects], [subject, text.replaceAll('\n', '\r\n'), 0]);
    assert.deepEqual(
      read.attached,
      attachments.map(({ name: file, type, bytes }) => [file, type, bytes.toString('base64')]),
    );
    assert.match(wire, /^Subject: Message from the mail relay \[own\d\]\r$/m);
    assert.match(wire, /^Auto-Submitted: auto-generated\r$/m);
    assert.match(wire, /^Reply-To: <postmaster@clinic\.example>\r$/m);
  }
});

test('without a usable certificate nothing is queued, written or told (P3); while nobody knows, nothing either (P5)', needs, async (t) => {
  const { ownMail, store, site, written } = await makeSetting(t);
  const events = (id: string) => [{ event: 'certificate-tried', queue_id: id, recipient: 'nobody@clinic.example' }] as const;
  const message = { subject: 'SecretSubject', text: 'SecretWord', events };
  await assert.rejects(ownMail.send({ ...message, recipient: mailboxOf('nobody@clinic.example') }), { code: 'certificate-missing' });
  await assert.rejects(ownMail.send({ ...message, recipient: mailboxOf('down@clinic.example') }), { code: 'lookup-unavailable' });
  assert.deepEqual(await store.list({}, 10), []);
  assert.deepEqual(readdirSync(site.paths.bodies), []);
  await store.close();
  assert.doesNotMatch(written(), /Secret|certificate-tried/);
});

test('its events are written with it, under its queue id; it has no sender that could be answered', needs, async (t) => {
  const { ownMail, store, site } = await makeSetting(t);
  const id = await ownMail.send({
    recipient: anna,
    subject: 'x',
    text: 'y',
    events: (queueId) => [{ event: 'certificate-tried', queue_id: queueId, recipient: 'anna@clinic.example' }],
  });
  const lease = await claimOne(store);
  assert.deepEqual([lease.queueId, lease.sender, lease.originalSender, lease.recipient], [id, '', '', 'anna@clinic.example']);
  await store.close();
  const told = readFileSync(site.paths.audit, 'utf8');
  for (const event of ['accepted', 'sealed', 'certificate-tried']) assert.match(told, new RegExp(`"event":"${event}","queue_id":"${id}"`));
});

test('hostile words stay words, and a file name that no parameter holds sends nothing', needs, async (t) => {
  const { ownMail, receive, store } = await makeSetting(t);
  const subject = 'a\r\nBcc: eve@evil.example\r\n\r\n=?utf-8?q?b?=';
  await ownMail.send({ recipient: mailboxOf('"a\\"b c@"@clinic.example'), subject, text: '\r\n--=_own1\r\n\0x' });
  const { read, wire } = await receive('anna');
  assert.ok(!read.fields.includes('Bcc'));
  assert.ok(!wire.includes('eve@evil'));
  assert.equal(read.defects, 0);
  assert.match(read.text, /--=_own1\r\n\0x/);
  for (const name of ['a"b', 'a\r\nb', 'ä.p12', '../x', 'a b', '', 'x'.repeat(201)]) {
    const attachments = [{ name, type: 'application/pkcs12', bytes: Buffer.alloc(1) }];
    await assert.rejects(ownMail.send({ recipient: anna, subject: 'x', text: 'y', attachments }), { message: /file name/ });
  }
  assert.deepEqual(await store.list({}, 10), []);
});
