/**
 * A clinic: twelve rules, and forty envelopes with what is to become of them, written by hand beforehand (clinic/policies/tests). The relay
 * over SMTP, `explain` with the message itself, and `policies test` must all come to what stands there.
 */
import assert from 'node:assert/strict';
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { openSiteCertificates } from '../../src/certificates/site.ts';
import { pathsOf } from '../../src/commands/certificates/paths.ts';
import { explain } from '../../src/commands/explain/account.ts';
import { assume } from '../../src/commands/explain/assumed.ts';
import { siteForms } from '../../src/commands/explain/site.ts';
import { type Case, readCases } from '../../src/commands/policies/cases.ts';
import { loadConfig } from '../../src/config.ts';
import { makeRuleSet } from '../../src/policy/decide.ts';
import { loadRules } from '../../src/policy/rules.ts';
import { answerTo, fakeResolver } from '../certificates/smimea/fake.ts';
import { make } from '../certificates/openssl.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite, type RunningRelay, type Site } from './site.ts';
import { type Delivery, keepingUpstream } from './upstream.ts';

const skip = missingPrograms({ openssl: 'openssl' }) ?? false;
const RULES = join(import.meta.dirname, 'clinic/policies');
const TABLE = 'policies/tests/clinic.yaml';
const PASSWORD = 'a password of some length';
const BODY = 'Fever since Monday.';
const NXDOMAIN = 3;
const SERVFAIL = 2;

/** A site with the clinic's rules, and all that they ask for. */
async function makeClinic(t: TestContext, upstreamPort: number): Promise<Site> {
  const down = (name: string): boolean => name.endsWith('down.example');
  const resolver = await fakeResolver((asked) => answerTo(asked, {}, down(asked.name) ? SERVFAIL : NXDOMAIN));
  t.after(() => resolver.close());
  const site = await makeSite(t, {
    upstreamPort,
    config: {
      clients: { networks: ['127.0.0.0/8'], users: 'users.yaml' },
      identities: { clinic: { cert: 'keys/clinic.pem', key: 'file:keys/clinic.key' } },
      certificates: {
        sources: [{ files: 'certs/recipients' }, { smimea: { resolver: `127.0.0.1:${resolver.port}` } }],
        aliases: { 'vera@mail.example': 'carla@clinic.example', 'archive@clinic.example': 'otto@clinic.example' },
        domains: { 'partner.example': 'otto@clinic.example' },
      },
    },
  });
  await rm(join(site.dir, 'policies/50-test.yaml'));
  await cp(RULES, join(site.dir, 'policies'), { recursive: true });
  const signs = ['keyUsage=critical,digitalSignature', 'extendedKeyUsage=emailProtection', 'subjectAltName=email:forms@clinic.example'];
  make(join(site.dir, 'keys'), { name: 'clinic', extensions: ['basicConstraints=critical,CA:FALSE', ...signs] });
  await writeFile(join(site.dir, 'password'), `${PASSWORD}\n`);
  const addUser = (name: string): Promise<string> => site.sealpost('users', 'add', name, '--password-file', join(site.dir, 'password'));
  await Promise.all([site.sealpost('queue', 'hold-key'), addUser('portal').then(() => addUser('desk'))]);
  return site;
}

/** As `policies test` reads the case. */
function messageOf({ from, header_from: author, subject, headers = [] }: Case): string {
  const written = author ?? from?.address;
  const fields = [...(written === undefined ? [] : [`From: ${written}`]), ...(subject === undefined ? [] : [`Subject: ${subject}`])];
  return `${[...fields, ...headers].join('\r\n')}\r\n\r\n${BODY}\r\n`;
}

interface Told {
  readonly at: 'rcpt' | 'data';
  readonly reply: string;
}

/** What the relay tells a script that sends this envelope. */
async function submit({ port }: RunningRelay, one: Case): Promise<Told> {
  const client = await dialogue(port, one.client === undefined ? {} : { localAddress: one.client });
  try {
    await client.expect(/^220/);
    await client.ask('EHLO web.clinic.example', /^250/);
    if (one.user !== undefined) await client.ask(`AUTH PLAIN ${Buffer.from(`\0${one.user}\0${PASSWORD}`).toString('base64')}`, /^235/);
    await client.ask(`MAIL FROM:<${one.from?.address ?? ''}>${one.size === undefined ? '' : ` SIZE=${one.size}`}`, /^250/);
    const [rcpt = ''] = await client.ask(`RCPT TO:<${one.to.address}>`, /^\d{3}/);
    if (!rcpt.startsWith('250')) return { at: 'rcpt', reply: rcpt };
    await client.ask('DATA', /^354/);
    client.send(messageOf(one));
    const [reply = ''] = await client.ask('.', /^\d{3}/);
    return { at: 'data', reply };
  } finally {
    client.close();
  }
}

type Event = Readonly<Record<string, unknown>>;

async function auditOf(site: Site): Promise<Event[]> {
  const text = await readFile(join(site.data, 'audit.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line): Event => JSON.parse(line));
}

const replies = { refuse: /^550/, retry: /^451/, seal: /^250/, hold: /^250/, pass: /^250/ } as const;
const events = { seal: 'sealed', hold: 'held', pass: 'passed' } as const;

/** The outer header of what went out, by field. */
const fieldOf = ({ octets }: Delivery, name: string): string | undefined =>
  new RegExp(`^${name}: (.*)\r$`, 'm').exec(octets.toString('latin1', 0, octets.indexOf('\r\n\r\n') + 2))?.[1];

function assertDelivered({ name, expect, from, to }: Case, id: string, deliveries: readonly Delivery[]): void {
  const out = deliveries.filter(({ octets }) => octets.includes(id));
  const own = out.find(({ recipient }) => recipient === to.address);
  if (expect.decision === 'hold') return assert.equal(own, undefined, `${name}: held mail waits`);
  assert.ok(own, `${name}: nothing came out`);
  const clear = own.octets.includes(BODY);
  assert.equal(clear, expect.decision === 'pass', `${name}: in clear`);
  if (expect.decision === 'seal') assert.match(fieldOf(own, 'Content-Type') ?? '', /^application\/pkcs7-mime/, name);
  if (expect.subject !== undefined && expect.subject !== 'keep')
    assert.equal(fieldOf(own, 'Subject'), expect.subject.replace('QUEUE-ID', id), name);
  if (expect.from !== undefined) assert.equal(fieldOf(own, 'From'), expect.from, name);
  assert.equal(own.sender, expect.envelope_from ?? from?.address ?? '', name);
}

async function readClinic(site: Site): Promise<readonly Case[]> {
  const read = await readCases(join(site.dir, TABLE));
  assert.ok(read.kind === 'valid');
  assert.equal(read.value.length, 40);
  return read.value;
}

test('Show: the relay, explain and policies test come to what was written by hand', { skip }, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeClinic(t, upstream.port);
  const cases = await readClinic(site);
  const config = await loadConfig({ file: site.file, env: {}, cwd: site.dir });
  const rules = await loadRules(config.policies);
  assert.equal(rules.length, 12);

  await t.test('the relay over SMTP', async () => {
    const relay = await site.serve();
    const taken: { readonly one: Case; readonly id: string }[] = [];
    for (const one of cases) {
      const { name, expect } = one;
      const { at, reply } = await submit(relay, one);
      assert.match(reply, replies[expect.decision], name);
      assert.equal(at, expect.at, `${name}: ${reply}`);
      if (expect.decision !== 'refuse' && expect.decision !== 'retry') taken.push({ one, id: /queued as (\S+)/.exec(reply)?.[1] ?? '' });
      else if (rules.find((rule) => rule.name === expect.rule)?.text === undefined) assert.ok(reply.includes(`rule ${expect.rule}`), reply);
    }
    const isOut = (id: string, recipient: string): boolean =>
      upstream.deliveries().some((delivery) => delivery.recipient === recipient && delivery.octets.includes(id));
    const due = taken.flatMap(({ one: { expect, to }, id }) => [
      ...(expect.decision === 'hold' ? [] : [{ id, recipient: to.address }]),
      ...(expect.archive === undefined ? [] : [{ id, recipient: expect.archive }]),
    ]);
    await until('all went out', () => due.every(({ id, recipient }) => isOut(id, recipient)));
    // The log is written behind the queue: whole once the relay has ended.
    await relay.stop();
    const audit = await auditOf(site);
    for (const { one, id } of taken) {
      const { decision, rule, because, signed } = one.expect;
      if (decision === 'refuse' || decision === 'retry') continue;
      const found = audit.find(
        (event) => event['queue_id'] === id && event['recipient'] === one.to.address && event['event'] === events[decision],
      );
      assert.equal(found?.['rule'], rule, one.name);
      if (because !== undefined) assert.equal(found?.['because'], because, one.name);
      if (signed !== undefined) assert.equal(found?.['signed_by'] ?? 'none', signed, one.name);
      assertDelivered(one, id, upstream.deliveries());
    }
  });

  await t.test('explain, with the very message', async () => {
    const { places, options } = pathsOf(config, {});
    const log = pino({ level: 'silent' });
    const certificates = openSiteCertificates(places, { ...options, now: Date.now, log });
    t.after(() => certificates.close());
    const parts = { rules: makeRuleSet(rules), addressBook: certificates.addressBook, formFor: siteForms(config) };
    for (const one of cases) {
      const file = join(site.dir, 'message.eml');
      await writeFile(file, messageOf(one));
      const { content, isSealedFor } = (await assume({ message: file }, one.from)) ?? assert.fail();
      const user = one.user === undefined ? null : { name: one.user, mailbox: null };
      const client = { address: one.client ?? '127.0.0.1', user };
      const question = { sender: one.from, recipient: one.to, client, size: one.size ?? null, content, isSealedFor };
      const account = await explain(parts, question);
      const { decision, rule, at, because = account.because } = one.expect;
      assert.deepEqual([account.decision, account.rule, account.at, account.because], [decision, rule, at, because], one.name);
    }
  });

  await t.test('policies test', async () => {
    assert.equal(await site.sealpost('policies', 'test', TABLE), '40 cases, all as expected\n');
  });
});

test('Show: a policy file that breaks while the relay runs: the rules from before hold, log and check say where', { skip }, async (t) => {
  const upstream = await keepingUpstream(t);
  const rule = { name: 'strangers', when: { recipient: '*@else.example' }, then: 'refuse', text: 'no strangers' };
  const site = await makeSite(t, { upstreamPort: upstream.port, rules: [rule, { name: 'rest', then: 'seal', subject: 'keep' }] });
  const file = join(site.dir, 'policies/50-test.yaml');
  const relay = await site.serve();
  const strangers = async (): Promise<string> => {
    const client = await dialogue(relay.port);
    try {
      await client.expect(/^220/);
      await client.ask('EHLO web.clinic.example', /^250/);
      await client.ask('MAIL FROM:<web@clinic.example>', /^250/);
      return (await client.ask('RCPT TO:<a@else.example>', /^\d{3}/))[0] ?? '';
    } finally {
      client.close();
    }
  };
  assert.match(await strangers(), /^550 .*no strangers/);
  const good = await readFile(file, 'utf8');
  await writeFile(file, 'rules:\n  - { name: rest, then: seal, subjekt: keep }\n');
  await until('it was seen', () => relay.log().includes('50-test.yaml:2:'));
  assert.match(await strangers(), /^550 .*no strangers/, 'a file that is wrong changes nothing');
  assert.match(relay.log(), /50-test\.yaml:2:\d+: rules\[0\]\.subjekt: no such key/);
  await assert.rejects(site.sealpost('check'), /1 fault/);
  await writeFile(file, good.replace('no strangers', 'not to them'));
  await until('the mended one counts', async () => /not to them/.test(await strangers()));
  await relay.stop();
  const told = (await auditOf(site)).filter(({ event }) => event === 'rules-loaded' || event === 'rules-kept');
  assert.deepEqual(
    told.map(({ event, rules, faults }) => [event, rules ?? faults]),
    [
      ['rules-loaded', 2],
      ['rules-kept', 1],
      ['rules-loaded', 2],
    ],
  );
});
