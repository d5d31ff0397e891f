/**
 * The relay as a process hands mail to real submission hosts, Postfix and exim, by TLS and login; and to the same hosts with
 * something wrong, where a tee on the wire sees that nothing of the mail goes in clear.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { type TestContext, test } from 'node:test';
import { noOpenssl } from '../certificates/openssl.ts';
import { type Identities, makeIdentities } from '../delivery/tls-peer.ts';
import { missingExim, startExim } from '../interop/exim.ts';
import { until } from '../interop/ports.ts';
import { type Postfix, startPostfix } from '../interop/postfix.ts';
import { openssl } from '../interop/readers.ts';
import { missingSubmission, submission } from '../interop/submission.ts';
import { startTee, type Tee, type TeeOptions } from '../interop/tee.ts';
import { makeSite, type Site } from './site.ts';
import { send } from './submit.ts';
import { type KeepingUpstream, keepingUpstream } from './upstream.ts';

const USER = 'relay';
const PASSWORD = 'correct-horse-7';
const CANARY = 'CANARY-the-diagnosis';
const MAIL = `From: forms@clinic.example\r\nTo: anna@clinic.example\r\nSubject: ${CANARY}\r\n\r\n${CANARY} in the body\r\n`;

const skip = noOpenssl === false ? (missingSubmission() ?? false) : noOpenssl;

/** A folder that is removed once `undo`, filled meanwhile, has run backwards: programs must end before their files go. */
async function temporary(t: TestContext, undo: (() => Promise<unknown>)[] = []): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-submission-'));
  undo.unshift(() => rm(dir, { recursive: true, force: true }));
  t.after(async () => {
    for (const step of undo.toReversed()) await step();
  });
  return dir;
}

interface Wired {
  readonly identities: Identities;
  readonly postfix: Postfix;
  /** Where Postfix hands everything on to. */
  readonly last: KeepingUpstream;
  readonly tee: Tee;
}

/** Postfix with TLS and login behind a tee; `shown` is the certificate it shows. */
async function wired(t: TestContext, shown = 'good', tamper?: TeeOptions['tamper']): Promise<Wired> {
  const undo: (() => Promise<unknown>)[] = [];
  const dir = await temporary(t, undo);
  const identities = makeIdentities(dir);
  const last = await keepingUpstream(t);
  const file = (ending: string): string => join(dir, `${shown}.${ending}`);
  const settings = await submission({ dir, certificate: file('pem'), key: file('key'), user: USER, password: PASSWORD });
  const postfix = await startPostfix({ relayTo: last, dir, settings });
  undo.push(() => postfix.stop());
  const tee = await startTee({ to: postfix.port, ...(tamper === undefined ? {} : { tamper }) });
  undo.push(async () => tee[Symbol.asyncDispose]());
  return { identities, postfix, last, tee };
}

async function siteTo(t: TestContext, folder: string, port: number, more: Record<string, unknown> = {}): Promise<Site> {
  const password = join(folder, 'password');
  await writeFile(password, `${PASSWORD}\n`, { mode: 0o600 });
  const upstream = {
    host: 'localhost',
    port,
    tls: 'starttls',
    ca: join(folder, 'ca.pem'),
    auth: { user: USER, password: `file:${password}` },
    ...more,
  };
  return makeSite(t, { upstreamPort: port, config: { upstream: [upstream] } });
}

const audited = async (site: Site, event: string): Promise<Record<string, unknown>[]> =>
  (await readFile(join(site.data, 'audit.jsonl'), 'utf8').catch(() => ''))
    .trim()
    .split('\n')
    .filter((line) => line.includes(`"event":"${event}"`))
    .map((line): Record<string, unknown> => JSON.parse(line));

/** Nothing of the mail, its envelope or the login went over the wire in a form that its reader there could read. */
function assertNothingInClear(tee: Tee): void {
  const octets = tee.sent().toString('latin1');
  for (const word of ['MAIL FROM', 'RCPT', 'clinic.example>', 'anna', CANARY, 'Subject', PASSWORD, 'AUTH'])
    assert.ok(!octets.includes(word), `${word} was sent in clear`);
}

test(
  'Postfix takes sealed mail by STARTTLS and login, and its reader opens it; the audit log names TLS and cipher',
  { skip },
  async (t) => {
    const { identities, last, tee, postfix } = await wired(t);
    const site = await siteTo(t, identities.folder, tee.port);
    const relay = await site.serve();
    const id = await send(relay.port, ['anna@clinic.example'], MAIL);
    await until('Postfix hands it on', () => last.deliveries().length === 1, 20_000);
    const [delivery] = last.deliveries();
    const reader = site.readers.people.anna;
    const inner = await (await openssl.start(site.readers)).open(delivery?.octets ?? Buffer.alloc(0), reader);
    assert.match(inner.toString(), new RegExp(`^Subject: ${CANARY}\r\n[^]*${CANARY} in the body`));
    assert.match(String(delivery?.octets), /\(using TLSv1\.3 with cipher \S+/);
    assert.match(String(delivery?.octets), new RegExp(`Authenticated sender: ${USER}`));
    assertNothingInClear(tee);
    assert.match(tee.sent().toString('latin1'), /^EHLO relay\.clinic\.example\r\nSTARTTLS\r\n/);
    await until('it is audited', async () => (await audited(site, 'delivered')).length === 1);
    const [event] = await audited(site, 'delivered');
    assert.equal(event?.['queue_id'], id);
    assert.deepEqual([event?.['tls'], event?.['tls_verified']], ['TLSv1.3', true]);
    assert.match(String(event?.['tls_cipher']), /^TLS_AES_\d+_/);
    assert.match(relay.log(), /"tls":"TLSv1\.3","tls_cipher":"TLS_\w+","tls_verified":true,"msg":"delivered"/);
    await relay.stop();
    for (const text of [relay.log(), await readFile(join(site.data, 'audit.jsonl'), 'utf8'), await postfix.log()])
      assert.ok(!text.includes(PASSWORD));
  },
);

test('a password that Postfix refuses: deferred, and out once the file holds the right one, without a restart', { skip }, async (t) => {
  const { identities, last, postfix } = await wired(t);
  const site = await siteTo(t, identities.folder, postfix.port);
  await writeFile(join(identities.folder, 'password'), 'not-the-password\n');
  const relay = await site.serve();
  const id = await send(relay.port, ['anna@clinic.example'], MAIL);
  await until('it is deferred', async () => (await audited(site, 'deferred')).length > 0, 20_000);
  const [event] = await audited(site, 'deferred');
  assert.match(String(event?.['reason']), /: 4\.7\.8 the upstream refused the login: 535 5\.7\.8 \(upstream-auth-refused at auth\)$/);
  await writeFile(join(identities.folder, 'password'), PASSWORD);
  await site.sealpost('queue', 'retry', id);
  await until('it goes out', () => last.deliveries().length === 1, 20_000);
});

const eximSkip = skip === false ? (missingExim() ?? false) : skip;

for (const tls of ['starttls', 'implicit'] as const) {
  test(
    `exim takes sealed mail by ${tls} and AUTH LOGIN, the password from the environment, and its reader opens it`,
    { skip: eximSkip },
    async (t) => {
      const undo: (() => Promise<unknown>)[] = [];
      const dir = await temporary(t, undo);
      const { folder } = makeIdentities(dir);
      const exim = await startExim({ dir, certificate: join(dir, 'good.pem'), key: join(dir, 'good.key'), user: USER, password: PASSWORD });
      undo.push(async () => exim[Symbol.asyncDispose]());
      await using tee = await startTee({ to: tls === 'implicit' ? exim.implicitPort : exim.port });
      process.env['RELAY_PASSWORD_OF_THE_TEST'] = PASSWORD;
      const login = { auth: { user: USER, password: 'env:RELAY_PASSWORD_OF_THE_TEST' } };
      const site = await siteTo(t, folder, tee.port, { host: '127.0.0.1', tls, ...login });
      const relay = await site.serve();
      await send(relay.port, ['ben@clinic.example'], MAIL);
      await until('exim has it', async () => (await exim.messages()).length === 1, 20_000);
      const [message] = await exim.messages();
      const inner = await (await openssl.start(site.readers)).open(message ?? Buffer.alloc(0), site.readers.people.ben);
      assert.match(inner.toString(), new RegExp(`${CANARY} in the body`));
      assert.match(await exim.log(), new RegExp(`X=TLS1\\.3:\\S+ CV=no A=login:${USER} `));
      assertNothingInClear(tee);
      for (const text of [await exim.log(), relay.log()]) assert.ok(!text.includes(PASSWORD));
    },
  );
}

const withoutStartTls = (piece: Buffer): Buffer =>
  Buffer.from(piece.toString('latin1').replace(/250-STARTTLS\r\n/, '250-XXXXXXXA\r\n'), 'latin1');

const notNow = (piece: Buffer): Buffer =>
  Buffer.from(piece.toString('latin1').replace(/^220 (?=2\.0\.0 Ready to start TLS)/m, '454 '), 'latin1');

const wrong: readonly (readonly [what: string, shown: string, tamper: TeeOptions['tamper'], said: RegExp])[] = [
  [
    'STARTTLS taken out on the way',
    'good',
    withoutStartTls,
    /: 4\.7\.5 the upstream does not offer STARTTLS \(upstream-tls-missing at tls\)$/,
  ],
  ['STARTTLS answered 454 on the way', 'good', notNow, /: 4\.7\.5 .*454/],
  [
    'a certificate for another name',
    'other-name',
    undefined,
    /: 4\.7\.5 the upstream's certificate is not believed: it is for another name/,
  ],
  ['an expired certificate', 'expired', undefined, /: 4\.7\.5 the upstream's certificate is not believed: it has expired/],
  ['a self-signed certificate', 'self-signed', undefined, /: 4\.7\.5 the upstream's certificate is not believed: it is self-signed/],
];

for (const [what, shown, tamper, said] of wrong) {
  test(`A6: Postfix with ${what}: deferred 4.7.5, and the tee sees nothing in clear`, { skip }, async (t) => {
    const { identities, last, tee } = await wired(t, shown, tamper);
    const site = await siteTo(t, identities.folder, tee.port);
    const relay = await site.serve();
    const id = await send(relay.port, ['anna@clinic.example'], MAIL);
    await until('it is deferred', async () => (await audited(site, 'deferred')).length > 0, 20_000);
    const [event] = await audited(site, 'deferred');
    assert.match(String(event?.['reason']), said);
    // And again, by an operator who is in a hurry.
    await site.sealpost('queue', 'retry', id);
    await until('it is deferred once more', async () => (await audited(site, 'deferred')).length > 1, 20_000);
    assertNothingInClear(tee);
    assert.match(tee.sent().toString('latin1'), /^EHLO relay\.clinic\.example\r\n/);
    assert.match(tee.answered().toString('latin1'), /^220 postfix\.example ESMTP/);
    assert.equal(last.deliveries().length, 0);
  });
}
