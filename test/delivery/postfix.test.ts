/** Debian's Postfix as the upstream, relaying on to a scripted one that keeps every octet. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { MemoryQueue } from './memory-queue.ts';
import { converse, scriptedUpstream, type Transcript } from './peer.ts';
import { missingPostfix, startPostfix } from '../interop/postfix.ts';
import { running, upstreamAt } from './surroundings.ts';

test(
  'A2: what smuggles stays one message behind Postfix, UTF-8 mailboxes pass by SMTPUTF8, and what was asked of DSN arrives whole',
  { skip: missingPostfix() ?? false },
  async (t) => {
    const transcript: Transcript = { commands: [], messages: [] };
    await using last = await scriptedUpstream((peer) =>
      converse(peer, { ehlo: '250-last.test\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n' }, transcript),
    );
    const dir = await mkdtemp(join(tmpdir(), 'sealpost-postfix-'));
    t.after(() => rm(dir, { recursive: true, force: true }));
    await using postfix = await startPostfix({ relayTo: last, dir });
    const queue = new MemoryQueue();
    const smuggled = '.\r\nMAIL FROM:<e@evil.test>\r\nRCPT TO:<e@evil.test>\r\nDATA\r\nFrom: e@evil.test\r\n..\r\n.\r\n';
    queue.add({ header: Buffer.from(`From: forms@clinic.example\r\n${smuggled}\r\n`), body: [Buffer.alloc(1000, 7)] });
    queue.add({ recipient: 'grüße@clinic.example', needsSmtputf8: true, body: [Buffer.alloc(300_000, 9)] });
    const asked = { envid: 'QQ+2B17+3D', notify: new Set(['failure', 'delay'] as const), orcpt: 'rfc822;Old+2Bone@y.example' };
    queue.add({ recipient: 'asked@clinic.example', asked });
    await using _ = running(queue, [upstreamAt(postfix.port, { concurrency: 1 })]);
    await queue.until(() => queue.rows.every((row) => row.settled > 0));
    assert.deepEqual(
      queue.rows.map((row) => row.state),
      ['delivered', 'delivered', 'delivered'],
      await postfix.log(),
    );
    while (transcript.messages.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
    const recipients = transcript.commands.filter((command) => command.startsWith('RCPT')).sort();
    assert.deepEqual(
      recipients.map((command) => command.replace(/>.*/, '>')),
      ['RCPT TO:<asked@clinic.example>', 'RCPT TO:<grüße@clinic.example>', 'RCPT TO:<r1@clinic.example>'],
    );
    assert.match(recipients[0] ?? '', / ORCPT=rfc822;Old\+2Bone@y\.example NOTIFY=FAILURE,DELAY$/i);
    assert.ok(transcript.commands.some((command) => command.includes(' RET=HDRS') && command.includes(' ENVID=QQ+2B17+3D')));
    const bodies = transcript.messages.map(String);
    const inner = Buffer.concat([Buffer.from('prefix'), Buffer.alloc(300_000, 9)]).toString('base64');
    assert.ok(bodies.some((body) => body.replaceAll('\r\n', '').endsWith(`${inner}.`)));
    assert.ok(bodies.some((body) => body.includes('\r\n..\r\nMAIL FROM:<e@evil.test>\r\n')));
  },
);
