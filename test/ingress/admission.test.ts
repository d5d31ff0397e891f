import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noOpenssl } from '../certificates/openssl.ts';
import { elsewhere, handIn, makeClientCertificate, makeSecureFront, makeUsers, noElsewhere, plain } from './secure.ts';

const skip = noOpenssl;
const FAR = { host: elsewhere ?? '' };
const MAIL = 'MAIL FROM:<a@x.example>';

test(
  'A15: outside the networks nothing is taken without a login: not after RSET, EHLO, STARTTLS or a failed login',
  { skip: skip || noElsewhere },
  async (t) => {
    const front = await makeSecureFront(t);
    const client = await front.greet(FAR);
    await front.ehlo(client);
    await client.startTls();
    await client.ask(MAIL, /^503 5\.5\.1/);
    const refused = async (): Promise<void> => {
      await client.ask(MAIL, /^550 5\.7\.1 /);
      await client.ask('MAIL FROM:<>', /^550 5\.7\.1 /);
      await client.ask('RCPT TO:<b@y.example>', /^503 /);
      await client.ask('DATA', /^503 /);
    };
    await front.ehlo(client);
    await refused();
    await client.ask('RSET', /^250/);
    await refused();
    await client.ask(`AUTH PLAIN ${plain('form', 'wrong')}`, /^535/);
    await refused();
    await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
    await handIn(client);
    await client.ask('RSET', /^250/);
    await handIn(client);
  },
);

test('A15: a login in clear does not outlive STARTTLS', { skip }, async (t) => {
  const front = await makeSecureFront(t, { networks: ['192.0.2.99'] });
  const client = await front.greet();
  await front.ehlo(client);
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  await client.ask(MAIL, /^250/);
  await client.startTls();
  await client.ask('RCPT TO:<b@y.example>', /^503/);
  assert.ok((await front.ehlo(client)).includes('AUTH PLAIN LOGIN'));
  await client.ask(MAIL, /^550 5\.7\.1/);
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  await handIn(client);
});

test('A15: another listener asks anew: a login is of one session', { skip }, async (t) => {
  const front = await makeSecureFront(t, { networks: ['192.0.2.99'] });
  const first = await front.greet();
  await front.ehlo(first);
  await first.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  const second = await front.greet();
  await front.ehlo(second);
  await second.ask(MAIL, /^550 5\.7\.1/);
  await handIn(first);
});

test('auth: required: whoever did not log in hands in nothing, in clients.networks or not', { skip }, async (t) => {
  const front = await makeSecureFront(t, { auth: 'required' });
  const client = await front.greet();
  await front.ehlo(client);
  await client.ask(MAIL, /^530 5\.7\.0 authentication required$/);
  await client.ask('RSET', /^250/);
  await client.ask(MAIL, /^530 5\.7\.0/);
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  await handIn(client);
});

test('a user sends as the senders and to the recipients of its entry only', { skip }, async (t) => {
  const users = makeUsers([{ name: 'form', password: 'secret', senders: ['a@x.example'], recipients: ['b@y.example'] }]);
  const front = await makeSecureFront(t, { users });
  const client = await front.greet();
  await front.ehlo(client);
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  for (const sender of ['other@x.example', '']) await client.ask(`MAIL FROM:<${sender}>`, /^550 5\.7\.1 you may not send as that sender$/);
  await client.ask(MAIL, /^250/);
  await client.ask('RCPT TO:<foreign@z.example>', /^550 5\.7\.1 you may not send to that recipient$/);
  await client.ask('DATA', /^503/);
  await client.ask('RCPT TO:<B@Y.example>', /^250/);
  await client.ask('DATA', /^354/);
  await client.ask('x\r\n.', /^250/);
  assert.deepEqual(
    front.asked.map(({ recipient }) => recipient.address),
    ['B@y.example'],
  );
  // Without a login the networks decide, as before.
  const listed = await front.greet();
  await front.ehlo(listed);
  await listed.ask('MAIL FROM:<other@x.example>', /^250/);
});

const known = noOpenssl ? undefined : makeClientCertificate({ name: 'client-known' });
const unknown = noOpenssl ? undefined : makeClientCertificate({ name: 'client-unknown' });
const expired = noOpenssl ? undefined : makeClientCertificate({ name: 'client-expired', from: '20200101000000Z', to: '20210101000000Z' });
const users = () =>
  makeUsers([
    { name: 'script', certificate: known?.fingerprint ?? '' },
    { name: 'late', certificate: expired?.fingerprint ?? '' },
    { name: 'form', password: 'secret' },
  ]);

for (const tls of ['starttls', 'implicit'] as const) {
  test(`a client certificate that stands with a user logs that user in, without AUTH (${tls})`, { skip }, async (t) => {
    const front = await makeSecureFront(t, {
      tls,
      clientCertificates: 'optional',
      users: users(),
      networks: ['192.0.2.99'],
      auth: 'required',
    });
    const connect = async (certificate: typeof known) => {
      const shown = { cert: certificate?.cert, key: certificate?.key };
      const client = await front.greet(tls === 'implicit' ? { tls: shown } : {});
      await front.ehlo(client);
      if (tls === 'starttls') {
        await client.startTls(shown);
        await front.ehlo(client);
      }
      return client;
    };
    await handIn(await connect(known));
    const [taken] = front.taken;
    assert.deepEqual([taken?.envelope.client.user?.name, taken?.envelope.protocol], ['script', 'ESMTPS']);
    for (const certificate of [unknown, expired, undefined])
      await (await connect(certificate)).ask(MAIL, /^530 5\.7\.0 authentication required$/);
    // Where both are shown, AUTH says who it is.
    const both = await connect(known);
    await both.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
    await handIn(both);
    assert.equal(front.taken[1]?.envelope.client.user?.name, 'form');
  });
}

test(
  'client_certificates: required: without a known certificate no mail, in clear, by a password or in the networks',
  { skip },
  async (t) => {
    const front = await makeSecureFront(t, { clientCertificates: 'required', users: users() });
    const clear = await front.greet();
    await front.ehlo(clear);
    await clear.ask(MAIL, /^530 5\.7\.0 /);
    for (const shown of [unknown, expired, undefined]) {
      const client = await front.greet();
      await front.ehlo(client);
      await client.startTls({ cert: shown?.cert, key: shown?.key });
      await front.ehlo(client);
      await client.ask(MAIL, /^530 5\.7\.0 a client certificate that is known here is required$/);
      await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
      await client.ask(MAIL, /^530 5\.7\.0 a client certificate/);
    }
    const client = await front.greet();
    await front.ehlo(client);
    await client.startTls({ cert: known?.cert, key: known?.key });
    await front.ehlo(client);
    await handIn(client);
  },
);

test('P5: while the users cannot be read, a certificate is neither known nor unknown: 454', { skip }, async (t) => {
  for (const clientCertificates of ['optional', 'required'] as const) {
    const front = await makeSecureFront(t, { clientCertificates, users: users() });
    front.users.verdict = { kind: 'unavailable' };
    const client = await front.greet();
    await front.ehlo(client);
    await client.startTls({ cert: known?.cert, key: known?.key });
    await front.ehlo(client);
    await client.ask(MAIL, /^454 4\.7\.0 /);
  }
});

test('a listener that does not ask for certificates gets none', { skip }, async (t) => {
  const front = await makeSecureFront(t, { users: users(), networks: ['192.0.2.99'] });
  const client = await front.greet();
  await front.ehlo(client);
  await client.startTls({ cert: known?.cert, key: known?.key });
  await front.ehlo(client);
  await client.ask(MAIL, /^550 5\.7\.1/);
});
