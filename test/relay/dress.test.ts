/** Rules that change From, the envelope sender and the Message-ID, from a form's dialogue to what the upstream is handed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import { makeSite } from './site.ts';
import { send } from './submit.ts';
import { type Delivery, keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };

const outside = ({ octets }: Delivery): string => octets.toString('latin1', 0, octets.indexOf('\r\n\r\n') + 2);

test('each recipient by its own rule: another From, another MAIL FROM, a Message-ID of its own', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const subject = { replace: 'New form' };
  const rules = [
    {
      name: 'forms',
      when: { recipient: ['anna@clinic.example', 'otto@clinic.example'] },
      then: 'seal',
      subject,
      from: { replace: 'Clinic forms <forms@clinic.example>', original: 'reply_to' },
      envelope_from: 'bounces@clinic.example',
      message_id: 'per_recipient',
    },
    { name: 'plain', then: 'seal', subject },
  ];
  const site = await makeSite(t, { upstreamPort: upstream.port, rules });
  const relay = await site.serve();
  const form = 'From: Vera <vera@gmail.example>\r\nMessage-ID: <1@web>\r\nSubject: Fever\r\n\r\nbody\r\n';
  await send(relay.port, ['anna@clinic.example', 'otto@clinic.example', 'ben@clinic.example'], form);
  await until('three deliveries', () => upstream.deliveries().length === 3);
  const of = (name: string): Delivery => {
    const found = upstream.deliveries().find(({ recipient }) => recipient === `${name}@clinic.example`);
    assert.ok(found);
    return found;
  };
  const program = await openssl.start(site.readers);
  const ids = new Set<string>();
  for (const name of ['anna', 'otto'] as const) {
    assert.equal(of(name).sender, 'bounces@clinic.example');
    assert.match(outside(of(name)), /^From: Clinic forms <forms@clinic\.example>\r$/m);
    assert.match(outside(of(name)), /^Reply-To: Vera <vera@gmail\.example>\r$/m);
    assert.match(outside(of(name)), /^References: <1@web>\r$/m);
    ids.add(/^Message-ID: <[0-9a-z]{15}\.[0-9a-f]{16}@relay\.clinic\.example>\r$/m.exec(outside(of(name)))?.[0] ?? '');
    const entity = (await program.open(of(name).octets, site.readers.people[name])).toString();
    assert.equal(entity, 'From: Vera <vera@gmail.example>\r\nMessage-ID: <1@web>\r\nSubject: Fever\r\n\r\nbody\r\n');
  }
  assert.ok(ids.size === 2 && !ids.has(''), 'two readers, two ids');
  assert.equal(of('ben').sender, 'forms@clinic.example');
  assert.match(outside(of('ben')), /^From: Vera <vera@gmail\.example>\r\nMessage-ID: <1@web>\r$/m);
  assert.equal((await program.open(of('ben').octets, site.readers.people.ben)).toString(), 'Subject: Fever\r\n\r\nbody\r\n');
});

test('the null sender stays null', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const rule = { name: 'all', then: 'seal', subject: 'keep', envelope_from: 'bounces@clinic.example' };
  const site = await makeSite(t, { upstreamPort: upstream.port, rules: [rule] });
  const relay = await site.serve();
  await send(relay.port, ['anna@clinic.example'], undefined, { sender: '' });
  await until('a delivery', () => upstream.deliveries().length === 1);
  assert.equal(upstream.deliveries()[0]?.sender, '');
});
