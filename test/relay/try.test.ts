/** `certs try` and `certs confirm`: a code goes out under seal, openssl reads it, and the operator tells it back. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { goodReplies } from '../delivery/peer.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms, type Outcome, run } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import { CLI, makeSite, type Site } from './site.ts';
import { type KeepingUpstream, keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };

const ANNA = 'anna@clinic.example';
const BEN = 'ben@clinic.example';

const command = (site: Site, args: readonly string[], input?: string): Promise<Outcome> =>
  run(process.execPath, [CLI, '-c', site.file, 'certs', ...args], {
    cwd: site.dir,
    ...(input === undefined ? {} : { input: Buffer.from(input) }),
  });

/** What a reader sees of the message that came last. */
async function read(site: Site, upstream: KeepingUpstream, name: 'anna' | 'ben'): Promise<string> {
  const program = await openssl.start(site.readers);
  try {
    const entity = (await program.open(upstream.deliveries().at(-1)?.octets ?? Buffer.alloc(0), site.readers.people[name])).toString();
    const [header = '', body = ''] = entity.split('\r\n\r\n');
    return `${header}\r\n\r\n${Buffer.from(body, 'base64').toString()}`;
  } finally {
    await program.close();
  }
}

const codeIn = (text: string): string => /^ {4}([A-Z0-9]{4}-[A-Z0-9]{4})\r$/m.exec(text)?.[1] ?? '';

/** Every octet that the relay keeps. */
const kept = (folder: string): string =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => readFileSync(path, 'latin1'))
    .join('\n');

const eventsOf = (site: Site, event: string): Record<string, unknown>[] =>
  readFileSync(join(site.data, 'audit.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line.endsWith('}'))
    .map((line): Record<string, unknown> => ({ ...JSON.parse(line) }))
    .filter((entry) => entry['event'] === event);

interface Listed {
  readonly addresses: readonly string[];
  readonly confirmed: string | null;
  readonly tried: string | null;
  readonly fingerprint: string;
}

test('a reader who opens the mail tells the code, and every command shows it (P2)', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port, people: ['anna', 'ben'] });
  const relay = await site.serve();
  const tried = await command(site, ['try', ANNA, '--by', 'Dr Ada']);
  assert.equal(tried.code, 0, tried.stderr);
  assert.match(
    tried.stdout.toString(),
    /^anna@clinic\.example: a sealed message with a code is on its way \([0-9a-z]+\)\n {2}sealed to anna/,
  );
  await until('the delivery', () => upstream.deliveries().length === 1);
  assert.deepEqual([upstream.deliveries()[0]?.sender, upstream.deliveries()[0]?.recipient], ['', ANNA]);
  const outside = upstream.deliveries()[0]?.octets.toString() ?? '';
  assert.doesNotMatch(outside, /Can you read/);
  assert.match(outside, /^Reply-To: <postmaster@clinic\.example>\r$/m);
  const text = await read(site, upstream, 'anna');
  const code = codeIn(text);
  assert.notEqual(code, '', text);

  const unconfirmed = async (): Promise<string[]> =>
    JSON.parse((await command(site, ['list', '--unconfirmed', '--json'])).stdout.toString()).map((row: Listed) => row.addresses[0]);
  assert.deepEqual(await unconfirmed(), [ANNA, BEN]);
  const wrong = await command(site, ['confirm', ANNA, 'AAAA-AAAA']);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /that is not the code: 4 more may be given/);
  const spoken = ` ${code.toLowerCase().replace('-', ' ')} \n`;
  const right = await command(site, ['confirm', ANNA, '-', '--by', 'Dr Ada'], spoken);
  assert.equal(right.code, 0, right.stderr);
  assert.match(right.stdout.toString(), /^anna@clinic\.example: confirmed, sealed mail can be read\n/);
  const again = await command(site, ['confirm', ANNA, code]);
  assert.match(again.stderr, /confirmed already/);
  assert.equal(again.code, 1);

  const rows: Listed[] = JSON.parse((await command(site, ['list', '--json'])).stdout.toString());
  const anna = rows.find(({ addresses }) => addresses[0] === ANNA);
  assert.match(anna?.confirmed ?? '', /^\d{4}-/);
  assert.equal(anna?.tried, null);
  assert.match((await command(site, ['list'])).stdout.toString(), /anna@clinic\.example .* usable, confirmed \d{4}-\d\d-\d\d /);
  assert.match((await command(site, ['show', 'certs/recipients/anna.pem'])).stdout.toString(), /^state +usable, confirmed /m);
  assert.match((await command(site, ['lookup', ANNA])).stdout.toString(), /confirmed on \d{4}-\d\d-\d\d: its reader could open mail/);
  assert.deepEqual(await unconfirmed(), [BEN]);

  await relay.stop();
  const operator = /^Dr Ada, typed by /;
  for (const event of ['certificate-tried', 'certificate-confirmed']) {
    const [told, ...more] = eventsOf(site, event);
    assert.deepEqual([told?.['recipient'], told?.['certificate_sha256'], more.length], [ANNA, anna?.fingerprint, 0]);
    assert.match(String(told?.['operator']), operator);
  }
  for (const secret of [code, code.replace('-', ''), 'Can you read']) assert.ok(!(kept(site.data) + relay.log()).includes(secret), secret);
});

test('where no relay runs the mail waits for one, sealed; without a certificate nothing is sent (P3)', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port, people: ['anna'] });
  const none = await command(site, ['try', BEN]);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /^sealpost: there is no usable certificate: ben@clinic\.example\n/);
  assert.equal((await command(site, ['confirm', BEN, 'AAAA-AAAA'])).code, 1);
  const tried = await command(site, ['try', ANNA]);
  assert.match(tried.stdout.toString(), /is queued and goes out once the relay runs: sealpost serve/);
  const relay = await site.serve();
  await until('the delivery', () => upstream.deliveries().length === 1);
  const code = codeIn(await read(site, upstream, 'anna'));
  await relay.stop();
  assert.equal((await command(site, ['confirm', ANNA, code])).code, 0);
  assert.equal(eventsOf(site, 'certificate-tried').length, 1);
});

test('a group shares one mail: it names who it was sealed to, and its code confirms nobody by themselves', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const members = [ANNA, BEN, 'dora@clinic.example'];
  const config = { certificates: { groups: { 'info@clinic.example': members } } };
  const site = await makeSite(t, { upstreamPort: upstream.port, people: ['anna', 'ben'], config });
  const relay = await site.serve();
  const { stdout } = await command(site, ['try', 'INFO@clinic.example']);
  assert.match(stdout.toString(), /sealed to anna@.*\n.*sealed to ben@.*\n.*not who\n.*dora@clinic\.example has no usable certificate/);
  await until('the delivery', () => upstream.deliveries().length === 1);
  const code = codeIn(await read(site, upstream, 'ben'));
  assert.equal((await command(site, ['confirm', 'info@clinic.example', code])).code, 0);
  assert.equal(JSON.parse((await command(site, ['list', '--unconfirmed', '--json'])).stdout.toString()).length, 2);
  await relay.stop();
  assert.equal(eventsOf(site, 'certificate-confirmed')[0]?.['members'], `${ANNA}, ${BEN}`);
});

test('own mail that is refused bounces without a notice: nobody is told of it by mail', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t, { ...goodReplies, rcpt: '550 5.1.1 no such user\r\n' });
  const site = await makeSite(t, { upstreamPort: upstream.port, people: ['anna'], config: { notices: { domains: ['clinic.example'] } } });
  const relay = await site.serve();
  assert.equal((await command(site, ['try', ANNA])).code, 0);
  await until('the bounce', () => eventsOf(site, 'bounced').length === 1);
  await relay.stop();
  assert.deepEqual(eventsOf(site, 'notice'), []);
  assert.equal(eventsOf(site, 'accepted').length, 1, 'the code alone was queued');
  assert.deepEqual(upstream.deliveries(), []);
});
