/** Rules that do more than seal, from a form's dialogue to what the upstream is handed. */
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeHoldPair } from '../../src/certificates/hold.ts';
import { certificatePem } from '../../src/certificates/pem.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import { makeSite, type Site } from './site.ts';
import { send } from './submit.ts';
import { type Delivery, keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };

/** The audit log as the relay left it. */
async function auditOf(site: Site): Promise<(name: string) => Record<string, unknown>[]> {
  const lines = (await readFile(join(site.data, 'audit.jsonl'), 'utf8')).split('\n').filter((line) => line !== '');
  const all = lines.map((line): Record<string, unknown> => JSON.parse(line));
  return (name) => all.filter(({ event }) => event === name);
}

const subject = { replace: 'New message' };
const rules = [
  { name: 'closed', when: { recipient: 'closed@clinic.example' }, then: 'refuse', text: 'moved away' },
  { name: 'no-bills', when: { recipient: 'otto@clinic.example', subject: '/rechnung/i' }, then: 'refuse' },
  { name: 'news', when: { recipient: '*@gmail.example', subject: '/newsletter/i' }, then: 'pass' },
  { name: 'kept', when: { recipient: 'anna@clinic.example' }, then: 'seal', subject, archive: 'ben@clinic.example' },
  { name: 'everything', then: 'seal', subject },
];

const letter = [
  'From: forms@clinic.example',
  'To: anna@clinic.example',
  'Bcc: otto@clinic.example, carla@clinic.example',
  'Message-ID: <1@web>',
  'Subject: Newsletter mit Rechnung',
  'X-Sealpost-Rule: everything',
  '',
  '.one dot',
  '.',
  'Kanarienvogel',
  '',
].join('\r\n');

test(
  'split: sealed, archived, passed and refused in one message, each told of in the audit log (A2, A11, A16, P8)',
  needsOpenssl,
  async (t) => {
    const upstream = await keepingUpstream(t);
    const config = { mixed: 'split', notices: { domains: ['clinic.example'] } };
    const site = await makeSite(t, { upstreamPort: upstream.port, rules, config });
    const relay = await site.serve();
    const id = await send(
      relay.port,
      ['anna@clinic.example', 'otto@clinic.example', 'visitor@gmail.example', 'carla@clinic.example'],
      letter,
    );
    await until('four copies and two notices', () => upstream.deliveries().length === 6);
    const to = (address: string): string => {
      const [found, ...others] = upstream.deliveries().filter(({ recipient }) => recipient === address);
      assert.ok(found !== undefined && others.length === 0, address);
      return found.octets.toString('latin1');
    };

    const passed = to('visitor@gmail.example');
    assert.match(
      passed,
      /^Received: from web\.clinic\.example[^]*?\r\nFrom: forms@clinic\.example\r\nTo: anna@clinic\.example\r\nMessage-ID/,
    );
    assert.ok(passed.endsWith('\r\nSubject: Newsletter mit Rechnung\r\n\r\n..one dot\r\n..\r\nKanarienvogel\r\n'), passed);
    assert.doesNotMatch(passed, /[^\r]\n|\r[^\n]/);

    const program = await openssl.start(site.readers);
    t.after(() => program.close());
    for (const name of ['anna', 'ben', 'carla'] as const) {
      const octets = to(`${name}@clinic.example`);
      const entity = (await program.open(Buffer.from(octets, 'latin1'), site.readers.people[name])).toString();
      assert.equal(entity, 'Subject: Newsletter mit Rechnung\r\n\r\n.one dot\r\n.\r\nKanarienvogel\r\n');
      assert.doesNotMatch(octets, name === 'ben' ? /carla|otto/ : /ben@|otto/, `P8 what ${name} gets names somebody else`);
    }
    for (const reader of ['forms@clinic.example', 'postmaster@clinic.example']) {
      const notice = to(reader);
      assert.match(notice, /^Final-Recipient: rfc822; otto@clinic\.example\r$/m);
      assert.match(notice, /a rule of the relay refuses it/);
      assert.doesNotMatch(notice, /Kanarienvogel|Newsletter|ben@|carla/);
    }

    await relay.stop();
    const events = await auditOf(site);
    const of = (name: string): unknown[] => events(name).map(({ recipient, rule }) => [recipient, rule]);
    assert.deepEqual(of('passed'), [['visitor@gmail.example', 'news']]);
    assert.deepEqual(of('archived'), [['ben@clinic.example', 'kept']]);
    assert.deepEqual(of('bounced'), [['otto@clinic.example', 'no-bills']]);
    assert.deepEqual(of('sealed'), [
      ['anna@clinic.example', 'kept'],
      ['carla@clinic.example', 'everything'],
      ['ben@clinic.example', 'kept'],
    ]);
    const [bounced] = events('bounced');
    assert.ok(events('notice').every(({ queue_id: notice, about }) => notice === bounced?.['notice'] && about === id));
    assert.doesNotMatch(relay.log() + JSON.stringify(events('accepted')), /Kanarienvogel|Newsletter/);
  },
);

test('all_or_none: one refusal at DATA refuses all, nothing is sent, and each reply names the rule', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port, rules });
  const relay = await site.serve();
  const client = await dialogue(relay.port);
  t.after(() => client.close());
  await client.expect(/^220/);
  await client.ask('EHLO web.clinic.example', /^250/);
  await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
  await client.ask('RCPT TO:<closed@clinic.example>', /^550 5\.7\.1 .*moved away \(rule closed\)$/);
  await client.ask('RCPT TO:<visitor@gmail.example>', /^250/);
  await client.ask('RCPT TO:<otto@clinic.example>', /^250/);
  await client.ask('DATA', /^354/);
  client.send(letter.replaceAll('\r\n.', '\r\n..'));
  await client.ask('.', /^550 5\.7\.1 .*rule no-bills$/);
  // The next message of the session is not hurt by it.
  await send(relay.port, ['visitor@gmail.example'], letter);
  await until('one delivery', () => upstream.deliveries().length === 1);
  await relay.stop();
  assert.equal((await auditOf(site))('accepted').length, 1);
});

test(
  'held by SMTP: the form hears 250, the upstream nothing, and the disk holds nothing that can be read (P2)',
  needsOpenssl,
  async (t) => {
    const upstream = await keepingUpstream(t);
    const held = [
      { name: 'ready', when: { sealed: true }, then: 'pass' },
      { name: 'patients', then: 'seal', subject: 'keep', missing: 'hold' },
    ];
    const site = await makeSite(t, { upstreamPort: upstream.port, rules: held });
    const { certificate } = await makeHoldPair('the test', Date.now());
    await writeFile(join(site.dir, 'keys/hold.pem'), certificatePem(certificate));
    const relay = await site.serve();
    const id = await send(relay.port, ['anna@clinic.example', 'dora@clinic.example'], letter);
    // The operator is told that something is held, too.
    const toAnna = (): Delivery[] => upstream.deliveries().filter(({ recipient }) => recipient === 'anna@clinic.example');
    await until('the copy of anna', () => toAnna().length === 1);
    const sealed = toAnna()[0]?.octets ?? Buffer.alloc(0);

    // What somebody else sealed to anna goes on as it is; forged, it is sealed like any other (A12).
    await send(relay.port, ['anna@clinic.example'], sealed);
    // Two messages may overtake each other on their way.
    await until('what came sealed', () => toAnna().length === 2);
    const forged =
      'Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n\r\nS2FuYXJpZW52b2dlbA==\r\n';
    await send(relay.port, ['anna@clinic.example'], forged);
    await until('three deliveries', () => toAnna().length === 3);
    const bodies = toAnna().map(({ octets }) => octets.subarray(octets.indexOf('\r\n\r\n')));
    assert.ok(bodies[1]?.equals(bodies[0] ?? Buffer.alloc(0)));
    const program = await openssl.start(site.readers);
    t.after(() => program.close());
    const opened = await program.open(toAnna()[2]?.octets ?? Buffer.alloc(0), site.readers.people.anna);
    assert.equal(opened.toString(), forged);

    await relay.stop();
    const events = await auditOf(site);
    assert.partialDeepStrictEqual(events('held'), [
      { queue_id: id, recipient: 'dora@clinic.example', rule: 'patients', because: 'missing' },
    ]);
    assert.deepEqual(
      events('passed').map(({ came_sealed: came }) => came),
      [true],
    );
    assert.ok(events('delivered').every(({ recipient }) => recipient !== 'dora@clinic.example'));
    for (const file of await readdir(site.data, { recursive: true, withFileTypes: true })) {
      if (!file.isFile()) continue;
      const octets = await readFile(join(file.parentPath, file.name));
      assert.ok(!octets.includes('Kanarienvogel'), file.name);
    }
  },
);
