/** Certificates of signed mail, from the mail to the sealed message: by the command and by the relay's own address. */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { test, type TestContext } from 'node:test';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { capabilities, mailOf, signedBy } from '../certificates/harvest/sign.ts';
import { caExtensions, derOf, make } from '../certificates/openssl.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms, run, succeed } from '../interop/programs.ts';
import { recipientInfos, serialNumberOf } from '../interop/readers.ts';
import { CLI, makeSite, type Site } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };
const ANNA = 'anna@clinic.example';
const KEYS = 'keys@relay.clinic.example';
/** Stands in the mails and must be nowhere else. */
const SECRET = 'XYZZY-what-anna-wrote';

interface Mails {
  readonly good: Buffer;
  readonly tampered: Buffer;
  readonly stranger: Buffer;
}

/** Three signed mails from Anna's address, as openssl writes them: hers, hers with a letter changed, and one of an unknown CA. */
async function makeMails(t: TestContext, site: Site): Promise<Mails> {
  const other = await makeSite(t, { upstreamPort: 1, people: [] });
  const good = await sign(site);
  const tampered = Buffer.from(good.toString('latin1').replace(SECRET, SECRET.replace('XYZZY', 'XYZZX')), 'latin1');
  return { good, tampered, stranger: await sign(other) };
}

async function sign({ dir, readers }: Site, from = `Anna <${ANNA}>`, ...more: readonly string[]): Promise<Buffer> {
  const body = join(dir, 'body');
  await writeFile(body, `Content-Type: text/plain\r\n\r\n${SECRET}\r\n`);
  const { certificate, key } = readers.people.anna;
  const header = ['-from', from, '-to', KEYS, '-subject', 'my certificate'];
  const octets = await succeed('openssl', ['cms', '-sign', '-in', body, '-signer', certificate, '-inkey', key, ...header, ...more]);
  return Buffer.from(octets.toString('latin1').replaceAll(/\r?\n/g, '\r\n'), 'latin1');
}

async function save(site: Site, mails: Mails): Promise<string[]> {
  const files = Object.entries(mails).map(([name, octets]: [string, Buffer]) => ({ file: join(site.dir, `${name}.eml`), octets }));
  for (const { file, octets } of files) await writeFile(file, octets);
  return files.map(({ file }) => file);
}

async function events({ data }: Site): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(data, 'audit.jsonl'), 'utf8');
  const lines = text.slice(0, text.lastIndexOf('\n')).split('\n').filter(Boolean);
  return lines.map((line): Record<string, unknown> => ({ ...JSON.parse(line) }));
}

/** What the relay says to a message for its own address. */
async function submit(port: number, message: Buffer): Promise<string> {
  return send(port, [KEYS], message).then(
    () => 'taken',
    (error: unknown) => String(error),
  );
}

test(
  'three signed mails: one waits, two are refused with their reason; approved, the next message is sealed to it',
  needsOpenssl,
  async (t) => {
    const upstream = await keepingUpstream(t);
    const site = await makeSite(t, { upstreamPort: upstream.port, people: ['otto'] });
    const relay = await site.serve();
    await assert.rejects(send(relay.port, [ANNA]), /550/);
    const files = await save(site, await makeMails(t, site));
    const told = await run(process.execPath, [CLI, '-c', site.file, 'certs', 'harvest', '--json', '--by', 'Dr Otto', ...files]);
    assert.equal(told.code, 1, told.stderr);
    const lines: { verdict: string; reason: string | null; address: string | null; sha256: string | null }[] = JSON.parse(
      told.stdout.toString(),
    );
    assert.deepEqual(
      lines.map(({ verdict, address }) => [verdict, address]),
      [
        ['pending', ANNA],
        ['refused', ANNA],
        ['refused', ANNA],
      ],
    );
    assert.match(lines[1]?.reason ?? '', /it was changed on its way/);
    assert.match(lines[2]?.reason ?? '', /no path to an anchor/);
    const waiting = JSON.parse(await site.sealpost('certs', 'pending', '--json'));
    assert.partialDeepStrictEqual(waiting, [{ kind: 'harvested', address: ANNA, fingerprint: lines[0]?.sha256, used: null }]);
    // Nothing is used before somebody says so.
    await assert.rejects(send(relay.port, [ANNA]), /550/);
    assert.match(await site.sealpost('certs', 'approve', ANNA), /may be used from now on/);
    assert.deepEqual(JSON.parse(await site.sealpost('certs', 'pending', '--json')), []);
    await until(
      'mail to Anna is taken',
      () =>
        send(relay.port, [ANNA]).then(
          () => true,
          () => false,
        ),
      30_000,
    );
    await until('the delivery', () => upstream.deliveries().length > 0);
    const [info] = await recipientInfos(upstream.deliveries()[0]?.octets ?? Buffer.alloc(0));
    assert.equal(info?.serial, await serialNumberOf(site.readers.people.anna.certificate));
    await relay.stop();
    const told2 = await events(site);
    const about = { recipient: ANNA, certificate_sha256: lines[0]?.sha256 };
    assert.partialDeepStrictEqual(
      told2.filter(({ event }) => String(event).startsWith('certificate-')),
      [
        { event: 'certificate-harvested', ...about, waits: true, from: 'a file' },
        { event: 'certificate-approved', ...about },
      ],
    );
    assert.match(String(told2.find(({ event }) => event === 'certificate-harvested')?.['operator']), /^Dr Otto, typed by /);
  },
);

test('by mail: the reply is the verdict, nothing goes on and nothing is on disk (P2)', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, {
    upstreamPort: upstream.port,
    people: ['otto'],
    config: { certificates: { harvest: { address: KEYS } } },
  });
  const { good, tampered, stranger } = await makeMails(t, site);
  const relay = await site.serve();
  const client = await dialogue(relay.port, { waitMs: 30_000 });
  await client.expect(/^220/);
  await client.ask('EHLO web.clinic.example', /^250/);
  await client.ask(`MAIL FROM:<${ANNA}>`, /^250/);
  await client.ask(`RCPT TO:<${KEYS}>`, /^250/);
  await client.ask('RCPT TO:<otto@clinic.example>', /^452 4\.5\.3/);
  await client.ask('RSET', /^250/);
  await client.ask(`MAIL FROM:<${ANNA}>`, /^250/);
  await client.ask('RCPT TO:<otto@clinic.example>', /^250/);
  await client.ask(`RCPT TO:<${KEYS}>`, /^452 4\.5\.3/);
  await client.ask('RSET', /^250/);
  await client.ask(`MAIL FROM:<${ANNA}>`, /^250/);
  await client.ask(`RCPT TO:<KEYS@relay.CLINIC.example>`, /^250/);
  await client.ask('DATA', /^354/);
  client.send(good);
  await client.ask('.', /^250 2\.0\.0 certificate waits for approval$/);
  client.close();
  assert.match(await submit(relay.port, tampered), /550 5\.7\.1 .*it was changed on its way/);
  assert.match(await submit(relay.port, stranger), /550 5\.7\.1 .*no path to an anchor/);
  // Anna's text under another From: no certificate names that address.
  const forged = Buffer.from(good.toString('latin1').replace(ANNA, 'otto@clinic.example'), 'latin1');
  assert.match(await submit(relay.port, forged), /550 5\.7\.1 .*no certificate of its signer names otto@clinic\.example/);
  assert.match(
    await submit(relay.port, Buffer.from(`From: ${ANNA}\r\n\r\n${SECRET}\r\n`)),
    /550 5\.7\.1 .*it is not signed but text\/plain/,
  );
  assert.match(await site.sealpost('certs', 'reject', ANNA), /1 certificate rejected/);
  assert.deepEqual(JSON.parse(await site.sealpost('certs', 'pending', '--json')), []);
  assert.equal(await site.sealpost('queue', 'list', '--json'), '');
  assert.match(relay.log(), /"reason":"[^"]*changed on its way[^"]*","msg":"a mail to the harvest address gave no certificate"/);
  await relay.stop();
  assert.equal(upstream.deliveries().length, 0);
  assert.doesNotMatch(relay.log(), new RegExp(SECRET));
  for (const name of readdirSync(site.data, { recursive: true, encoding: 'utf8' }))
    assert.ok(!(await readFile(join(site.data, name)).catch(() => Buffer.alloc(0))).includes(SECRET), name);
  assert.deepEqual(
    (await events(site)).map(({ event }) => event),
    ['started', 'config-loaded', 'rules-loaded', 'certificate-harvested', 'certificate-rejected', 'stopped'],
  );
});

test('by rule: taken at once, once', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port, people: ['otto'] });
  const der = await succeed('openssl', ['x509', '-in', site.readers.ca, '-noout', '-fingerprint', '-sha256']);
  const issuer = der.toString().trim().split('=')[1] ?? '';
  const config: Record<string, unknown> = { ...JSON.parse(await readFile(site.file, 'utf8')) };
  await writeFile(site.file, JSON.stringify({ ...config, certificates: { harvest: { address: KEYS, approve_issuers: [issuer] } } }));
  const relay = await site.serve();
  assert.equal(await submit(relay.port, await sign(site)), 'taken');
  await until(
    'mail to Anna is taken',
    () =>
      send(relay.port, [ANNA]).then(
        () => true,
        () => false,
      ),
    30_000,
  );
  assert.equal(await submit(relay.port, await sign(site)), 'taken');
  await relay.stop();
  const told = (await events(site)).filter(({ event }) => String(event).startsWith('certificate-'));
  assert.partialDeepStrictEqual(told, [
    { event: 'certificate-harvested', waits: false, from: '127.0.0.1' },
    { event: 'certificate-approved', operator: 'rule' },
  ]);
  assert.equal(told.length, 2);
});

test(
  'a CA that came with the mail leads on to the anchor, and what the signer can open is used, over a restart too',
  needsOpenssl,
  async (t) => {
    const upstream = await keepingUpstream(t);
    const site = await makeSite(t, { upstreamPort: upstream.port, people: ['otto'] });
    const people = join(site.dir, 'people');
    const vera = 'vera@clinic.example';
    const ca = parseCertificate(derOf(await readFile(site.readers.ca, 'latin1')));
    const below = make(people, { name: 'below', issuer: 'ca', extensions: caExtensions });
    const certificate = parseCertificate(make(people, { name: 'vera', issuer: 'below', extensions: [`subjectAltName=email:${vera}`] }));
    const privateKey = createPrivateKey(await readFile(join(people, 'vera.key')));
    const person = { certificate, keys: { privateKey, publicKey: certificate.publicKey } };
    const text = Buffer.from('Content-Type: text/plain\r\n\r\nhello');
    const gcm = { more: [capabilities('2.16.840.1.101.3.4.1.46', '2.16.840.1.101.3.4.1.42')] };
    const mail = mailOf(text, signedBy(person, text, gcm, [parseCertificate(below)]), vera);
    const config: Record<string, unknown> = { ...JSON.parse(await readFile(site.file, 'utf8')) };
    const harvest = { address: KEYS, approve_issuers: [ca.fingerprint] };
    await writeFile(site.file, JSON.stringify({ ...config, certificates: { harvest } }));
    for (const first of [true, false]) {
      const relay = await site.serve();
      if (first) assert.equal(await submit(relay.port, mail), 'taken');
      const before = upstream.deliveries().length;
      await until(
        'mail to Vera is taken',
        () =>
          send(relay.port, [vera]).then(
            () => true,
            () => false,
          ),
        30_000,
      );
      await until('the delivery', () => upstream.deliveries().length > before);
      assert.match(upstream.deliveries().at(-1)?.octets.toString('latin1') ?? '', /smime-type="?authEnveloped-data/);
      await relay.stop();
    }
    assert.deepEqual(readdirSync(join(site.data, 'intermediates')).length, 1);
    assert.match(await site.sealpost('certs', 'lookup', vera), /CN=vera, signed by CN=below, signed by /);
  },
);
