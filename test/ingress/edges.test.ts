/** Where logins, TLS, proxies and rates meet. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { makePenalties } from '../../src/ingress/penalty.ts';
import { noOpenssl } from '../certificates/openssl.ts';
import { LOOPBACK } from '../interop/ports.ts';
import { dialogue, type Dialogue } from './dialogue.ts';
import { makeFront } from './front.ts';
import { handIn, makeClientCertificate, makeSecureFront, makeUsers, plain } from './secure.ts';
import { makeUserSite, quickHash } from './users/site.ts';

const MINUTE = 60_000;

async function greeted(t: TestContext, port: number): Promise<Dialogue> {
  const client = await dialogue(port);
  t.after(() => client.close());
  await client.expect(/^220/);
  await client.ask('EHLO client.example', /^250-/);
  return client;
}

test('A34: 1,000 wrong passwords: ten are hashed, all others told to come back, and the script beside them goes on', async (t) => {
  const site = await makeUserSite(t, [
    { name: 'forms', password: quickHash('right horse') },
    { name: 'web', password: quickHash('left horse') },
  ]);
  const front = await makeFront(t, { users: site.users, penalties: makePenalties(1) });
  const script = await greeted(t, front.port);
  await script.ask(`AUTH PLAIN ${plain('forms', 'right horse')}`, /^235/);
  const guess = (client: Dialogue, number: number, reply: RegExp): Promise<unknown> =>
    client.ask(`AUTH PLAIN ${plain(number % 2 === 0 ? 'forms' : 'nobody', `guess ${number}`)}`, reply);
  for (let number = 0; number < 9; number += 3) {
    const client = await greeted(t, front.port);
    for (const [index, reply] of [/^535 5\.7\.8 /, /^535 5\.7\.8 /, /^421 4\.7\.0 /].entries()) await guess(client, number + index, reply);
    await client.closed();
  }
  const guesser = await greeted(t, front.port);
  await guess(guesser, 9, /^535 5\.7\.8 /);
  for (let number = 10; number < 1000; number++) await guess(guesser, number, /^454 4\.7\.0 /);
  // P5: and so is who is right, and new there.
  const web = await greeted(t, front.port);
  await web.ask(`AUTH PLAIN ${plain('web', 'left horse')}`, /^454 4\.7\.0 /);
  assert.equal(site.hashes.length, 11);
  const next = await greeted(t, front.port);
  await next.ask(`AUTH PLAIN ${plain('forms', 'right horse')}`, /^235/);
  await handIn(next);
  assert.equal(front.taken[0]?.envelope.client.user?.name, 'forms');
  assert.doesNotMatch(JSON.stringify(front.log), /guess|horse/);
});

test('the rate of a user counts over sessions and addresses: 450, and later again', async (t) => {
  const site = await makeUserSite(t, [{ name: 'forms', password: quickHash('right horse'), rate: '2/min' }]);
  let ahead = 0;
  const front = await makeFront(t, { users: site.users, now: () => Date.now() + ahead });
  const send = async (): Promise<Dialogue> => {
    const client = await greeted(t, front.port);
    await client.ask(`AUTH PLAIN ${plain('forms', 'right horse')}`, /^235/);
    return client;
  };
  for (let message = 0; message < 2; message++) await handIn(await send());
  const third = await send();
  await third.ask('MAIL FROM:<a@x.example>', /^450 4\.7\.1 /);
  await handIn(await greeted(t, front.port));
  ahead = MINUTE + 1000;
  await handIn(third);
  assert.equal(front.taken.length, 4);
});

test('a file that vanished is answered 454, and mail without a login goes on', async (t) => {
  const site = await makeUserSite(t, [{ name: 'forms', password: quickHash('right horse') }]);
  const front = await makeFront(t, { users: site.users });
  await rm(site.file);
  await site.said('users file cannot be read, nobody can log in');
  const client = await greeted(t, front.port);
  await client.ask(`AUTH PLAIN ${plain('forms', 'right horse')}`, /^454 4\.7\.0 /);
  await handIn(client);
});

/** A proxy as haproxy is: its header goes out in one piece with the first octets of the client. */
async function startProxy(t: TestContext, to: number, header: string): Promise<number> {
  const proxy = createServer((client) => {
    const server = connect(to, LOOPBACK);
    client.once('data', (first: Buffer) => {
      server.write(Buffer.concat([Buffer.from(header), first]));
      client.pipe(server).pipe(client);
    });
    for (const socket of [client, server])
      socket.on('error', () => undefined).on('close', () => [client, server].forEach((end) => end.destroy()));
  });
  await new Promise<void>((resolve) => void proxy.listen(0, LOOPBACK, resolve));
  t.after(() => proxy.close());
  const bound = proxy.address();
  return bound !== null && typeof bound === 'object' ? bound.port : 0;
}

test('a PROXY header stands before implicit TLS, in one segment with the handshake', { skip: noOpenssl }, async (t) => {
  const front = await makeSecureFront(t, { tls: 'implicit', proxies: ['127.0.0.1'], networks: ['10.0.0.0/8'] });
  const port = await startProxy(t, front.port, 'PROXY TCP4 10.1.2.3 127.0.0.1 4660 465\r\n');
  const client = await dialogue(port, { tls: {} });
  t.after(() => client.close());
  await client.expect(/^220 /);
  await front.ehlo(client);
  await handIn(client);
  assert.deepEqual(front.taken[0]?.envelope.client, { address: '10.1.2.3', helo: 'client.example', tls: 'TLSv1.3', user: null });
});

test('a proxy on this machine does not make its clients loopback: no login in clear', { skip: noOpenssl }, async (t) => {
  const front = await makeSecureFront(t, { proxies: ['127.0.0.1'], networks: ['10.0.0.0/8'] });
  const client = await dialogue(front.port);
  t.after(() => client.close());
  client.send('PROXY TCP4 10.1.2.3 127.0.0.1 4660 25\r\n');
  await client.expect(/^220 /);
  assert.ok(!(await front.ehlo(client)).some((offer) => offer.startsWith('AUTH')));
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^538 /);
  await client.ask('MAIL FROM:<a@x.example>', /^530 /);
  await client.startTls();
  assert.ok((await front.ehlo(client)).some((offer) => offer.startsWith('AUTH')));
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  assert.equal(front.users.tried[0]?.client, '10.1.2.3', 'failures are counted for the client, not for the proxy');
});

test('A15: a client that is named by XCLIENT has neither the login nor the certificate of the proxy', { skip: noOpenssl }, async (t) => {
  const { cert, key, fingerprint } = makeClientCertificate({ name: 'proxy' });
  const users = makeUsers([{ name: 'form', password: 'secret', certificate: fingerprint }]);
  const front = await makeSecureFront(t, { users, clientCertificates: 'optional', xclients: ['127.0.0.1'], networks: ['192.0.2.1'] });
  const loggedIn = await front.greet();
  await front.ehlo(loggedIn);
  await loggedIn.startTls();
  await front.ehlo(loggedIn);
  await loggedIn.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  await loggedIn.ask('XCLIENT ADDR=203.0.113.5', /^220 /);
  await front.ehlo(loggedIn);
  await loggedIn.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
  await loggedIn.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  await handIn(loggedIn);
  const known = await front.greet();
  await front.ehlo(known);
  await known.startTls({ cert, key });
  await front.ehlo(known);
  await handIn(known);
  await known.ask('XCLIENT ADDR=203.0.113.5', /^220 /);
  await front.ehlo(known);
  await known.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
});

test('a client that XCLIENT says is elsewhere logs in under TLS only', { skip: noOpenssl }, async (t) => {
  const front = await makeSecureFront(t, { xclients: ['127.0.0.1'], networks: [] });
  const client = await front.greet();
  await front.ehlo(client);
  await client.ask('XCLIENT ADDR=203.0.113.5', /^220 /);
  assert.ok(!(await front.ehlo(client)).some((offer) => offer.startsWith('AUTH')));
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^538 /);
});

test('who was removed, or has another password, hands in nothing more in a session that is open', async (t) => {
  const site = await makeUserSite(t, [
    { name: 'forms', password: quickHash('right horse') },
    { name: 'web', password: quickHash('left horse') },
    { name: 'lab', password: quickHash('third horse') },
  ]);
  const front = await makeFront(t, { users: site.users });
  const [forms, web, lab] = [await greeted(t, front.port), await greeted(t, front.port), await greeted(t, front.port)];
  await forms.ask(`AUTH PLAIN ${plain('forms', 'right horse')}`, /^235/);
  await web.ask(`AUTH PLAIN ${plain('web', 'left horse')}`, /^235/);
  await lab.ask(`AUTH PLAIN ${plain('lab', 'third horse')}`, /^235/);
  for (const client of [forms, web, lab]) await handIn(client);
  const after = [
    { name: 'web', password: quickHash('new horse') },
    { name: 'lab', password: quickHash('third horse'), senders: ['*@lab.example'], rate: '1/min' },
  ];
  await site.write(after);
  await site.said('users file read');
  for (const client of [forms, web]) {
    await client.ask('MAIL FROM:<a@x.example>', /^421 4\.7\.0 your login has changed/);
    await client.closed();
  }
  // Who stays has the rights of today.
  await lab.ask('MAIL FROM:<a@x.example>', /^550 5\.7\.1/);
  await rm(site.file);
  await site.said('users file cannot be read, nobody can log in');
  await lab.ask('MAIL FROM:<a@lab.example>', /^454 4\.7\.0 /);
  await site.write(after);
  await site.said('users file read', 2);
  await lab.ask('MAIL FROM:<a@lab.example>', /^250/);
  assert.equal(front.taken.length, 3);
});
