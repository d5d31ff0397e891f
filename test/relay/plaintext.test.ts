/** P2: a canary in body, Subject, an X- field and a file name is found on no disk, in no log, at no time. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { make } from '../certificates/openssl.ts';
import { findCanary } from '../faults/canary.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { goodReplies, type Replies } from '../delivery/peer.ts';
import { makeSite, type Site } from './site.ts';
import { send } from './submit.ts';
import { type KeepingUpstream, keepingUpstream } from './upstream.ts';

const CANARY = 'canary-7f3a9c51e2';
const needs = (programs: Record<string, string>) => ({ skip: missingPrograms(programs) ?? false });

/** `padding` makes it large enough for a body file. */
const mail = (padding: number): string =>
  [
    `Subject: ${CANARY}`,
    `X-Patient: ${CANARY}`,
    `Comments: ${CANARY}`,
    `Thread-Topic: ${CANARY}`,
    `Content-Type: multipart/mixed; boundary="${CANARY}"`,
    '',
    `--${CANARY}`,
    `Content-Disposition: attachment; filename="${CANARY}.pdf"`,
    '',
    `${CANARY}\r\n`.repeat(padding),
    `--${CANARY}--`,
    '',
  ].join('\r\n');

test(
  'P2 A10 a canary is found nowhere: while queued, after a kill, after a refusal, after delivery',
  needs({ openssl: 'openssl', env: 'coreutils' }),
  async (t) => {
    const replies: { greeting: string | undefined } & Replies = { greeting: undefined };
    const upstream = await keepingUpstream(t, replies);
    const site = await makeSite(t, { upstreamPort: upstream.port, config: { retry: { first: '1s', longest: '1s', max_age: '1h' } } });
    const temporary = join(site.dir, 'tmp');
    await mkdir(temporary);
    const withTemporary = ['env', `TMPDIR=${temporary}`];
    const searched = [site.data, temporary];
    const search = async (when: string): Promise<void> => assert.deepEqual(await findCanary(searched, CANARY), [], when);

    // The search itself must be able to find it.
    await writeFile(join(temporary, 'planted'), Buffer.from(mail(1)).toString('base64'));
    assert.ok((await findCanary(searched, CANARY)).length > 0);
    await writeFile(join(temporary, 'planted'), '');

    const first = await site.serve(withTemporary);
    await send(first.port, ['anna@clinic.example', 'ben@clinic.example'], mail(1));
    await send(first.port, ['anna@clinic.example'], mail(20_000));
    await search('while queued');
    await leaveMidway(first.port);
    await assert.rejects(send(first.port, ['anna@clinic.example'], `${mail(1)}\0\r\n`), /550 5\.6\.0/);
    await assert.rejects(send(first.port, ['nobody@clinic.example'], mail(1)));
    await search('after a client that left, and refusals');
    await first.kill();
    await search('after a kill');

    replies.greeting = goodReplies.greeting;
    const second = await site.serve(withTemporary);
    await until('three deliveries', () => upstream.deliveries().length === 3);
    await second.stop();
    await search('after delivery');
    for (const { octets } of upstream.deliveries()) assert.ok(!octets.includes(CANARY), 'on the wire');
    for (const log of [first.log(), second.log()]) assert.ok(!log.includes(CANARY), 'in the log');
  },
);

async function leaveMidway(port: number): Promise<void> {
  const client = await dialogue(port);
  await client.expect(/^220/);
  for (const line of ['EHLO x', 'MAIL FROM:<a@clinic.example>', 'RCPT TO:<anna@clinic.example>']) await client.ask(line, /^250/);
  await client.ask('DATA', /^354/);
  client.send(mail(20_000));
  client.reset();
}

const PASSWORD = 'password-90c1d4be77';
const OTTO = 'otto@clinic.example';
const tracedRules = [
  { name: 'waits', when: { sender: 'hold@clinic.example' }, then: 'hold', subject: { replace: 'held [{queue_id}]' } },
  { name: 'passes', when: { recipient: '*@list.example' }, then: 'pass' },
  { name: 'everything', then: 'seal', subject: { replace: 'sealed [{queue_id}]' }, missing: 'refuse' },
];

/** With hold, pass to the loopback, notices, and a listener with TLS and a login; its upstream has no mailbox for Otto. */
async function tracedSite(t: TestContext): Promise<{ site: Site; upstream: KeepingUpstream; secrets: readonly string[] }> {
  const upstream = await keepingUpstream(t, ({ commands }) =>
    Object.defineProperty({ ...goodReplies }, 'rcpt', {
      enumerable: true,
      get: () => (commands.at(-1)?.includes(OTTO) === true ? '550 5.1.1 no such mailbox\r\n' : goodReplies.rcpt),
    }),
  );
  const plain = { host: '127.0.0.1', port: 0 };
  const secure = { ...plain, tls: 'implicit', cert: 'keys/relay.pem', key: 'file:keys/relay.key', auth: 'required' };
  const config = {
    listen: [plain, secure],
    clients: { networks: ['127.0.0.0/8'], users: 'users.yaml' },
    notices: { domains: ['clinic.example'] },
    retry: { first: '1s', longest: '1s', max_age: '1h' },
  };
  const site = await makeSite(t, { upstreamPort: upstream.port, config, rules: tracedRules });
  make(join(site.dir, 'keys'), { name: 'relay', extensions: ['subjectAltName=IP:127.0.0.1'] });
  await writeFile(join(site.dir, 'password'), `${PASSWORD}\n`);
  await site.sealpost('users', 'add', 'forms', '--password-file', join(site.dir, 'password'), '--sender', '*@clinic.example');
  await site.sealpost('queue', 'hold-key');
  const key = (await readFile(join(site.dir, 'keys/relay.key'), 'latin1')).split('\n')[1] ?? '';
  assert.ok(key.length > 40);
  const said = [`\0forms\0${PASSWORD}`, PASSWORD].map((text) => Buffer.from(text).toString('base64'));
  return { site, upstream, secrets: [CANARY, Buffer.from(CANARY).toString('base64'), PASSWORD, ...said, key] };
}

/** By sealing, hold, pass and a bounce, small and as a file of the queue, over TLS with a login and without. */
test('P2 no system call hands plaintext to a regular file', needs({ openssl: 'openssl', strace: 'strace' }), async (t) => {
  const { site, upstream, secrets } = await tracedSite(t);
  const trace = join(site.dir, 'trace');
  const calls = 'trace=read,recvfrom,write,pwrite64,writev,pwritev,pwritev2';
  const relay = await site.serve(['strace', '-f', '-y', '-s', '100000', '-e', calls, '-o', trace]);
  const ports = (): number[] => [...relay.log().matchAll(/"port":(\d+),"msg":"listening"/g)].map(([, port]) => Number(port));
  await until('both listen', () => ports().length === 2);
  const to = (recipient: string): number => upstream.deliveries().filter((one) => one.recipient === recipient).length;
  for (const padding of [1, 20_000]) {
    await send(relay.port, ['anna@clinic.example'], mail(padding));
    await send(relay.port, ['all@list.example'], mail(padding));
    await send(relay.port, ['anna@clinic.example'], mail(padding), { sender: 'hold@clinic.example' });
    await send(ports()[1] ?? 0, ['anna@clinic.example'], mail(padding), { login: ['forms', PASSWORD], tls: {} });
  }
  await send(relay.port, [OTTO], mail(1), { sender: 'anna@clinic.example' });
  const notices = (): number => upstream.deliveries().filter(({ sender, recipient }) => sender === '' && recipient !== OTTO).length;
  await until('sealed, passed and told of', () => to('anna@clinic.example') >= 5 && to('all@list.example') === 2 && notices() > 0, 30_000);
  assert.match(await site.sealpost('queue', 'stats'), /held 2,/);
  await relay.stop();
  const lines = (await readFile(trace, 'latin1')).split('\n').filter((line) => secrets.some((secret) => line.includes(secret)));
  const isWrite = (line: string): boolean => /^\d+\s+p?write/.test(line);
  const toPeer = (line: string): boolean => /^\d+\s+\w+\(\d+<(?:socket|pipe|anon_inode|TCP)/.test(line);
  assert.ok(
    lines.some((line) => !isWrite(line) && line.includes(CANARY)),
    'the trace shows the message coming in',
  );
  assert.ok(
    lines.some((line) => isWrite(line) && toPeer(line)),
    'and going out where a rule passes it',
  );
  assert.ok(
    lines.some((line) => !isWrite(line) && line.includes(secrets.at(-1) ?? '')),
    'and the key being read',
  );
  assert.deepEqual(
    lines.filter((line) => isWrite(line) && !toPeer(line)).map((line) => line.slice(0, 120)),
    [],
  );
  for (const secret of secrets) assert.ok(!relay.log().includes(secret), 'in the log');
});
