/** Real clients at a real relay with TLS and users: what swaks, Python's smtplib and openssl see, and what the audit log says. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { certify, make } from '../certificates/openssl.ts';
import { LOOPBACK, until } from '../interop/ports.ts';
import { missingPrograms, type Outcome, run } from '../interop/programs.ts';
import { makeSite, type RunningRelay, type Site } from './site.ts';
import { keepingUpstream, type KeepingUpstream } from './upstream.ts';

const noTlsInSwaks =
  spawnSync('perl', ['-MNet::SSLeay', '-e', '1']).status === 0
    ? undefined
    : 'Net::SSLeay is not installed (Debian package libnet-ssleay-perl)';
const PASSWORD = 'a password of some length';
const TO = 'anna@clinic.example';

interface Edge {
  readonly site: Site;
  readonly relay: RunningRelay;
  readonly upstream: KeepingUpstream;
  /** Of the listener with STARTTLS, and of the one with implicit TLS. */
  readonly starttls: number;
  readonly implicit: number;
  readonly ca: string;
}

/** Both listeners want a login; `forms` has a password, `script` a certificate. */
async function makeEdge(t: TestContext): Promise<Edge> {
  const upstream = await keepingUpstream(t);
  const secure = {
    host: LOOPBACK,
    port: 0,
    cert: 'keys/relay.pem',
    key: 'file:keys/relay.key',
    auth: 'required',
    client_certificates: 'optional',
  };
  const listen = [
    { ...secure, tls: 'starttls' },
    { ...secure, tls: 'implicit' },
  ];
  const clients = { networks: ['127.0.0.0/8'], users: 'users.yaml' };
  const site = await makeSite(t, { upstreamPort: upstream.port, config: { listen, clients } });
  const keys = join(site.dir, 'keys');
  const extensions = ['subjectAltName=DNS:relay.clinic.example,DNS:localhost,IP:127.0.0.1'];
  make(keys, { name: 'relay', extensions });
  make(keys, { name: 'script' });
  writeFileSync(join(site.dir, 'password'), `${PASSWORD}\n`);
  await site.sealpost('users', 'add', 'forms', '--password-file', join(site.dir, 'password'), '--sender', '*@clinic.example');
  await site.sealpost('users', 'add', 'script', '--certificate', join(keys, 'script.pem'));
  const relay = await site.serve();
  const ports = (): number[] => [...relay.log().matchAll(/"port":(\d+),"msg":"listening"/g)].map(([, port]) => Number(port));
  await until('both listen', () => ports().length === 2);
  const [starttls = 0, implicit = 0] = ports();
  return { site, relay, upstream, starttls, implicit, ca: join(keys, 'relay.pem') };
}

test(
  'swaks: STARTTLS and implicit TLS, AUTH PLAIN and LOGIN, a client certificate; without a login nothing',
  {
    skip: missingPrograms({ swaks: 'swaks', openssl: 'openssl', perl: 'perl' }) ?? noTlsInSwaks,
  },
  async (t) => {
    const { site, relay, upstream, starttls, implicit } = await makeEdge(t);
    const swaks = (port: number, ...args: string[]): Promise<Outcome> =>
      run('swaks', ['--server', LOOPBACK, '--port', String(port), '--from', 'forms@clinic.example', '--to', TO, ...args]);
    const login = (mechanism: string): string[] => ['--auth', mechanism, '--auth-user', 'forms', '--auth-password', PASSWORD];
    for (const mechanism of ['PLAIN', 'LOGIN']) {
      for (const [port, tls] of [
        [starttls, '--tls'],
        [implicit, '--tls-on-connect'],
      ] as const) {
        const { code, stdout, stderr } = await swaks(port, tls, ...login(mechanism));
        assert.equal(code, 0, `${stdout.toString()}${stderr}`);
        assert.match(stdout.toString(), /TLS started with cipher TLSv1\.[23]:/);
      }
    }
    const pair = ['--tls-cert', join(site.dir, 'keys/script.pem'), '--tls-key', join(site.dir, 'keys/script.key')];
    assert.equal((await swaks(starttls, '--tls', ...pair)).code, 0);
    const without = await swaks(starttls, '--tls');
    assert.match(without.stdout.toString(), /<[^\n]* 530 5\.7\.0 authentication required/);
    const wrong = await swaks(
      implicit,
      '--tls-on-connect',
      '--auth',
      'PLAIN',
      '--auth-user',
      'forms',
      '--auth-password',
      'wrong wrong wrong',
    );
    assert.match(wrong.stdout.toString(), /<[^\n]* 535 5\.7\.8 /);
    const other = await swaks(starttls, '--tls', ...login('PLAIN'), '--from', 'forms@elsewhere.example');
    assert.match(other.stdout.toString(), /<[^\n]* 550 5\.7\.1 you may not send as that sender/);
    await until('five are delivered', () => upstream.deliveries().length === 5);
    for (const { octets } of upstream.deliveries()) assert.match(octets.toString(), /\r\n\tby relay\.clinic\.example with ESMTPSA? id /);
    await relay.stop();
    const lines = (await site.sealpost('audit', 'show', '--json')).split('\n').filter((line) => line.includes('"accepted"'));
    const accepted = lines.map((line) => {
      const { tls, user, protocol }: Record<string, unknown> = JSON.parse(line);
      return [tls, user, protocol];
    });
    assert.deepEqual(accepted, [...Array.from({ length: 4 }, () => ['TLSv1.3', 'forms', 'ESMTPSA']), ['TLSv1.3', 'script', 'ESMTPS']]);
    assert.ok(!relay.log().includes(PASSWORD));
  },
);

const PYTHON = `
import smtplib, ssl, sys
starttls, implicit, ca, cert, key, password = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
message = "From: forms@clinic.example\\r\\nTo: anna@clinic.example\\r\\nSubject: python\\r\\n\\r\\nbody\\r\\n"
def send(smtp):
    smtp.sendmail("forms@clinic.example", ["anna@clinic.example"], message)
for mechanism in ["PLAIN", "LOGIN"]:
    with smtplib.SMTP("localhost", int(starttls)) as smtp:
        smtp.starttls(context=context)
        smtp.user, smtp.password = "forms", password
        smtp.ehlo()
        smtp.auth(mechanism, getattr(smtp, "auth_" + mechanism.lower()))
        send(smtp)
with smtplib.SMTP_SSL("localhost", int(implicit), context=context) as smtp:
    smtp.login("forms", password)
    send(smtp)
context.load_cert_chain(cert, key)
with smtplib.SMTP_SSL("localhost", int(implicit), context=context) as smtp:
    send(smtp)
with smtplib.SMTP("localhost", int(starttls)) as smtp:
    smtp.starttls(context=ssl.create_default_context(cafile=ca))
    try:
        smtp.login("forms", "wrong")
    except smtplib.SMTPAuthenticationError as error:
        print(error.smtp_code)
    try:
        send(smtp)
    except smtplib.SMTPSenderRefused as error:
        print(error.smtp_code)
`;

test(
  "Python's smtplib: the certificate is verified, STARTTLS and implicit TLS, AUTH and a client certificate",
  {
    skip: missingPrograms({ python3: 'python3', openssl: 'openssl' }),
  },
  async (t) => {
    const { site, upstream, starttls, implicit, ca } = await makeEdge(t);
    const [cert, key] = [join(site.dir, 'keys/script.pem'), join(site.dir, 'keys/script.key')];
    const { code, stdout, stderr } = await run('python3', ['-c', PYTHON, String(starttls), String(implicit), ca, cert, key, PASSWORD]);
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.toString().trim().split('\n'), ['535', '530']);
    await until('four are delivered', () => upstream.deliveries().length === 4);
  },
);

test(
  'a certificate that is renewed under a running relay is shown within seconds, and no session is lost',
  {
    skip: missingPrograms({ openssl: 'openssl' }),
  },
  async (t) => {
    const { site, relay, implicit, ca } = await makeEdge(t);
    const shown = async (): Promise<string> => {
      const { stdout } = await run('openssl', ['s_client', '-connect', `${LOOPBACK}:${implicit}`, '-CAfile', ca, '-verify_return_error'], {
        input: Buffer.from('QUIT\r\n'),
      });
      return /-----BEGIN CERTIFICATE-----[^-]*/.exec(stdout.toString())?.[0].replace(/\s/g, '') ?? '';
    };
    const written = (): string =>
      readFileSync(ca, 'utf8')
        .trim()
        .replace(/-----END[^]*/, '')
        .replace(/\s/g, '');
    const before = written();
    assert.equal(await shown(), before);
    certify(join(site.dir, 'keys'), { name: 'relay', extensions: ['subjectAltName=DNS:relay.clinic.example'] });
    assert.notEqual(written(), before);
    await until('the new one is shown', async () => (await shown()) === written(), 30_000);
    assert.match(relay.log(), /"listener":"127\.0\.0\.1:0".*"certificate of a listener changed"/);
    await relay.stop();
  },
);
