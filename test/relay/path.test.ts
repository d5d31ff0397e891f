/** The relay as a process, from a script's dialogue to what an upstream is handed. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { dialogue } from '../ingress/dialogue.ts';
import { freePort, until } from '../interop/ports.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import { recipientInfos, serialNumberOf } from '../interop/readers.ts';
import { makeSite, type SiteOptions } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };

async function siteFor(t: TestContext, options: Omit<SiteOptions, 'upstreamPort'> = {}) {
  const upstream = await keepingUpstream(t);
  return { upstream, site: await makeSite(t, { upstreamPort: upstream.port, ...options }) };
}

test(
  'A16 To, Cc and two Bcc, one of them unknown: one 550 at RCPT, the others each get a message that names nobody else',
  needsOpenssl,
  async (t) => {
    const { upstream, site } = await siteFor(t, { people: ['anna', 'ben', 'otto'] });
    const relay = await site.serve();
    const client = await dialogue(relay.port);
    await client.expect(/^220/);
    await client.ask('EHLO web.clinic.example', /^250/);
    await client.ask('MAIL FROM:<forms@clinic.example>', /^250 2\.1\.0/);
    for (const name of ['anna', 'ben', 'otto']) await client.ask(`RCPT TO:<${name}@clinic.example>`, /^250 2\.1\.5/);
    await client.ask('RCPT TO:<nobody@clinic.example>', /^550 5\.7\.1 no usable certificate/);
    await client.ask('DATA', /^354/);
    client.send('To: anna@clinic.example\r\nCc: ben@clinic.example\r\nBcc: otto@clinic.example\r\nSubject: x\r\n\r\nbody\r\n');
    await client.ask('.', /^250 2\.0\.0 queued as [0-9a-z]{15}$/);
    await until('three deliveries', () => upstream.deliveries().length === 3);
    const serials = new Map<string, string>();
    for (const name of ['anna', 'ben', 'otto'] as const)
      serials.set(`${name}@clinic.example`, await serialNumberOf(site.readers.people[name].certificate));
    for (const { recipient, octets } of upstream.deliveries()) {
      const infos = await recipientInfos(octets);
      assert.deepEqual(
        infos.map(({ serial }) => serial),
        [serials.get(recipient)],
      );
      assert.ok(!octets.includes('otto'), 'the Bcc recipient is named in clear');
    }
    await relay.stop();
    assert.equal(relay.child.exitCode, 0);
  },
);

test('the queue is empty once all is delivered, and the audit log tells who got what', needsOpenssl, async (t) => {
  const { upstream, site } = await siteFor(t);
  const relay = await site.serve();
  await send(relay.port, ['anna@clinic.example', 'carla@clinic.example']);
  await until('two deliveries', () => upstream.deliveries().length === 2);
  await relay.stop();
  const lines = (await readFile(join(site.data, 'audit.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line): Record<string, unknown> => JSON.parse(line));
  assert.deepEqual(lines.map(({ event, recipient }) => [event, recipient].filter(Boolean).join(' ')).sort(), [
    'accepted',
    'config-loaded',
    'delivered anna@clinic.example',
    'delivered carla@clinic.example',
    'rules-loaded',
    'sealed anna@clinic.example',
    'sealed carla@clinic.example',
    'started',
    'stopped',
  ]);
  const sealed = lines.find(({ event, recipient }) => event === 'sealed' && recipient === 'carla@clinic.example');
  assert.equal(sealed?.['rule'], 'everything');
  assert.equal(sealed?.['key'], 'ecdh');
  const pem = await readFile(site.readers.people.carla.certificate, 'utf8');
  const fingerprint = (await succeed('openssl', ['x509', '-noout', '-fingerprint', '-sha256'], { input: Buffer.from(pem) })).toString();
  assert.equal(sealed?.['certificate_sha256'], fingerprint.replace(/^.*=/, '').replace(/[:\n]/g, '').toLowerCase());
});

test('a certificate dropped into the folder of a running relay is used within seconds', needsOpenssl, async (t) => {
  const { upstream, site } = await siteFor(t, { people: ['anna'] });
  const relay = await site.serve();
  await assert.rejects(send(relay.port, ['ben@clinic.example']), /550 5\.7\.1/);
  await succeed('cp', [site.readers.people.ben.certificate, join(site.dir, 'certs/recipients/ben.pem')]);
  await until('ben is known', () =>
    send(relay.port, ['ben@clinic.example']).then(
      () => true,
      () => false,
    ),
  );
  await until('a delivery', () => upstream.deliveries().length === 1);
});

test('a client that leaves in the middle of DATA leaves nothing behind', needsOpenssl, async (t) => {
  const { upstream, site } = await siteFor(t);
  const relay = await site.serve();
  const client = await dialogue(relay.port);
  await client.expect(/^220/);
  await client.ask('EHLO x', /^250/);
  await client.ask('MAIL FROM:<a@clinic.example>', /^250/);
  await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
  await client.ask('DATA', /^354/);
  // Larger than what stays in rows, so that a body file exists when the client goes.
  client.send(`Subject: x\r\n\r\n${'0123456789abcdef\r\n'.repeat(40_000)}`);
  client.reset();
  const next = await send(relay.port, ['anna@clinic.example']);
  await until('the whole message alone is delivered', () => upstream.deliveries().length === 1);
  assert.ok(upstream.deliveries()[0]?.octets.includes(next));
  await until('no body is left', async () => (await succeed('find', [join(site.data, 'bodies'), '-type', 'f'])).length === 0);
  await relay.stop();
});

test('a second relay on the same queue is refused at once, and says why', needsOpenssl, async (t) => {
  const { site } = await siteFor(t);
  const relay = await site.serve();
  await assert.rejects(site.serve(), /another sealpost owns the queue/);
  await send(relay.port, ['anna@clinic.example']);
});

test('queue retry after the upstream was mended delivers at once', needsOpenssl, async (t) => {
  const port = await freePort();
  const site = await makeSite(t, { upstreamPort: port });
  const relay = await site.serve();
  const id = await send(relay.port, ['anna@clinic.example']);
  await until('the first attempt', async () => /deferred +1/.test(await site.sealpost('queue', 'stats')));
  const upstream = await keepingUpstream(t, {}, port);
  await site.sealpost('queue', 'retry', id);
  await until('the delivery', () => upstream.deliveries().length === 1);
});
