/** P2: a canary in body, Subject, an X- field and a file name is found on no disk, in no log, at no time. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { findCanary } from '../faults/canary.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { goodReplies, type Replies } from '../delivery/peer.ts';
import { makeSite } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

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

test('P2 no system call hands plaintext to a regular file', needs({ openssl: 'openssl', strace: 'strace' }), async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port });
  const trace = join(site.dir, 'trace');
  const calls = 'trace=read,recvfrom,write,pwrite64,writev,pwritev,pwritev2';
  const relay = await site.serve(['strace', '-f', '-y', '-s', '100000', '-e', calls, '-o', trace]);
  await send(relay.port, ['anna@clinic.example'], mail(1));
  await send(relay.port, ['anna@clinic.example'], mail(20_000));
  await until('two deliveries', () => upstream.deliveries().length === 2);
  await relay.stop();
  const lines = (await readFile(trace, 'latin1')).split('\n').filter((line) => line.includes(CANARY));
  assert.ok(lines.length > 0, 'the trace shows the message coming in');
  const written = lines.filter((line) => /\bp?write/.test(line) && !/^\d+\s+\w+\(\d+<(?:socket|pipe|anon_inode|TCP)/.test(line));
  assert.deepEqual(
    written.map((line) => line.slice(0, 120)),
    [],
  );
});
