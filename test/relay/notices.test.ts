/** Who is told what became of mail that was taken and not delivered (A17, A18), through the running relay. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { goodReplies, type Replies, type Transcript } from '../delivery/peer.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import { missingReportReader, readReport, type Report } from '../interop/report.ts';
import { makeSite, type Site } from './site.ts';
import { send } from './submit.ts';
import { type Delivery, type KeepingUpstream, keepingUpstream } from './upstream.ts';

const needs = { skip: missingPrograms({ openssl: 'openssl' }) ?? missingReportReader() ?? false };

const CANARY = 'canary-3d81b0c7';
const OPERATOR = 'postmaster@clinic.example';
const ANNA = 'anna@clinic.example';

const letter = [
  `Subject: ${CANARY}`,
  'Date: Mon, 23 Nov 2026 08:00:00 +0000',
  'Message-ID: <form-17@web.clinic.example>',
  `Content-Type: text/plain; name="${CANARY}.txt"`,
  '',
  CANARY,
  '',
].join('\r\n');

/** What the upstream says to each recipient; changed while it runs. */
type Verdicts = Record<string, string>;

/** An upstream that judges by recipient; `ehlo` where it offers other things. */
function judging(verdicts: Verdicts, others: Replies = {}): (said: Transcript) => Replies {
  return ({ commands }) => {
    const refusal = (): string | undefined => {
      const last = commands.findLast((command) => command.startsWith('RCPT')) ?? '';
      return Object.entries(verdicts).find(([recipient]) => last.includes(`<${recipient}>`))?.[1];
    };
    return Object.defineProperties(
      { ...others },
      {
        rcpt: { enumerable: true, get: () => refusal() ?? goodReplies.rcpt },
        data: { enumerable: true, get: () => (refusal() === undefined ? goodReplies.data : '554 5.5.1 no valid recipients\r\n') },
      },
    );
  };
}

interface Scene {
  readonly site: Site;
  readonly upstream: KeepingUpstream;
  /** What was delivered to one mailbox so far. */
  readonly to: (recipient: string) => Delivery[];
  /** Opens what anna got, and reads it. */
  readonly opened: (delivery: Delivery) => Promise<Report>;
}

async function scene(t: TestContext, verdicts: Verdicts, config: Readonly<Record<string, unknown>>, others: Replies = {}): Promise<Scene> {
  const upstream = await keepingUpstream(t, judging(verdicts, others));
  const site = await makeSite(t, { upstreamPort: upstream.port, config });
  const reader = await openssl.start(site.readers);
  t.after(() => reader.close());
  return {
    site,
    upstream,
    to: (recipient) => upstream.deliveries().filter((delivery) => delivery.recipient === recipient),
    async opened({ octets }) {
      const [outer = ''] = octets.toString().split('\r\n\r\n', 1);
      assert.match(outer, /^Content-Type: application\/pkcs7-mime; smime-type=enveloped-data/m);
      const entity = await reader.open(octets, site.readers.people.anna);
      assert.ok(!entity.includes(CANARY));
      // Read as a mail program does: the fields outside, and what they cover.
      const outside = outer.split(/\r\n(?![ \t])/).filter((line) => !/^(?:content-|mime-version)/i.test(line));
      return readReport(Buffer.concat([Buffer.from(`${outside.join('\r\n')}\r\n`), entity]));
    },
  };
}

const events = async (site: Site, ...filter: readonly string[]): Promise<Record<string, unknown>[]> =>
  (await site.sealpost('audit', 'show', '--json', ...filter))
    .split('\n')
    .filter((line) => line !== '')
    .map((line): Record<string, unknown> => JSON.parse(line));

const shortTimes = {
  retry: { first: '1s', longest: '1s', max_age: '4s' },
  notices: { domains: ['clinic.example'], delay: '2s' },
};

test(
  'a refused, an expired and a delayed recipient: three sealed notices, opened and read; copies to the operator (A18)',
  needs,
  async (t) => {
    const verdicts: Verdicts = {
      'ben@clinic.example': `550 5.1.1 ${CANARY} user unknown\r\n`,
      'carla@clinic.example': `451 4.2.0 ${CANARY} not now\r\n`,
      'otto@clinic.example': `452 4.2.2 ${CANARY} full\r\n`,
    };
    const { site, to, opened } = await scene(t, verdicts, shortTimes);
    const relay = await site.serve();
    const rcpt = { 'carla@clinic.example': 'NOTIFY=FAILURE', 'otto@clinic.example': 'NOTIFY=DELAY ORCPT=rfc822;Otto+2Bward@old.example' };
    const id = await send(relay.port, Object.keys(verdicts), letter, { sender: ANNA, mail: 'RET=FULL ENVID=form+2B17', rcpt });
    await until('the notice of a delay', async () => to(ANNA).length >= 2 || (await events(site, '--event', 'notice')).length >= 4);
    delete verdicts['otto@clinic.example'];
    await until('three notices to the sender', () => to(ANNA).length >= 3, 30_000);
    await until('otto has his mail', () => to('otto@clinic.example').length === 1);
    await until('the queue waits for nothing', async () =>
      /ready 0, leased 0, deferred 0, held 0, bounced 2/.test(await site.sealpost('queue', 'stats')),
    );

    const reports = await Promise.all(to(ANNA).map(opened));
    for (const report of reports) {
      assert.deepEqual(
        [report.type, report.reportType, report.autoSubmitted, report.defects],
        ['multipart/report', 'delivery-status', 'auto-replied', []],
      );
      assert.deepEqual(report.parts, ['text/plain', 'message/delivery-status', 'text/rfc822-headers']);
      assert.partialDeepStrictEqual(report.message, {
        'reporting-mta': 'dns; relay.clinic.example',
        'original-envelope-id': 'form+17',
        'x-sealpost-queue-id': id,
      });
      assert.deepEqual(report.original, { date: 'Mon, 23 Nov 2026 08:00:00 +0000', 'message-id': '<form-17@web.clinic.example>' });
      assert.ok(!JSON.stringify(report).includes(CANARY));
    }
    const about = (name: string): Report =>
      reports.find(({ recipient }) => recipient['final-recipient'] === `rfc822; ${name}@clinic.example`) ?? assert.fail(name);
    assert.partialDeepStrictEqual(about('ben').recipient, { action: 'failed', status: '5.1.1' });
    assert.match(about('ben').text, /could not be delivered[^]*ben@clinic\.example[^]*the mailbox is not known there[^]*Check the address/);
    assert.partialDeepStrictEqual(about('carla').recipient, { action: 'failed', status: '4.4.7' });
    assert.match(about('carla').text, /tried for too long/);
    assert.partialDeepStrictEqual(about('otto').recipient, {
      action: 'delayed',
      status: '4.2.2',
      'original-recipient': 'rfc822; Otto+ward@old.example',
    });
    assert.ok(Date.parse(about('otto').recipient['will-retry-until'] ?? '') > Date.now() - 60_000);

    // The operator has no certificate: copies in clear, of everything that failed or was late, none of what went well.
    const copies = await Promise.all(to(OPERATOR).map(({ octets }) => readReport(octets)));
    const told = copies.map(({ recipient }) => `${recipient['final-recipient']} ${recipient['action']}`).sort();
    const [ben, carla, otto] = ['ben', 'carla', 'otto'].map((name) => `rfc822; ${name}@clinic.example`);
    assert.deepEqual(told, [`${ben} failed`, `${carla} delayed`, `${carla} failed`, `${otto} delayed`]);
    for (const { octets } of to(OPERATOR)) assert.ok(!octets.includes(CANARY));

    await relay.stop();
    const notices = await events(site, '--event', 'notice');
    assert.equal(notices.length, 7);
    assert.ok(notices.every(({ about: original }) => original === id));
    for (const bounced of await events(site, '--event', 'bounced')) assert.match(String(bounced['notice']), /^[0-9a-z]{15}$/);
    const sealed = (await events(site, '--event', 'sealed')).filter(({ queue_id: of }) => of !== id);
    assert.equal(sealed.length, 3, 'which certificate each notice was sealed to is logged');
    await site.sealpost('audit', 'verify');
  },
);

test('A17 A18 nothing goes to a forged sender, nor to the null sender, and nothing answers a notice that fails', needs, async (t) => {
  const verdicts: Verdicts = { 'ben@clinic.example': '550 5.1.1 no\r\n', [OPERATOR]: '550 5.1.1 no such operator\r\n' };
  const { site, upstream } = await scene(t, verdicts, shortTimes);
  const relay = await site.serve();
  const forged = await send(relay.port, ['ben@clinic.example'], letter, { sender: 'visitor@gmail.example' });
  const without = await send(relay.port, ['ben@clinic.example'], letter, { sender: '' });
  await until('three bounces: two messages and the notice of one', async () => (await events(site, '--event', 'bounced')).length === 3);
  await sleep(500);
  assert.deepEqual(upstream.deliveries(), []);
  const [notice, ...others] = await events(site, '--event', 'notice');
  assert.deepEqual(others, []);
  assert.partialDeepStrictEqual(notice, { about: forged, recipient: OPERATOR, kind: 'failed' });
  const bounced = new Map((await events(site, '--event', 'bounced')).map((event) => [event['queue_id'], event['notice']]));
  assert.equal(bounced.get(forged), notice?.['queue_id']);
  assert.equal(bounced.get(without), 'none, the sender is null');
  assert.equal(bounced.get(notice?.['queue_id']), 'none, the sender is null');

  // The bounced notice is a row like any other: seen, shown, and tried again when an operator asks.
  const listed = await site.sealpost('queue', 'list', '--state', 'bounced');
  assert.match(listed, new RegExp(`^${String(notice?.['queue_id'])} {2}bounced .*notice that ${forged} failed`, 'm'));
  assert.match(
    await site.sealpost('queue', 'show', String(notice?.['queue_id'])),
    /notice {4}that ben@clinic\.example of [0-9a-z]{15} failed, 5\.1\.1/,
  );
  delete verdicts[OPERATOR];
  await site.sealpost('queue', 'retry', String(notice?.['queue_id']));
  await until('the notice is delivered', () => upstream.deliveries().length === 1);
  assert.equal((await readReport(upstream.deliveries()[0]?.octets ?? Buffer.alloc(0))).recipient['status'], '5.1.1');
  await relay.stop();
});

test('A18 a user who logged in is told at their own mailbox, whatever stands in MAIL FROM', needs, async (t) => {
  const verdicts: Verdicts = { 'ben@clinic.example': '550 5.1.1 no\r\n' };
  const { site, upstream, to, opened } = await scene(t, verdicts, {
    ...shortTimes,
    clients: { networks: ['127.0.0.0/8'], users: 'users.yaml' },
  });
  await writeFile(join(site.dir, 'password'), 'correct horse battery\n', { mode: 0o600 });
  await site.sealpost('users', 'add', 'web', '--mailbox', ANNA, '--password-file', join(site.dir, 'password'));
  const relay = await site.serve();
  const asked = { sender: 'visitor@gmail.example', login: ['web', 'correct horse battery'] } as const;
  await send(relay.port, ['ben@clinic.example'], letter, asked);
  await until('two notices', () => upstream.deliveries().length === 2);
  assert.partialDeepStrictEqual((await opened(to(ANNA)[0] ?? assert.fail())).recipient, { action: 'failed', status: '5.1.1' });
  assert.equal(to(OPERATOR).length, 1);
  await relay.stop();
});

test('NOTIFY: NEVER and SUCCESS alone bring no failure notice, SUCCESS one of handing on', needs, async (t) => {
  const verdicts: Verdicts = { 'ben@clinic.example': '550 5.1.1 no\r\n' };
  const replies: { ehlo: string } = { ehlo: goodReplies.ehlo };
  const { site, to, opened } = await scene(t, verdicts, shortTimes, replies);
  const relay = await site.serve();
  for (const notify of ['NEVER', 'SUCCESS', 'DELAY'])
    await send(relay.port, ['ben@clinic.example'], letter, { sender: ANNA, rcpt: { 'ben@clinic.example': `NOTIFY=${notify}` } });
  await until('three copies to the operator', () => to(OPERATOR).length === 3);
  await send(relay.port, ['otto@clinic.example'], letter, { sender: ANNA, rcpt: { 'otto@clinic.example': 'NOTIFY=SUCCESS' } });
  await until('the notice of handing on', () => to(ANNA).length === 1);
  const report = await opened(to(ANNA)[0] ?? assert.fail());
  assert.partialDeepStrictEqual(report.recipient, {
    action: 'relayed',
    status: '2.1.9',
    'final-recipient': 'rfc822; otto@clinic.example',
  });
  await relay.stop();
  assert.deepEqual([to(ANNA).length, to(OPERATOR).length], [1, 3]);
});

test('P1 a relay that is killed again and again tells of each refused message once', { ...needs, timeout: 300_000 }, async (t) => {
  const { site, to } = await scene(
    t,
    { 'ben@clinic.example': '550 5.1.1 no\r\n' },
    { ...shortTimes, retry: { first: '1s', longest: '1s', max_age: '1h' } },
  );
  const acknowledged: string[] = [];
  for (let kill = 0; kill < 8; kill++) {
    const relay = await site.serve();
    const sending = (async () => {
      for (let sent = 0; sent < 20; sent++) acknowledged.push(await send(relay.port, ['ben@clinic.example'], letter, { sender: ANNA }));
    })().catch(() => undefined);
    await sleep(Math.random() * 200);
    await relay.kill();
    await sending;
  }
  const last = await site.serve();
  acknowledged.push(await send(last.port, ['ben@clinic.example'], letter, { sender: ANNA }));
  await until('nothing waits', async () => /ready 0, leased 0, deferred 0/.test(await site.sealpost('queue', 'stats')), 60_000);
  await last.stop();
  const tally = (list: readonly Record<string, unknown>[], key: string): Map<unknown, number> =>
    list.reduce((counts, event) => counts.set(event[key], (counts.get(event[key]) ?? 0) + 1), new Map<unknown, number>());
  const bounced = tally(await events(site, '--event', 'bounced'), 'queue_id');
  const notices = tally(
    (await events(site, '--event', 'notice')).filter(({ recipient }) => recipient === ANNA),
    'about',
  );
  for (const id of acknowledged) assert.deepEqual([bounced.get(id), notices.get(id)], [1, 1], id);
  assert.deepEqual(notices, bounced);
  const delivered = new Set(
    (await events(site, '--event', 'delivered')).filter(({ recipient }) => recipient === ANNA).map(({ queue_id: id }) => id),
  );
  assert.equal(delivered.size, bounced.size, 'each notice reached the upstream');
  assert.ok(to(ANNA).length >= bounced.size);
  t.diagnostic(
    `${acknowledged.length} acknowledged, ${bounced.size} bounced, ${delivered.size} notices, ${to(ANNA).length} deliveries of them`,
  );
});
