/** Login to an upstream, and the password that no line may hold. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conclude } from '../../src/delivery/conclude.ts';
import type { Result } from '../../src/delivery/result.ts';
import { makeRoute, outline } from '../../src/delivery/route.ts';
import { MemoryQueue } from './memory-queue.ts';
import { goodReplies, type Peer, scriptedUpstream } from './peer.ts';
import { log, outgoing, running, soon, upstreamAt } from './surroundings.ts';

const never = new AbortController().signal;
const PASSWORD = 'päss word\t"x"';
const login = { user: 'relay@clinic.example', password: PASSWORD };

const message = outgoing();

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const plain = base64(`\0${login.user}\0${PASSWORD}`);

/** Answers each line of AUTH by `answers` in turn, and everything else as it should be. */
function asking(mechanisms: string, answers: readonly string[], lines: string[] = []): (peer: Peer) => Promise<void> {
  return async (peer) => {
    const left = [...answers];
    let inAuth = false;
    peer.say(goodReplies.greeting);
    for (let line = await peer.line(); line !== undefined; line = await peer.line()) {
      lines.push(line);
      const verb = line.slice(0, 4);
      if (verb === 'AUTH' || inAuth) {
        const answer = left.shift() ?? '500 what?';
        inAuth = answer.startsWith('334');
        peer.say(`${answer}\r\n`);
      } else if (verb === 'EHLO') peer.say(`250-x\r\n250${mechanisms === '' ? ' SIZE 0' : ` AUTH ${mechanisms}`}\r\n`);
      else if (verb === 'DATA') {
        peer.say(goodReplies.data);
        await peer.message();
        peer.say(goodReplies.dot);
      } else if (verb === 'QUIT') {
        peer.say('221 bye\r\n');
        peer.socket.end();
      } else peer.say('250 ok\r\n');
    }
  };
}

async function attemptAt(script: (peer: Peer) => Promise<void>): Promise<Result> {
  await using server = await scriptedUpstream(script);
  const upstream = upstreamAt(server.port, {}, { secrets: async () => ({ login }) });
  const result = await upstream.attempt(message, never);
  await upstream.close();
  return result;
}

test('AUTH PLAIN where it is offered, else LOGIN; once a session', async () => {
  const lines: string[] = [];
  assert.equal((await attemptAt(asking('LOGIN PLAIN', ['235 2.7.0 ok'], lines))).kind, 'delivered');
  assert.deepEqual(lines.slice(0, 3), ['EHLO relay.test', `AUTH PLAIN ${plain}`, 'MAIL FROM:<forms@clinic.example>']);
  const other: string[] = [];
  const steps = ['334 VXNlcm5hbWU6', '334 UGFzc3dvcmQ6', '235 ok'];
  assert.equal((await attemptAt(asking('XOAUTH2 login', steps, other))).kind, 'delivered');
  assert.deepEqual(other.slice(1, 4), ['AUTH LOGIN', base64(login.user), base64(PASSWORD)]);
});

const refusals: readonly (readonly [what: string, mechanisms: string, answers: readonly string[], said: string])[] = [
  ['refused for good', 'PLAIN', [`535 5.7.8 no such login: ${PASSWORD}`], 'upstream-auth-refused: 535 5.7.8'],
  ['refused for now', 'PLAIN', ['454 4.7.0 try later'], 'upstream-auth-refused: 454 4.7.0'],
  ['the line echoed', 'PLAIN', [`501 AUTH PLAIN ${plain}`], 'upstream-auth-refused: 501'],
  ['the password echoed by LOGIN', 'LOGIN', ['334 x', '334 x', `535 ${base64(PASSWORD)} ${PASSWORD}`], 'upstream-auth-refused: 535'],
  ['a challenge nobody expects', 'PLAIN', ['334 what'], 'upstream-auth-refused: 334'],
  ['an end that comes too early', 'LOGIN', ['235 welcome'], 'upstream-auth-refused: 235'],
  ['a second answer with the password in it', 'PLAIN', [`235 ok\r\n535 ${PASSWORD}`], 'upstream-protocol: a reply that nobody asked for'],
  ['no mechanism that is known', 'XOAUTH2 CRAM-MD5 <b>', [], 'upstream-auth-missing: it offers XOAUTH2, CRAM-MD5'],
  ['no AUTH at all', '', [], 'upstream-auth-missing: it offers none'],
];

for (const [what, mechanisms, answers, said] of refusals) {
  test(`a login with ${what}: deferred, the next upstream is asked, and no line holds the password`, async () => {
    const lines: string[] = [];
    const result = await attemptAt(asking(mechanisms, answers, lines));
    assert.ok(result.kind === 'failed' && result.phase === 'auth');
    assert.equal(`${result.cause.code}: ${result.cause.detail ?? ''}`, said);
    assert.ok(!lines.some((line) => line.startsWith('MAIL')));
    const { lease } = new MemoryQueue().add();
    const { outcome, events } = conclude(
      lease,
      { upstream: 'u:25', result, again: 1000 },
      { retry: soon, now: Date.now(), random: Math.random },
    );
    assert.equal(outcome.kind, 'deferred');
    const written = JSON.stringify([outcome, events, outline(result)]);
    for (const secret of [PASSWORD, base64(PASSWORD), plain, 'word']) assert.ok(!written.includes(secret), written);
    await using first = await scriptedUpstream(asking(mechanisms, answers));
    await using second = await scriptedUpstream(asking('', []));
    const route = makeRoute([upstreamAt(first.port, {}, { secrets: async () => ({ login }) }), upstreamAt(second.port)], log);
    assert.equal((await route.attempt(message, never)).upstream, `127.0.0.1:${second.port}`);
    await route.close();
  });
}

test('a login that is quoted later in the session stands in no reason, audit event or log line', async () => {
  const script = (mechanism: string) => async (peer: Peer) => {
    peer.say(goodReplies.greeting);
    for (let line = await peer.line(); line !== undefined; line = await peer.line()) {
      const verb = line.slice(0, 4);
      if (verb === 'EHLO') peer.say(`250-x\r\n250 AUTH ${mechanism}\r\n`);
      else if (line === 'AUTH LOGIN' || line === base64(login.user)) peer.say('334 x\r\n');
      else if (verb === 'AUTH' || line === base64(PASSWORD)) peer.say('235 2.7.0 ok\r\n');
      else if (verb === 'RCPT') {
        const quotes = [PASSWORD, plain, base64(PASSWORD), plain.slice(0, 24), `[${PASSWORD}]`].join(' ');
        peer.say(`550-5.1.1 unknown ${quotes}\r\n550 5.1.1 ${'x'.repeat(20)} ${PASSWORD}\r\n`);
      } else peer.say('250 ok\r\n');
    }
  };
  for (const mechanism of ['PLAIN', 'LOGIN']) {
    const result = await attemptAt(script(mechanism));
    assert.ok(result.kind === 'rejected' && result.phase === 'rcpt');
    const { lease } = new MemoryQueue().add();
    const circumstances = { retry: soon, now: Date.now(), random: Math.random };
    const { outcome, events } = conclude(lease, { upstream: 'u:25', result, again: 1000 }, circumstances);
    assert.equal(outcome.kind, 'bounced');
    // As `delivered` does, what ends without says how the session was protected, and the reply.
    assert.equal(events[0]?.['tls'], 'off');
    assert.match(String(events[0]?.['reply']), /^550 5\.1\.1 unknown \*\*\*/);
    const written = JSON.stringify([outcome, events, outline(result)]);
    assert.match(written, /550 5\.1\.1 unknown \*\*\*/);
    for (const secret of ['word', base64(PASSWORD).slice(0, 12), plain.slice(0, 24)]) assert.ok(!written.includes(secret), written);
  }
});

test('a rotated password counts with the next connection, and the mail that waited goes out', async () => {
  let password = 'old';
  const script = (peer: Peer): Promise<void> => asking('PLAIN', [password === 'new' ? '235 ok' : '535 no'])(peer);
  await using server = await scriptedUpstream(script);
  const queue = new MemoryQueue();
  const row = queue.add();
  let clock = 1_000_000;
  const upstream = upstreamAt(server.port, { now: () => clock }, { secrets: async () => ({ login: { user: 'u', password } }) });
  await using _ = running(queue, [upstream]);
  await queue.until(() => row.settled === 1);
  assert.match(row.reason ?? '', /4\.7\.8 the upstream refused the login: 535 \(upstream-auth-refused at auth\)$/);
  password = 'new';
  clock += 3_600_000;
  await queue.until(() => row.state === 'delivered');
});
