/** `sealpost queue` and `sealpost audit` as an operator meets them, beside a running relay and without one. */
import assert from 'node:assert/strict';
import { userInfo } from 'node:os';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { env, execPath } from 'node:process';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { writeFacts, type NoticeFacts } from '../../src/delivery/facts.ts';
import { queueHandlers, serveControl } from '../../src/control.ts';
import { writeHeld } from '../../src/path/held.ts';
import { claimOne, makeSite, put, START, type Site } from '../queue/site.ts';

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));

/** The least that a site says; queue and audit are where they are by default. */
const CONFIG = `
hostname: relay.clinic.example
operator: postmaster@clinic.example
listen: [{ host: 127.0.0.1, port: 2525, tls: off }]
upstream: [{ host: 127.0.0.1, port: 25, tls: off }]
`;

interface Said {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs `sealpost WORDS` in the folder above the site's data. */
function sealpost(site: Site, ...words: readonly string[]): Promise<Said> {
  const cwd = dirname(site.paths.folder);
  const file = join(cwd, 'sealpost.yaml');
  if (!existsSync(file)) writeFileSync(file, CONFIG);
  const child = spawn(execPath, [cli, ...words], {
    cwd,
    env: { ...env, SUDO_USER: 'anna', USER: 'mallory' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (bytes: Buffer) => out.push(bytes));
  child.stderr.on('data', (bytes: Buffer) => err.push(bytes));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() }));
  });
}

const done = (out: string): Said => ({ code: 0, out, err: '' });

/** q1 deferred with a hostile reply, q2 bounced, q3 ready for two; the relay has stopped. */
async function makeStopped(t: TestContext): Promise<Site> {
  const site = await makeSite(t);
  const store = await site.open();
  await put(store, { id: 'q1' });
  const first = await claimOne(store);
  await store.settle(first, { kind: 'deferred', dueAt: START + 60_000, reason: '451 \u001b[2Jlater\u202e' }, []);
  await put(store, { id: 'q2', octets: 2000 });
  await store.settle(await claimOne(store), { kind: 'bounced', reason: '550 5.1.1 no such user' }, []);
  await put(store, { id: 'q3', recipients: ['a@x.example', 'b@x.example'] });
  await store.close();
  return site;
}

test('queue list, show and stats tell states and reasons, escaped, and nothing of the content', async (t) => {
  const site = await makeStopped(t);
  assert.deepEqual(
    await sealpost(site, 'queue', 'list'),
    done(`q1  deferred  anna@clinic.example  attempts 1  due 2026-01-01T00:01:00.000Z  451 \\u001b[2Jlater\\u202e
q2  bounced   anna@clinic.example  attempts 1  550 5.1.1 no such user
q3  ready     a@x.example  attempts 0  due 2026-01-01T00:00:00.000Z
q3  ready     b@x.example  attempts 0  due 2026-01-01T00:00:00.000Z
`),
  );
  assert.deepEqual(
    await sealpost(site, 'queue', 'list', '--state', 'bounced', '--json'),
    done(
      `{"queueId":"q2","recipient":"anna@clinic.example","sender":"form@clinic.example","state":"bounced","acceptedAt":${START},"dueAt":null,"changedAt":${START},"attempts":1,"size":2000,"reason":"550 5.1.1 no such user","notice":null,"held":null,"passes":false}\n`,
    ),
  );
  assert.deepEqual(
    await sealpost(site, 'queue', 'show', 'q2'),
    done(`id        q2
sender    form@clinic.example
accepted  2026-01-01T00:00:00.000Z
size      2000 octets as they came in
recipient anna@clinic.example
  bounced, attempts 1
  550 5.1.1 no such user
`),
  );
  assert.deepEqual(
    await sealpost(site, 'queue', 'stats'),
    done(`recipients now   ready 2, leased 0, deferred 1, held 0, bounced 1, damaged 0
in all           accepted 4, delivered 0, bounced 1, removed 0, ambiguous 0
sealed content   2200 octets
oldest message   2026-01-01T00:00:00.000Z
oldest held      nothing is held
`),
  );
});

test('queue list --held, show, stats and retry tell of held mail: since when, by which rule, why, until when, and what to do', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  const facts = {
    because: 'missing',
    heldAt: START,
    client: '192.0.2.7',
    user: 'canary',
    size: null,
    cipher: 'aes256-cbc',
    inside: '',
  } as const;
  const keptBy = (rule: string, archive: boolean) => ({ kind: 'held', facts: writeHeld({ ...facts, rule, archive }) }) as const;
  await put(store, { id: 'q1', kept: keptBy('patients', false) });
  await put(store, { id: 'q2' });
  await put(store, { id: 'q3', kept: keptBy('\u202efiles', true) });
  await put(store, { id: 'q4', kept: { kind: 'spooled', facts: '{}' } });
  const row = (await store.heldRows({ queueId: 'q3' }, 0, 1))[0] ?? assert.fail();
  await store.endHeld(row, { kind: 'bounced', reason: '4.4.7 held for too long' }, []);
  await store.close();
  const [held, json, show, stats, retried] = await Promise.all([
    sealpost(site, 'queue', 'list', '--held'),
    sealpost(site, 'queue', 'list', '--state', 'held', '--json'),
    sealpost(site, 'queue', 'show', 'q1'),
    sealpost(site, 'queue', 'stats'),
    sealpost(site, 'queue', 'retry', 'q1'),
  ]);
  const told = 'since 2026-01-01T00:00:00.000Z  by rule patients: no usable certificate  expires 2026-01-15T00:00:00.000Z';
  assert.deepEqual(held, done(`q1  held      anna@clinic.example  attempts 0  ${told}\n`));
  assert.deepEqual(JSON.parse(json.out).held, {
    rule: 'patients',
    because: 'missing',
    since: START,
    expires: START + 14 * 86_400_000,
    archive: false,
  });
  assert.match(show.out, /^ {2}by rule patients: no usable certificate\n.*\n {2}sealpost queue release q1 --key FILE$/m);
  assert.match(
    stats.out,
    /^recipients now {3}ready 2, leased 0, deferred 0, held 1, bounced 1, damaged 0\n[^]*^oldest held {6}2026-01-01T/m,
  );
  assert.deepEqual([retried.code, retried.out], [1, '']);
  assert.match(retried.err, /q1 is held: .*\n {2}hint: sealpost queue release q1 --key FILE/);
  const again = await sealpost(site, 'queue', 'retry', 'q3');
  assert.match(again.out, /^1 recipient held again, until released: sealpost queue release ID/);
  const list = await sealpost(site, 'queue', 'list');
  assert.match(list.out, /by rule \\u202efiles: no usable certificate {2}a copy for the archive/);
  assert.match(list.out, /^q4 {2}ready .* passes in clear$/m);
  assert.doesNotMatch(list.out + json.out + show.out, /canary|192\.0\.2\.7/);
});

test('queue list and show tell a notice from mail, and which message it is about', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  const facts: NoticeFacts = {
    kind: 'delayed',
    reporter: 'relay.example',
    writtenAt: START,
    queueId: 'q1',
    acceptedAt: START,
    date: null,
    messageId: null,
    envid: null,
    orcpt: null,
    recipient: 'ben@partner.example',
    status: '4.2.2',
    cause: 'mailbox-full',
    expired: false,
    attemptedAt: START,
    retryUntil: START,
  };
  await put(store, { id: 'n1', asked: { notice: writeFacts(facts) } });
  await put(store, { id: 'n2', asked: { notice: '{"of":"a later release"}' } });
  await store.close();
  assert.deepEqual(
    await sealpost(site, 'queue', 'list'),
    done(`n1  ready     anna@clinic.example  attempts 0  due 2026-01-01T00:00:00.000Z  notice that q1 is late
n2  ready     anna@clinic.example  attempts 0  due 2026-01-01T00:00:00.000Z
`),
  );
  const [line = '{}'] = (await sealpost(site, 'queue', 'list', '--json')).out.split('\n');
  assert.deepEqual(JSON.parse(line).notice, facts);
  assert.match((await sealpost(site, 'queue', 'show', 'n1')).out, /^notice {4}that ben@partner\.example of q1 is late, 4\.2\.2$/m);
  assert.match((await sealpost(site, 'queue', 'show', 'n2')).out, /^notice {4}its facts cannot be read$/m);
});

test('queue retry and remove work without a relay, and the audit log names who asked', async (t) => {
  const site = await makeStopped(t);
  assert.deepEqual(await sealpost(site, 'queue', 'retry', 'q2'), done('1 recipient will be attempted now\n'));
  assert.deepEqual(await sealpost(site, 'queue', 'remove', 'q3', 'b@x.example', '--yes'), done('1 recipient removed\n'));
  const removed = await sealpost(site, 'audit', 'show', '--event', 'removed');
  assert.match(removed.out, /^\S+  removed  queue_id=q3  recipient=b@x\.example  was=ready  operator=(?<name>.+)\n$/);
  // Whoever sets USER is not believed; root, which may do anything, is believed on whose behalf it acts.
  assert.ok(removed.out.endsWith(`operator=${userInfo().uid === 0 ? '"anna by sudo"' : userInfo().username}\n`), removed.out);
  const of = await sealpost(site, 'audit', 'show', '--id', 'q2', '--since', '2026-01-02', '--json');
  assert.match(of.out, /^\{"seq":\d,"time":"[^"]+","event":"retried","queue_id":"q2",.*"operator":"[^"]+","prev":"[0-9a-f]{64}"\}\n$/);
});

test('queue retry and remove go through the relay that runs, since it owns the queue', async (t) => {
  const site = await makeStopped(t);
  const store = await site.open();
  let woken = 0;
  const handlers = queueHandlers({ store, now: () => START, wake: () => woken++ });
  const control = await serveControl({ socket: site.paths.socket, handlers, log: pino({ level: 'silent' }) });
  t.after(() => control.close());
  assert.deepEqual(await sealpost(site, 'queue', 'retry', '--all'), done('2 recipients will be attempted now\n'));
  assert.equal(woken, 1);
  assert.deepEqual(await sealpost(site, 'queue', 'remove', 'q3', '--yes'), done('2 recipients removed\n'));
  assert.equal((await store.stats()).totals.removed, 2);
  const listed = await sealpost(site, 'queue', 'list');
  assert.equal(listed.out.split('\n').length, 3, 'reading needs nobody to ask');
});

test('what cannot be done says what and how to mend it', async (t) => {
  const site = await makeStopped(t);
  const says = async (code: number, err: RegExp, ...words: string[]): Promise<void> => {
    const said = await sealpost(site, ...words);
    assert.deepEqual([said.code, said.out], [code, ''], said.err);
    assert.match(said.err, err);
  };
  await Promise.all([
    says(1, /^sealpost: no such message in the queue: q9\n {2}hint: sealpost queue list/, 'queue', 'show', 'q9'),
    says(1, /q3: no recipient that is deferred or bounced/, 'queue', 'retry', 'q3'),
    says(2, /takes an ID or --all/, 'queue', 'retry'),
    says(2, /hint: sealpost queue remove q3 --yes/, 'queue', 'remove', 'q3'),
    says(2, /--state takes one of ready, leased/, 'queue', 'list', '--state', 'lost'),
    says(2, /--event takes one of accepted/, 'audit', 'show', '--event', 'lost'),
    says(2, /--since takes a time/, 'audit', 'show', '--since', 'lately'),
    says(2, /unknown option '--wrong'/, 'queue', 'list', '--wrong'),
  ]);
  const holder = await site.open();
  await says(1, /another sealpost owns the queue/, 'queue', 'retry', 'q2');
  await holder.close();
  const empty = await makeSite(t);
  const nothing = await sealpost(empty, 'queue', 'retry', '--all');
  assert.deepEqual([nothing.code, nothing.out], [1, '']);
  assert.match(nothing.err, /a file cannot be read: \S+queue\.sqlite\n {2}hint: has the relay run here/);
  assert.equal(existsSync(empty.paths.folder), false, 'no queue is made by asking for one');
});

test('audit verify names a line that somebody chained behind the recorded head, and a last line without an end', async (t) => {
  const site = await makeStopped(t);
  const whole = readFileSync(site.paths.audit, 'utf8');
  const last = whole.trimEnd().split('\n').at(-1) ?? '';
  const prev = createHash('sha256').update(last).digest('hex');
  for (const [forged, told] of [
    [`{"seq":4,"event":"removed","prev":"${prev}"}\n`, /audit\.jsonl:4: added: the database knows of no such line/],
    ['{"seq":4,"ev', /audit\.jsonl:4: unfinished: it has no end/],
  ] as const) {
    writeFileSync(site.paths.audit, whole + forged);
    const { code, err } = await sealpost(site, 'audit', 'verify');
    assert.equal(code, 1);
    assert.match(err, told);
  }
});

test('audit verify counts a whole log and names the line of a broken one', async (t) => {
  const site = await makeStopped(t);
  const whole = await sealpost(site, 'audit', 'verify');
  assert.equal(whole.code, 0);
  assert.match(
    whole.err,
    /^shown: no line is changed, missing or moved since the database recorded it\.\nnot shown: [^\n]+ --key audit\.pub\n$/,
  );
  assert.match(whole.out, /audit\.jsonl: 3 lines, whole\n$/);
  writeFileSync(site.paths.audit, readFileSync(site.paths.audit, 'utf8').replace('q2', 'q8'));
  const broken = await sealpost(site, 'audit', 'verify');
  assert.equal(broken.code, 1);
  assert.match(
    broken.err,
    /^sealpost: the audit log does not fit its chain: \S+audit\.jsonl:2: changed: line 3 names another hash for it\n {2}hint: keep/,
  );
});
