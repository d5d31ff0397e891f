/** TLS to an upstream: verified or not at all. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import type { Result } from '../../src/delivery/result.ts';
import { makeRoute } from '../../src/delivery/route.ts';
import type { UpstreamOptions } from '../../src/delivery/upstream.ts';
import { noOpenssl } from '../certificates/openssl.ts';
import { converse, type Peer, scriptedUpstream, type Transcript } from './peer.ts';
import { log, outgoing, outgoingOf, timeouts, upstreamAt } from './surroundings.ts';
import { converseStartTls, type Identities, makeIdentities, newStartTlsTranscript, type TlsPeerOptions, underTls } from './tls-peer.ts';

const skip = noOpenssl;
const identities: Identities | undefined = skip === false ? makeIdentities() : undefined;
const never = new AbortController().signal;

function all(): Identities {
  assert.ok(identities !== undefined);
  return identities;
}

const trusting = (more: Partial<UpstreamOptions> = {}): Partial<UpstreamOptions> => ({
  tls: 'starttls',
  secrets: async () => ({ ca: all().ca }),
  ...more,
});

async function attemptAt(
  script: (peer: Peer, index: number) => Promise<void>,
  options: Partial<UpstreamOptions>,
  message = outgoing(),
): Promise<{ result: Result; wire: string }> {
  await using server = await scriptedUpstream(script);
  const upstream = upstreamAt(server.port, {}, options);
  const result = await upstream.attempt(message, never);
  await upstream.close();
  return { result, wire: server.peers.map((peer) => peer.received.toString('latin1')).join('') };
}

const newTranscript = (): Transcript => ({ commands: [], messages: [] });

const inShort = (result: Result): string =>
  result.kind === 'failed'
    ? `${result.phase} ${result.cause.code} ${result.cause.reply.status}: ${result.cause.detail ?? ''}`
    : result.kind === 'delivered'
      ? `delivered ${result.tls?.version ?? 'in clear'} ${result.tls?.verified === true ? 'verified' : 'unverified'}`
      : result.kind;

test('STARTTLS to a name, implicit TLS to an address: EHLO anew under TLS, and everything of the message there', { skip }, async () => {
  const transcript = newStartTlsTranscript();
  const named = await attemptAt((peer) => converseStartTls(peer, all().good, {}, transcript), trusting({ host: 'localhost' }));
  assert.equal(inShort(named.result), 'delivered TLSv1.3 verified');
  assert.ok(named.result.kind === 'delivered' && named.result.tls?.cipher.startsWith('TLS_') === true);
  assert.deepEqual(transcript.clear, ['EHLO relay.test', 'STARTTLS']);
  assert.deepEqual(
    transcript.encrypted.commands.map((line) => line.slice(0, 4)),
    ['EHLO', 'MAIL', 'RCPT', 'DATA', 'QUIT'],
  );
  assert.equal(transcript.encrypted.messages.length, 1);
  const implicit = newTranscript();
  const direct = await attemptAt((peer) => converse(underTls(peer, all().good), {}, implicit), trusting({ tls: 'implicit' }));
  assert.equal(inShort(direct.result), 'delivered TLSv1.3 verified');
  assert.equal(implicit.messages.length, 1);
  assert.ok(!direct.wire.includes('EHLO') && !direct.wire.includes('clinic'));
  const older = await attemptAt((peer) => converseStartTls(peer, { ...all().good, maxVersion: 'TLSv1.2' }), trusting());
  assert.equal(inShort(older.result), 'delivered TLSv1.2 verified');
});

/** What is shown, and the refusal; by STARTTLS and by implicit TLS alike. */
const badIdentities: readonly (readonly [what: string, peer: () => TlsPeerOptions, host: string, said: string])[] = [
  ['expired', () => all().expired, 'localhost', 'upstream-unverified 4.7.5: it has expired (CERT_HAS_EXPIRED)'],
  [
    'for another name',
    () => all().otherName,
    'localhost',
    'upstream-unverified 4.7.5: it is for another name (ERR_TLS_CERT_ALTNAME_INVALID)',
  ],
  [
    'for another address',
    () => all().otherName,
    '127.0.0.1',
    'upstream-unverified 4.7.5: it is for another name (ERR_TLS_CERT_ALTNAME_INVALID)',
  ],
  ...(['no names', 'a mailbox', 'an address', 'a URI'] as const).map(
    (what) =>
      [
        `for the name in its CN alone, beside ${what}`,
        () => all().nameless[what],
        'localhost',
        'upstream-unverified 4.7.5: it is for another name (ERR_TLS_CERT_ALTNAME_INVALID)',
      ] as const,
  ),
  ['self-signed', () => all().selfSigned, 'localhost', 'upstream-unverified 4.7.5: it is self-signed (DEPTH_ZERO_SELF_SIGNED_CERT)'],
  [
    'of an unknown CA',
    () => all().otherCa,
    'localhost',
    'upstream-unverified 4.7.5: its CA is not known (UNABLE_TO_VERIFY_LEAF_SIGNATURE)',
  ],
  [
    'good, but by TLS 1.1 only',
    () => ({ ...all().good, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }),
    'localhost',
    'upstream-tls-failed 4.7.5: ',
  ],
];

for (const [what, peer, host, said] of badIdentities) {
  for (const tls of ['starttls', 'implicit'] as const) {
    test(
      `A6: a certificate that is ${what}, by ${tls}: nothing of the message on the wire, and the next upstream is asked`,
      { skip },
      async () => {
        const transcript = newStartTlsTranscript();
        await using first = await scriptedUpstream((one) =>
          tls === 'starttls' ? converseStartTls(one, peer(), {}, transcript) : converse(underTls(one, peer()), {}, transcript.encrypted),
        );
        await using second = await scriptedUpstream((one) => converseStartTls(one, all().good));
        const bad = upstreamAt(first.port, {}, trusting({ host, tls }));
        const result = await bad.attempt(outgoing(), never);
        assert.ok(inShort(result).startsWith(`tls ${said}`), inShort(result));
        const wire = first.peers.map((one) => one.received.toString('latin1')).join('');
        for (const word of ['MAIL', 'clinic', 'AAAA', 'anna']) assert.ok(!wire.includes(word), word);
        assert.deepEqual(transcript.encrypted.commands, []);
        const route = makeRoute([upstreamAt(first.port, {}, trusting({ host, tls })), upstreamAt(second.port, {}, trusting())], log);
        const next = await route.attempt(outgoing(), never);
        assert.equal(next.upstream, `127.0.0.1:${second.port}`);
        assert.equal(inShort(next.result), 'delivered TLSv1.3 verified');
        await route.close();
        await bad.close();
      },
    );
  }
}

const stripped: readonly (readonly [what: string, replies: { ehlo?: string; starttls?: string }, said: string])[] = [
  ['STARTTLS is not offered', { ehlo: '250-x\r\n250 SIZE 0\r\n' }, 'tls upstream-tls-missing 4.7.5: '],
  ['EHLO is refused', { ehlo: '502 5.5.1 what?\r\n' }, 'tls upstream-tls-missing 4.7.5: '],
  ['STARTTLS is answered 454', { starttls: '454 4.7.0 not now\r\n' }, 'tls upstream-tls-failed 4.7.5: STARTTLS was answered 454'],
  ['STARTTLS is answered 500', { starttls: '500 what?\r\n' }, 'tls upstream-tls-failed 4.7.5: STARTTLS was answered 500'],
];

for (const [what, replies, said] of stripped) {
  test(`A6: ${what}: no HELO, no mail in clear`, { skip }, async () => {
    const transcript = newStartTlsTranscript();
    const { result, wire } = await attemptAt((peer) => converseStartTls(peer, all().good, replies, transcript), trusting());
    assert.equal(inShort(result), said);
    assert.match(wire, /^EHLO relay\.test\r\n(STARTTLS\r\n)?$/);
  });
}

test('A5: what an upstream says behind its answer to STARTTLS ends the session', { skip }, async () => {
  const injected = '250-upstream.test\r\n250 AUTH PLAIN\r\n';
  const together = await attemptAt((peer) => converseStartTls(peer, all().good, { starttls: `220 go\r\n${injected}` }), trusting());
  assert.equal(inShort(together.result), 'tls upstream-protocol 4.5.0: a reply that nobody asked for');
  const later = await attemptAt(async (peer) => {
    peer.say('220 x\r\n');
    await peer.line();
    peer.say('250-x\r\n250 STARTTLS\r\n');
    await peer.line();
    peer.say('220 go\r\n');
    await new Promise((resolve) => setTimeout(resolve, 20));
    peer.say(injected);
    await converse(underTls(peer, all().good), { greeting: '' });
  }, trusting());
  assert.match(inShort(later.result), /^tls upstream-tls-failed 4\.7\.5: ERR_SSL_/);
});

test('A5: what EHLO offered in clear is forgotten; what counts was said under TLS', { skip }, async () => {
  const replies = { ehlo: '250-x\r\n250-STARTTLS\r\n250-SMTPUTF8\r\n250 SIZE 70000\r\n', then: { ehlo: '250 x\r\n' } };
  const utf8 = outgoing({ recipient: 'grüße@x.test', needsSmtputf8: true });
  assert.equal((await attemptAt((peer) => converseStartTls(peer, all().good, replies), trusting(), utf8)).result.kind, 'unsuited');
  const plain = await attemptAt((peer) => converseStartTls(peer, all().good, replies), trusting(), outgoingOf(70_001));
  assert.equal(inShort(plain.result), 'delivered TLSv1.3 verified');
});

test('`verify: false` takes any certificate, says so, and speaks to this machine alone', { skip }, async () => {
  const any = await attemptAt((peer) => converseStartTls(peer, all().selfSigned), { tls: 'starttls', verify: false });
  assert.equal(inShort(any.result), 'delivered TLSv1.3 unverified');
  await using server = await scriptedUpstream((peer) => converseStartTls(peer, all().selfSigned));
  const dial = (host: string, port: number): Socket =>
    Object.defineProperty(connect(port, host), 'remoteAddress', { get: () => '192.0.2.7' });
  const upstream = upstreamAt(server.port, { connect: dial }, { tls: 'starttls', verify: false });
  assert.match(
    inShort(await upstream.attempt(outgoing(), never)),
    /^connect upstream-unreachable .*without verified TLS only a loopback address/,
  );
  const verified = upstreamAt(server.port, { connect: dial }, trusting());
  assert.match(inShort(await verified.attempt(outgoing(), never)), /it is self-signed/, 'a verified one may be anywhere');
  await Promise.all([upstream.close(), verified.close()]);
});

test('a client certificate is shown where there is one; a renewed one counts without a restart', { skip }, async () => {
  const { ca, client } = all();
  let material: { ca: string; cert?: string; key?: string } = { ca };
  const asking = { ...all().good, ca, requestCert: true };
  await using server = await scriptedUpstream((peer) => converseStartTls(peer, asking));
  let clock = 0;
  const upstream = upstreamAt(server.port, { now: () => clock }, { tls: 'starttls', secrets: async () => material });
  assert.match(
    inShort(await upstream.attempt(outgoing(), never)),
    /upstream-tls-failed 4\.7\.5: ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED/,
  );
  clock += 3_600_000;
  material = { ca, ...client };
  assert.equal(inShort(await upstream.attempt(outgoing(), never)), 'delivered TLSv1.3 verified');
  await upstream.close();
});

test(
  'certificate and key that do not belong together, or a file that cannot be read, defer the mail and name the next upstream',
  { skip },
  async () => {
    await using second = await scriptedUpstream((peer) => converse(peer));
    const mixed = { ca: all().ca, cert: all().client.cert, key: all().good.key };
    const first = upstreamAt(1, {}, { tls: 'starttls', secrets: async () => mixed });
    assert.match(inShort(await first.attempt(outgoing(), never)), /^connect upstream-secret-unreadable 4\.3\.5: certificate and key/);
    first.revive();
    const route = makeRoute([first, upstreamAt(second.port)], log);
    assert.equal((await route.attempt(outgoing(), never)).result.kind, 'delivered');
    await route.close();
  },
);

test('a handshake that never ends is given up, and a stop ends it at once', { skip, timeout: 10_000 }, async () => {
  await using server = await scriptedUpstream((peer) => peer.closed());
  const slow = upstreamAt(server.port, { timeouts: timeouts({ connect: 100 }) }, trusting({ tls: 'implicit' }));
  assert.match(inShort(await slow.attempt(outgoing(), never)), /^tls upstream-tls-failed 4\.7\.5: no handshake in 100 ms/);
  const stuck = upstreamAt(server.port, {}, trusting({ tls: 'implicit' }));
  const abort = new AbortController();
  const attempt = stuck.attempt(outgoing(), abort.signal);
  while (server.peers.length < 2 || (server.peers[1]?.octets ?? 0) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  abort.abort();
  assert.match(inShort(await attempt), /shutting-down/);
});

test(
  'a secret that is never read, on a file server that is gone, holds up neither the next upstream nor a stop',
  { timeout: 10_000 },
  async () => {
    const gone = { secrets: () => new Promise<never>(() => undefined) };
    await using second = await scriptedUpstream((peer) => converse(peer));
    const route = makeRoute([upstreamAt(1, { timeouts: timeouts({ connect: 50 }) }, gone), upstreamAt(second.port)], log);
    assert.equal((await route.attempt(outgoing(), never)).result.kind, 'delivered');
    await route.close();
    const abort = new AbortController();
    const attempt = upstreamAt(1, {}, gone).attempt(outgoing(), abort.signal);
    abort.abort();
    assert.match(inShort(await attempt), /shutting-down/);
  },
);
