/** What no upstream takes once it is sealed is refused before the 250: by the SIZE of scripted upstreams and of a real Postfix. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { noOpenssl } from '../certificates/openssl.ts';
import { dialogue, type Dialogue } from '../ingress/dialogue.ts';
import { until } from '../interop/ports.ts';
import { missingPostfix, startPostfix } from '../interop/postfix.ts';
import { makeSite, type RunningRelay, type Site } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const LIMIT = 200_000;
const ehlo = (size: string): string => `250-upstream.test\r\n250-PIPELINING\r\n250 ${size}\r\n`;
const TOO_BIG =
  /^552 5\.3\.4 the message is too big for the mail server behind this relay once it is sealed: messages of (\d+) octets fit$/;

/** A message of exactly so many octets. */
function messageOf(octets: number): string {
  const header = 'From: forms@clinic.example\r\nTo: anna@clinic.example\r\nSubject: x\r\n\r\n';
  const line = `${'x'.repeat(62)}\r\n`;
  const text = header + line.repeat(Math.ceil(octets / line.length));
  return `${text.slice(0, octets - 2).replaceAll(/\r$/g, 'x')}\r\n`;
}

async function siteTo(t: TestContext, ports: readonly number[]): Promise<{ site: Site; relay: RunningRelay }> {
  const upstream = ports.map((port) => ({ host: '127.0.0.1', port }));
  const site = await makeSite(t, { upstreamPort: ports[0] ?? 0, config: { upstream } });
  return { site, relay: await site.serve() };
}

async function greeted(t: TestContext, relay: RunningRelay): Promise<Dialogue> {
  const client = await dialogue(relay.port);
  t.after(() => client.close());
  await client.expect(/^220/);
  await client.ask('EHLO web.clinic.example', /^250/);
  return client;
}

/** The last line of the answer to MAIL with a declared size. */
async function mailOf(client: Dialogue, size: number): Promise<string> {
  const reply = await client.ask(`MAIL FROM:<forms@clinic.example> SIZE=${size}`, /^\d{3} /);
  await client.ask('RSET', /^250/);
  return reply.at(-1) ?? '';
}

test(
  'SIZE at MAIL that no sealed form fits: 552 with what does fit; that fits, and few sessions are opened',
  { skip: noOpenssl },
  async (t) => {
    const sessions: string[] = [];
    const upstream = await keepingUpstream(t, {
      get ehlo() {
        sessions.push('EHLO');
        return ehlo(`SIZE ${LIMIT}`);
      },
    });
    const { relay } = await siteTo(t, [upstream.port]);
    const client = await greeted(t, relay);
    await until('the relay knows what the upstream takes', async () => TOO_BIG.test(await mailOf(client, 2_000_000)));
    const [, fits = ''] = TOO_BIG.exec(await mailOf(client, 2_000_000)) ?? [];
    assert.match(await mailOf(client, LIMIT), /^250/, 'a header may shrink: only what is certain is refused at MAIL');
    await send(relay.port, ['anna@clinic.example'], messageOf(Number(fits)));
    await until('it is delivered', () => upstream.deliveries().length === 1);
    assert.ok((upstream.deliveries()[0]?.octets.length ?? 0) <= LIMIT);
    // The session that asked carries the mail; on a slow machine it may have been idle for too long by then.
    assert.ok(sessions.length <= 2);
  },
);

test('after DATA the exact sealed size counts: 552, and nothing is queued', { skip: noOpenssl }, async (t) => {
  const upstream = await keepingUpstream(t, { ehlo: ehlo(`SIZE ${LIMIT}`) });
  const { site, relay } = await siteTo(t, [upstream.port]);
  const client = await greeted(t, relay);
  await until('the relay knows what the upstream takes', async () => TOO_BIG.test(await mailOf(client, 2_000_000)));
  // Too long by itself, and too long only by what sealing adds.
  for (const octets of [LIMIT * 3, LIMIT - 50_000])
    await assert.rejects(send(relay.port, ['anna@clinic.example', 'ben@clinic.example'], messageOf(octets)), /552 5\.3\.4 .*octets fit/);
  assert.match(await site.sealpost('queue', 'stats'), /accepted 0/);
  await send(relay.port, ['anna@clinic.example']);
  await until('a small one goes out', () => upstream.deliveries().length === 1);
});

test('the largest of all upstreams counts, and while one is unbounded or down nothing is refused', { skip: noOpenssl }, async (t) => {
  const small = await keepingUpstream(t, { ehlo: ehlo('SIZE 70000') });
  const large = await keepingUpstream(t, { ehlo: ehlo(`SIZE ${LIMIT}`) });
  const asked: string[] = [];
  const unbounded = await keepingUpstream(t, {
    get ehlo() {
      asked.push('EHLO');
      return ehlo('SIZE 0');
    },
  });
  const two = await siteTo(t, [small.port, large.port]);
  const client = await greeted(t, two.relay);
  await until('the relay knows both', async () => TOO_BIG.test(await mailOf(client, 2_000_000)));
  await send(two.relay.port, ['anna@clinic.example'], messageOf(100_000));
  await until('the larger one has it', () => large.deliveries().length === 1);
  assert.equal(small.deliveries().length, 0);
  const lone = await siteTo(t, [small.port, unbounded.port]);
  const open = await greeted(t, lone.relay);
  await until('the one without a limit was asked', () => asked.length > 0);
  assert.match(await mailOf(open, 2_000_000), /^250/);
  // Nobody listens on port 1: what may come of that upstream is not known.
  const unknown = await siteTo(t, [1, small.port]);
  await send(unknown.relay.port, ['anna@clinic.example'], 'Subject: x\r\n\r\nbody\r\n');
  await until('the small one was asked', () => small.deliveries().length === 1);
  assert.match(await mailOf(await greeted(t, unknown.relay), 2_000_000), /^250/);
});

test(
  'a real Postfix with a small message_size_limit',
  { skip: noOpenssl === false ? (missingPostfix() ?? false) : noOpenssl },
  async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'sealpost-small-postfix-'));
    const last = await keepingUpstream(t);
    const postfix = await startPostfix({ relayTo: last, dir, settings: { message_size_limit: String(LIMIT) } });
    t.after(async () => {
      await postfix.stop();
      await rm(dir, { recursive: true, force: true });
    });
    const { relay } = await siteTo(t, [postfix.port]);
    const client = await greeted(t, relay);
    await until('the relay knows what Postfix takes', async () => TOO_BIG.test(await mailOf(client, 2_000_000)));
    await assert.rejects(send(relay.port, ['anna@clinic.example'], messageOf(LIMIT)), /552 5\.3\.4/);
    const [, fits = ''] = TOO_BIG.exec(await mailOf(client, 2_000_000)) ?? [];
    await send(relay.port, ['anna@clinic.example'], messageOf(Number(fits)));
    await until('Postfix takes it', () => last.deliveries().length === 1, 20_000);
  },
);
