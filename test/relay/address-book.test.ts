/** Aliases, groups and domain certificates through the real relay: what leaves is opened with openssl by each who should. */
import assert from 'node:assert/strict';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { until } from '../interop/ports.ts';
import { missingPrograms, run, succeed } from '../interop/programs.ts';
import { recipientInfos, serialNumberOf } from '../interop/readers.ts';
import type { ReaderName } from '../interop/fixtures.ts';
import { makeSite, type Site, type SiteOptions } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };
const message = 'Subject: x\r\n\r\nfor those who may read it\r\n';

async function siteFor(t: TestContext, options: Omit<SiteOptions, 'upstreamPort'>) {
  const upstream = await keepingUpstream(t);
  return { upstream, site: await makeSite(t, { upstreamPort: upstream.port, ...options }) };
}

async function opens({ readers }: Site, name: ReaderName, octets: Buffer): Promise<boolean> {
  const { certificate, key } = readers.people[name];
  const args = ['cms', '-decrypt', '-inform', 'SMIME', '-recip', certificate, '-inkey', key];
  const { code, stdout } = await run('openssl', args, { input: octets });
  return code === 0 && stdout.includes('for those who may read it');
}

async function fingerprintOf({ readers }: Site, name: ReaderName): Promise<string> {
  const text = await succeed('openssl', ['x509', '-noout', '-fingerprint', '-sha256', '-in', readers.people[name].certificate]);
  return text.toString().replace(/^.*=/, '').replace(/[:\n]/g, '').toLowerCase();
}

async function events({ data }: Site, ...names: readonly string[]): Promise<Record<string, unknown>[]> {
  const lines = (await readFile(join(data, 'audit.jsonl'), 'utf8')).trim().split('\n');
  return lines.map((line): Record<string, unknown> => JSON.parse(line)).filter(({ event }) => names.includes(String(event)));
}

test(
  'P8 P9 a group: one message that every member opens and nobody else; who has no certificate is left out, and that is told',
  needsOpenssl,
  async (t) => {
    const members = ['anna', 'ben', 'carla', 'dora'].map((name) => `${name}@clinic.example`);
    const { upstream, site } = await siteFor(t, {
      people: ['anna', 'otto', 'ben', 'carla'],
      config: { certificates: { groups: { 'info@clinic.example': members } } },
    });
    const relay = await site.serve();
    const id = await send(relay.port, ['Info@clinic.example'], message);
    await until('one delivery', () => upstream.deliveries().length === 1);
    const [delivery] = upstream.deliveries();
    assert.ok(delivery);
    assert.equal(delivery.recipient, 'Info@clinic.example');
    for (const name of ['anna', 'ben', 'carla'] as const) assert.ok(await opens(site, name, delivery.octets), name);
    for (const name of ['otto', 'dora'] as const) assert.equal(await opens(site, name, delivery.octets), false, name);
    const expected = await Promise.all(
      (['anna', 'ben', 'carla'] as const).map((name) => serialNumberOf(site.readers.people[name].certificate)),
    );
    const named = (await recipientInfos(delivery.octets)).map(({ serial }) => serial);
    assert.deepEqual([...named].sort(), [...expected].sort());
    await relay.stop();
    const told = await events(site, 'sealed', 'skipped');
    assert.deepEqual(
      told.map(({ event, queue_id, recipient, member, key }) => [event, queue_id, recipient, member, key]),
      [
        ['sealed', id, 'Info@clinic.example', 'anna@clinic.example', 'rsaes-pkcs1'],
        ['sealed', id, 'Info@clinic.example', 'ben@clinic.example', 'ecdh'],
        ['sealed', id, 'Info@clinic.example', 'carla@clinic.example', 'ecdh'],
        ['skipped', id, 'Info@clinic.example', 'dora@clinic.example', undefined],
      ],
    );
    assert.equal(told[1]?.['certificate_sha256'], await fingerprintOf(site, 'ben'));
    assert.equal(told[1]?.['revocation'], 'unknown: the certificate names no list; it names no OCSP responder');
    assert.match(String(told[1]?.['certificate_source']), /^files .*certs\/recipients: recipients\/ben\.pem$/);
    assert.match(relay.log(), /"lacking":\["dora@clinic\.example"\],"msg":"members of a group have no certificate"/);
  },
);

test('a group of whom nobody has a certificate is refused; one who gets one is a member within seconds', needsOpenssl, async (t) => {
  const { upstream, site } = await siteFor(t, {
    people: ['otto'],
    config: { certificates: { groups: { 'info@clinic.example': ['anna@clinic.example', 'ben@clinic.example'] } } },
  });
  const relay = await site.serve();
  await assert.rejects(send(relay.port, ['info@clinic.example'], message), /550 5\.7\.1 no usable certificate/);
  await copyFile(site.readers.people.ben.certificate, join(site.dir, 'certs/recipients/ben.pem'));
  await until('a member', () =>
    send(relay.port, ['info@clinic.example'], message).then(
      () => true,
      () => false,
    ),
  );
  await until('one delivery', () => upstream.deliveries().length === 1);
  assert.ok(await opens(site, 'ben', upstream.deliveries()[0]?.octets ?? Buffer.alloc(0)));
});

test('an alias: the mail of one address sealed to the certificate of another', needsOpenssl, async (t) => {
  const { upstream, site } = await siteFor(t, {
    people: ['anna'],
    config: { certificates: { aliases: { 'first_last@clinic.example': 'anna@clinic.example' } } },
  });
  const relay = await site.serve();
  await send(relay.port, ['first_last@clinic.example'], message);
  await until('one delivery', () => upstream.deliveries().length === 1);
  const [delivery] = upstream.deliveries();
  assert.equal(delivery?.recipient, 'first_last@clinic.example');
  assert.ok(await opens(site, 'anna', delivery.octets));
  await relay.stop();
  const [sealed] = await events(site, 'sealed');
  assert.equal(sealed?.['recipient'], 'first_last@clinic.example');
  assert.equal(sealed?.['alias_of'], 'anna@clinic.example');
});

test('P9 a domain certificate is used by the rules that say so, and the audit log says that it is one', needsOpenssl, async (t) => {
  const seal = { then: 'seal', subject: 'keep' } as const;
  const { upstream, site } = await siteFor(t, {
    people: ['anna', 'otto'],
    config: { certificates: { domains: { 'clinic.example': 'otto@clinic.example', 'partner.example': 'otto@clinic.example' } } },
    rules: [
      { name: 'always', when: { sender: 'gateway@clinic.example' }, ...seal, domain_certificate: 'only' },
      { name: 'else', when: { sender: 'forms@clinic.example' }, ...seal, domain_certificate: 'fallback' },
      { name: 'persons', ...seal },
    ],
  });
  const relay = await site.serve();
  await assert.rejects(
    send(relay.port, ['ed@partner.example'], message, { sender: 'x@clinic.example' }),
    /550 5\.7\.1 no usable certificate/,
  );
  await send(relay.port, ['ed@partner.example', 'anna@clinic.example'], message);
  await send(relay.port, ['anna@clinic.example'], message, { sender: 'gateway@clinic.example' });
  await until('three deliveries', () => upstream.deliveries().length === 3);
  for (const { recipient, sender, octets } of upstream.deliveries()) {
    const byDomain = recipient === 'ed@partner.example' || sender === 'gateway@clinic.example';
    assert.equal(await opens(site, 'otto', octets), byDomain);
    assert.equal(await opens(site, 'anna', octets), !byDomain);
  }
  await relay.stop();
  const told = (await events(site, 'sealed')).map(
    ({ recipient, rule, domain_certificate: by }) => `${String(rule)}: ${String(recipient)} by ${String(by)}`,
  );
  assert.deepEqual(told.sort(), [
    'always: anna@clinic.example by otto@clinic.example',
    'else: anna@clinic.example by undefined',
    'else: ed@partner.example by otto@clinic.example',
  ]);
  assert.match(
    await site.sealpost('explain', '--from', 'forms@clinic.example', '--to', 'ed@partner.example'),
    /certificate {2}none that can be used\n(?:.*\n)*? +the certificate of the domain: otto@clinic\.example\n +used: SHA-256/,
  );
});
