/** The running relay on a directory that stops and starts: nobody is refused for it, and who was found before gets mail (P5). */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { missingPrograms, run, succeed } from '../../interop/programs.ts';
import { dialogue } from '../../ingress/dialogue.ts';
import { makeSite, type RunningRelay, type Site } from '../../relay/site.ts';
import { type KeepingUpstream, keepingUpstream } from '../../relay/upstream.ts';
import { send } from '../../relay/submit.ts';
import { caExtensions, derOf, eventually, make } from '../openssl.ts';
import { BASE, noSlapd, PASSWORD, person, RELAY_DN, type Slapd, startSlapd, suiteOwner } from './slapd.ts';

const skip = noSlapd || (missingPrograms({ openssl: 'openssl' }) ?? false);

describe('a relay on a directory', { skip }, () => {
  const owner = suiteOwner();
  let [slapd, upstream, site, relay]: [Slapd?, KeepingUpstream?, Site?, RunningRelay?] = [];
  const all = () => {
    assert.ok(slapd && upstream && site && relay);
    return { slapd, upstream, site, relay };
  };

  before(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sealpost-ldap-'));
    owner.after(() => rmSync(folder, { recursive: true, force: true }));
    const file = (name: string): string => join(folder, name);
    make(folder, { name: 'ca', extensions: caExtensions });
    make(folder, { name: 'server', issuer: 'ca', extensions: ['subjectAltName=IP:127.0.0.1', 'extendedKeyUsage=serverAuth'] });
    writeFileSync(file('password'), `${PASSWORD}\n`, { mode: 0o600 });
    upstream = await keepingUpstream(owner);
    const ldap = { url: 'ldaps://127.0.0.1', base: BASE, ca: file('ca.pem'), bind: { dn: RELAY_DN, password: `file:${file('password')}` } };
    const config = (url: string) => ({
      certificates: { sources: [{ ldap: { ...ldap, url } }], cache: { found: '1s', absent: '1s', stale: '1h' } },
    });
    // The directory wants the certificates of the readers, and the site the port of the directory.
    site = await makeSite(owner, { upstreamPort: upstream.port, people: [], config: config('ldaps://127.0.0.1') });
    const people = (['anna', 'ben'] as const).map((name) => {
      const reader = site?.readers.people[name];
      assert.ok(reader);
      return person({ name, mail: [reader.address], userCertificate: [derOf(readFileSync(reader.certificate, 'latin1'))] });
    });
    // One whose address is what an unescaped filter would take for everybody.
    const star = person({ name: 'star', mail: ['*@clinic.example'] });
    slapd = await startSlapd(owner, { ldif: [...people, star].join('\n'), tls: { cert: file('server.pem'), key: file('server.key') } });
    const written = readFileSync(site.file, 'utf8').replace('ldaps://127.0.0.1', `ldaps://127.0.0.1:${slapd.tlsPort}`);
    writeFileSync(site.file, written);
    relay = await site.serve();
  });

  const delivers = async (to: string): Promise<boolean> => {
    const { relay } = all();
    try {
      await send(relay.port, [to], 'Subject: x\r\n\r\nIt hurts here.\r\n');
      return true;
    } catch (error) {
      assert.match(String(error), /451 4\.4\.3/, 'anything but a temporary refusal');
      return false;
    }
  };
  const rcpt = async (to: string): Promise<string> => {
    const client = await dialogue(all().relay.port);
    try {
      await client.expect(/^220/);
      await client.ask('EHLO web.clinic.example', /^250/);
      await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
      const [reply = ''] = await client.ask(`RCPT TO:<${to}>`, /^\d/);
      return reply;
    } finally {
      client.close();
    }
  };

  test('who has no entry is refused for good, who has one reads', async () => {
    const { upstream, site } = all();
    assert.match(await rcpt('nobody@clinic.example'), /^550 5\.7\.1/);
    assert.ok(await delivers('anna@clinic.example'));
    await eventually(async () => upstream.deliveries().length === 1);
    const sealed = join(site.dir, 'sealed.eml');
    writeFileSync(sealed, upstream.deliveries()[0]?.octets ?? '');
    const { certificate, key } = site.readers.people.anna;
    const opened = await succeed('openssl', ['cms', '-decrypt', '-in', sealed, '-recip', certificate, '-inkey', key]);
    assert.match(opened.toString(), /It hurts here/);
  });

  test('A25: by SMTP what means something in a filter is the literal address: no entry, or its own', async () => {
    const { slapd } = all();
    const found = async (address: string): Promise<readonly string[]> => {
      await slapd.caughtUp();
      const from = slapd.log().length;
      assert.match(await rcpt(address), /^550 5\.7\.1/, address);
      await slapd.caughtUp();
      return [
        ...slapd
          .log()
          .slice(from)
          .matchAll(/ SEARCH RESULT tag=101 err=0 .*?nentries=(\d+)/g),
      ].map(([, count]) => count ?? '');
    };
    assert.deepEqual(await found('*@clinic.example'), ['1'], 'itself, beside two others');
    for (const none of [
      'an*@clinic.example',
      '"\\\\2a"@clinic.example',
      '"\\2a"@clinic.example',
      '"a)(uid=*)"@clinic.example',
      '"*)(mail=*"@clinic.example',
    ])
      assert.deepEqual(await found(none), ['0'], none);
    await slapd.caughtUp();
    const searches = slapd.searches();
    for (const unquoted of ['a)(uid=*)@clinic.example', '\\2a@clinic.example']) assert.match(await rcpt(unquoted), /^501 /, unquoted);
    await slapd.caughtUp();
    assert.equal(slapd.searches(), searches, 'no address, so nobody is asked');
  });

  test('explain names the source, the entry and the certificate', async () => {
    const { site, slapd } = all();
    const told = await site.sealpost('explain', '--from', 'forms@clinic.example', '--to', 'anna@clinic.example');
    assert.match(told, new RegExp(`ldap ldaps://127\\.0\\.0\\.1:${slapd.tlsPort}`));
    assert.match(told, /cn=anna,dc=clinic,dc=example userCertificate;binary#1/);
    assert.match(await site.sealpost('certs', 'lookup', 'anna@clinic.example'), /cn=anna,dc=clinic,dc=example/);
  });

  test('a directory that is stopped refuses nobody for good: 451 where nothing is known, mail where it is', async () => {
    const { slapd, relay } = all();
    await slapd.stop();
    assert.match(await rcpt('ben@clinic.example'), /^451 4\.4\.3/);
    assert.match(await rcpt('nobody.else@clinic.example'), /^451 4\.4\.3/);
    // Longer ago than `found`: it is asked for, and what was found before is used.
    await eventually(async () => (await delivers('anna@clinic.example')) && relay.log().includes('what it found before is used'));
    assert.match(relay.log(), /certificate source is unavailable/);
    assert.ok(!relay.log().includes(PASSWORD) && !relay.log().includes(RELAY_DN), 'no login in the log');
    await slapd.start();
    await eventually(() => delivers('ben@clinic.example'));
    assert.match(await rcpt('nobody.else@clinic.example'), /^550 5\.7\.1/);
  });

  test('a directory that hangs: 451 for who is not known, one search for all who ask for one, mail for who was found before', async () => {
    const { slapd, relay } = all();
    await eventually(() => delivers('anna@clinic.example'));
    await slapd.freeze();
    const replies = await Promise.all(Array.from({ length: 20 }, () => rcpt('new.one@clinic.example')));
    for (const reply of replies) assert.match(reply, /^451 4\.4\.3/);
    assert.ok(await delivers('anna@clinic.example'), 'from what was found before');
    slapd.thaw();
    await eventually(async () => (await rcpt('new.one@clinic.example')).startsWith('550 5.7.1'));
    await slapd.caughtUp();
    const searches = slapd
      .log()
      .split('\n')
      .filter((line) => line.includes(' SRCH base=') && line.includes('new.one@clinic.example'));
    // The one that all of them waited for, if it was still to be read, and those of the look-ups that found it well again.
    assert.ok(searches.length <= 3, `${searches.length} searches`);
    assert.match(relay.log(), /certificate source is unavailable/);
  });

  test('it stops while the directory hangs', async () => {
    const { slapd, relay } = all();
    await slapd.freeze();
    const asked = rcpt('somebody@clinic.example').catch(() => 'closed');
    await relay.stop();
    assert.equal(relay.child.exitCode, 0);
    assert.match(await asked, /^4|closed/);
  });

  test('check says what of the login cannot be read', async () => {
    const { site } = all();
    const text = readFileSync(site.file, 'utf8');
    const broken = join(site.dir, 'broken.yaml');
    writeFileSync(broken, text.replace(/file:[^"]*password/, 'file:not-there').replace(/"ca":"[^"]*"/, '"ca":"policies/50-test.yaml"'));
    const { code, stdout } = await run(process.execPath, [join(import.meta.dirname, '../../../src/cli.ts'), '-c', broken, 'check'], {
      cwd: site.dir,
    });
    assert.equal(code, 1);
    assert.match(stdout.toString(), /certificates\.sources\[0\]\.ldap\.bind\.password/);
    assert.match(stdout.toString(), /certificates\.sources\[0\]\.ldap\.ca: holds no certificate in PEM/);
  });
});
