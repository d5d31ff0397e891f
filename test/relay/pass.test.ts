/**
 * Mail that a rule passes in clear, through the relay as a process: never to an upstream that cannot prove its name, nothing of it readable
 * on the disk meanwhile, and byte for byte once it may go (P2, P3, P10, A2, A6).
 */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { noOpenssl } from '../certificates/openssl.ts';
import { scriptedUpstream, type Transcript } from '../delivery/peer.ts';
import { converseStartTls, type Identities, makeIdentities, newStartTlsTranscript, type TlsPeerOptions } from '../delivery/tls-peer.ts';
import { findCanary } from '../faults/canary.ts';
import { until } from '../interop/ports.ts';
import { startPostfix } from '../interop/postfix.ts';
import { missingSubmission, submission } from '../interop/submission.ts';
import { startTee } from '../interop/tee.ts';
import { makeSite, type Site } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const CANARY = 'canary-the-diagnosis-41';
const skip = noOpenssl;
const identities: Identities | undefined = skip === false ? makeIdentities() : undefined;
const RULES = [
  { name: 'newsletter', when: { recipient: '*@list.example' }, then: 'pass' },
  { name: 'everything', then: 'seal', subject: 'keep' },
];
const RETRY = { first: '1s', longest: '1s', max_age: '1h' };

/** In each form that mail software gives to text, with lines that a careless sender would end the message at. */
function newsletter(padding = 0): Buffer {
  const date = 'Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: <41@clinic.example>';
  const head = `From: news@clinic.example\r\nTo: all@list.example\r\n${date}\r\nSubject: ${CANARY}\r\nX-Patient: ${CANARY}\r\n\r\n`;
  const forms = [CANARY.replaceAll('e', '=65'), Buffer.from(CANARY).toString('base64'), Buffer.from(CANARY, 'utf16le').toString('base64')];
  const lines = ['.', '..', '.dot', `${CANARY} in clear, Gr\xfc\xdfe`, ...forms, '.', ''];
  return Buffer.from(head + lines.join('\r\n').repeat(padding + 1), 'latin1');
}

const audited = async (site: Site, event: string): Promise<Record<string, unknown>[]> =>
  (await readFile(join(site.data, 'audit.jsonl'), 'utf8').catch(() => ''))
    .trim()
    .split('\n')
    .filter((line) => line.includes(`"event":"${event}"`))
    .map((line): Record<string, unknown> => JSON.parse(line));

const unstuffed = (octets: Buffer): Buffer =>
  Buffer.from(octets.toString('latin1').replaceAll('\r\n..', '\r\n.').replace(/^\.\./, '.'), 'latin1');

/** Behind our own Received, the message as it came. */
function assertWhole(octets: Buffer, message: Buffer): void {
  const found = unstuffed(octets);
  assert.match(found.toString('latin1', 0, 200), /^Received: from .*\r\n/);
  assert.ok(found.subarray(-message.length).equals(message), 'every octet as it came');
  assert.match(
    found.toString('latin1', 0, found.length - message.length),
    /^Received: [^\r\n]+\r\n(?:[ \t][^\r\n]+\r\n)*$/,
    'and nothing else',
  );
}

interface Wire {
  shown: TlsPeerOptions;
  ehlo?: string;
}

/** An upstream behind STARTTLS that shows what `wire` says at the time; what it was sent in clear and under TLS. */
async function upstreamOf(t: TestContext, wire: Wire): Promise<{ port: number; clear: () => string; messages: () => Buffer[] }> {
  const transcripts: ReturnType<typeof newStartTlsTranscript>[] = [];
  const then = { ehlo: '250-upstream.test\r\n250-8BITMIME\r\n250 SIZE 0\r\n' };
  const server = await scriptedUpstream((peer) => {
    const transcript = newStartTlsTranscript();
    transcripts.push(transcript);
    return converseStartTls(peer, wire.shown, { then, ...(wire.ehlo === undefined ? {} : { ehlo: wire.ehlo }) }, transcript);
  });
  t.after(() => server[Symbol.asyncDispose]());
  const encrypted = (): Transcript[] => transcripts.map((one) => one.encrypted);
  return {
    port: server.port,
    clear: () => server.peers.map(({ received }) => received.toString('latin1')).join(''),
    messages: () => encrypted().flatMap(({ messages }) => messages.map((message) => message.subarray(0, -3))),
  };
}

const siteTo = (t: TestContext, port: number, ca: string): Promise<Site> =>
  makeSite(t, {
    upstreamPort: port,
    rules: RULES,
    config: { upstream: [{ host: 'localhost', port, tls: 'starttls', ca }], retry: RETRY },
  });

test(
  'Show: passed mail waits for an upstream that proves its name, readable nowhere, over a kill; then it goes out whole',
  { skip },
  async (t) => {
    assert.ok(identities !== undefined);
    const wire: Wire = { shown: identities.selfSigned };
    const upstream = await upstreamOf(t, wire);
    const site = await siteTo(t, upstream.port, join(identities.folder, 'ca.pem'));
    const first = await site.serve();
    const [small, large] = [newsletter(), newsletter(3000)];
    const id = await send(first.port, ['all@list.example'], small);
    await send(first.port, ['all@list.example'], large);

    const faults: readonly (readonly [what: string, wire: Wire, said: RegExp])[] = [
      ['self-signed', wire, /4\.7\.5 .*it is self-signed/],
      ['another name', { shown: identities.otherName }, /4\.7\.5 .*it is for another name/],
      ['no TLS', { shown: identities.good, ehlo: '250-upstream.test\r\n250 8BITMIME\r\n' }, /4\.7\.5 the upstream does not offer STARTTLS/],
    ];
    for (const [what, fault, said] of faults) {
      Object.assign(wire, fault);
      await until(
        `it is deferred: ${what}`,
        async () => {
          if ((await audited(site, 'deferred')).some(({ reason }) => said.test(String(reason)))) return true;
          // In place of the pause of an upstream that failed; where an attempt runs, there is nothing to retry.
          await site.sealpost('queue', 'retry', id).catch(() => undefined);
          return false;
        },
        20_000,
      );
    }
    assert.deepEqual(await findCanary([site.data], CANARY), [], 'while it waits');
    await first.kill();
    assert.deepEqual(await findCanary([site.data], CANARY), [], 'after a kill');
    assert.doesNotMatch(upstream.clear(), /canary|MAIL|list\.example/i);
    assert.equal(upstream.messages().length, 0);

    delete wire.ehlo;
    wire.shown = identities.good;
    const second = await site.serve();
    await until('both are delivered', () => upstream.messages().length === 2, 20_000);
    for (const message of upstream.messages()) assertWhole(message, message.length > 10_000 ? large : small);
    assert.doesNotMatch(upstream.clear(), /canary|list\.example/i);
    await until('they are audited', async () => (await audited(site, 'delivered')).length === 2);
    for (const event of await audited(site, 'delivered')) assert.equal(event['tls_verified'], true);
    assert.deepEqual(
      (await audited(site, 'passed')).map(({ rule, recipient }) => [rule, recipient]),
      [1, 2].map(() => ['newsletter', 'all@list.example']),
    );
    await second.stop();
    for (const log of [first.log(), second.log()]) assert.ok(!log.includes(CANARY), 'in the log');
    assert.deepEqual(await findCanary([site.data], CANARY), [], 'after delivery');
    const key = join(site.dir, 'keys/spool.key');
    assert.equal((await stat(key)).mode & 0o777, 0o600);
    const [, secret = ''] = /^[0-9a-f]{16} (\S+)$/m.exec(await readFile(key, 'utf8')) ?? [];
    for (const log of [first.log(), second.log()]) assert.ok(secret !== '' && !log.includes(secret));
  },
);

test('P10: chunks of passed mail that change places on the disk are noticed, and it is never sent', { skip }, async (t) => {
  assert.ok(identities !== undefined);
  const wire: Wire = { shown: identities.selfSigned };
  const upstream = await upstreamOf(t, wire);
  const site = await siteTo(t, upstream.port, join(identities.folder, 'ca.pem'));
  const relay = await site.serve();
  const id = await send(relay.port, ['all@list.example'], newsletter(3000));
  await until('it is deferred', async () => (await audited(site, 'deferred')).length > 0, 20_000);
  const [name = ''] = await readdir(join(site.data, 'bodies'));
  const body = await readFile(join(site.data, 'bodies', name));
  const [header, stored] = [48, 65_536 + 16];
  const chunk = (number: number): Buffer => body.subarray(header + number * stored, header + (number + 1) * stored);
  const rest = body.subarray(header + 2 * stored);
  await writeFile(join(site.data, 'bodies', name), Buffer.concat([body.subarray(0, header), chunk(1), chunk(0), rest]));
  wire.shown = identities.good;
  await until('it is set aside', async () => (await audited(site, 'damaged')).length === 1, 20_000);
  assert.equal((await audited(site, 'damaged'))[0]?.['queue_id'], id);
  assert.equal(upstream.messages().length, 0);
  await relay.stop();
});

test(
  'Postfix takes passed mail by STARTTLS and hands on every octet',
  { skip: skip === false ? (missingSubmission() ?? false) : skip },
  async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'sealpost-pass-'));
    const undo: (() => Promise<unknown>)[] = [() => rm(dir, { recursive: true, force: true })];
    t.after(async () => {
      for (const step of undo.toReversed()) await step();
    });
    // In a folder of its own, which Postfix's processes may read.
    makeIdentities(dir);
    const last = await keepingUpstream(t, { ehlo: '250-last.test\r\n250-8BITMIME\r\n250 SIZE 0\r\n' });
    const settings = await submission({
      dir,
      certificate: join(dir, 'good.pem'),
      key: join(dir, 'good.key'),
      user: 'relay',
      password: 'x-7',
    });
    const postfix = await startPostfix({ relayTo: last, dir, settings });
    undo.push(() => postfix.stop());
    await using tee = await startTee({ to: postfix.port });
    await writeFile(join(dir, 'password'), 'x-7\n', { mode: 0o600 });
    const upstream = {
      host: 'localhost',
      port: tee.port,
      tls: 'starttls',
      ca: join(dir, 'ca.pem'),
      auth: { user: 'relay', password: `file:${join(dir, 'password')}` },
    };
    const site = await makeSite(t, { upstreamPort: tee.port, rules: RULES, config: { upstream: [upstream] } });
    const relay = await site.serve();
    const message = newsletter(500);
    await send(relay.port, ['all@list.example'], message, { mail: 'BODY=8BITMIME' });
    await until('Postfix hands it on', () => last.deliveries().length === 1, 20_000);
    const found = unstuffed(last.deliveries()[0]?.octets ?? Buffer.alloc(0));
    assert.ok(found.subarray(-message.length).equals(message));
    assert.match(found.toString('latin1', 0, 600), /\(using TLSv1\.3 with cipher \S+/);
    assert.doesNotMatch(tee.sent().toString('latin1'), /canary|MAIL FROM|list\.example/i);
  },
);
