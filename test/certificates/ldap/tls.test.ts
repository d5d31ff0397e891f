/** A directory that cannot prove its name is told nothing: neither the login of the relay nor whose certificate is looked for (A26). */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import type { LdapPlaces } from '../../../src/certificates/ldap/source.ts';
import { caExtensions, make, noOpenssl } from '../openssl.ts';
import { clear, openSource, places, told } from './asking.ts';
import { message, result, startFake } from './fake.ts';
import { certificateFor } from './people.ts';
import { noSlapd, PASSWORD, person, RELAY_DN, type Slapd, startSlapd, suiteOwner } from './slapd.ts';

const ADDRESS = 'anna@clinic.example';
const ldif = person({ name: 'anna', mail: [ADDRESS], userCertificate: [certificateFor({ address: ADDRESS }).der] });
const bind = { dn: RELAY_DN, password: { from: 'env', name: 'X' } } as const;

describe('TLS to a directory', { skip: noSlapd || noOpenssl }, () => {
  const owner = suiteOwner();
  let slapd: Slapd;
  let plain: Slapd;
  let [ca, stranger] = ['', ''];

  before(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sealpost-ldap-'));
    owner.after(() => rmSync(folder, { recursive: true, force: true }));
    for (const name of ['ca', 'stranger']) make(folder, { name, extensions: caExtensions });
    make(folder, { name: 'server', issuer: 'ca', extensions: ['subjectAltName=IP:127.0.0.1', 'extendedKeyUsage=serverAuth'] });
    const file = (name: string): string => join(folder, name);
    [ca, stranger] = [readFileSync(file('ca.pem'), 'utf8'), readFileSync(file('stranger.pem'), 'utf8')];
    slapd = await startSlapd(owner, { ldif, tls: { cert: file('server.pem'), key: file('server.key') } });
    plain = await startSlapd(owner, { ldif });
  });

  const open = (url: LdapPlaces['url'][number], authorities: string | undefined) =>
    openSource(owner, places([url], { starttls: true, bind }), { secrets: async () => ({ ca: authorities, password: PASSWORD }) });
  const ldaps = (host = '127.0.0.1'): LdapPlaces['url'][number] => ({ scheme: 'ldaps', host, port: slapd.tlsPort });
  const heard = async (): Promise<number> => {
    await slapd.caughtUp();
    return slapd.log().split(/ (?:BIND|SRCH) /).length - 1;
  };

  test('ldaps:// and STARTTLS are both asked, with the login, once the certificate is believed', async () => {
    assert.equal(await told(open(ldaps(), ca), ADDRESS), 'found');
    assert.equal(await told(open(clear(slapd.port), ca), ADDRESS), 'found');
    await slapd.caughtUp();
    assert.equal(slapd.log().match(/TLS established tls_ssf=256/g)?.length, 2);
  });

  test('an unknown CA, a wrong name and no CA at all end it before a word is said', async () => {
    const before = await heard();
    assert.match(await told(open(ldaps(), stranger), ADDRESS), /the certificate of the server is not believed: its CA is not known/);
    assert.match(await told(open(ldaps(), undefined), ADDRESS), /the certificate of the server is not believed/);
    assert.match(
      await told(open(ldaps('localhost'), ca), ADDRESS),
      /the certificate of the server is not believed: it is for another name/,
    );
    assert.match(await told(open(clear(slapd.port), stranger), ADDRESS), /the certificate of the server is not believed/);
    assert.equal(await heard(), before);
  });

  test('a file of CAs that is none is told; a mended one counts without a restart', async () => {
    let authorities = '-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n';
    const source = openSource(owner, places([ldaps()]), { secrets: async () => ({ ca: authorities, password: undefined }) });
    assert.match(await told(source, ADDRESS), /the file of ca holds no certificate in PEM/);
    authorities = ca;
    assert.equal(await told(source, ADDRESS), 'found');
  });

  test('a server without TLS refuses STARTTLS, and nothing is asked in clear', async () => {
    assert.match(await told(open(clear(plain.port), ca), ADDRESS), /the server refuses STARTTLS \(LDAP result 2\)/);
    await plain.caughtUp();
    assert.doesNotMatch(plain.log(), / BIND | SRCH /);
  });
});

describe('A26: TLS that somebody takes out', () => {
  const EXTENDED = 0x77;
  const yes = (id: number): Buffer => message(id, result(0x78, 0));
  const open = (t: { after(end: () => unknown): void }, port: number) =>
    openSource(t, places([clear(port)], { starttls: true, bind }), {
      secrets: async () => ({ ca: undefined, password: PASSWORD }),
      patience: 1000,
    });

  test('one who answers STARTTLS and goes on in clear hears no login', async (t) => {
    const fake = await startFake(t, (socket, id, operation) => {
      if (operation !== EXTENDED) return;
      socket.write(yes(id));
      socket.once('data', () => socket.end('in clear'));
    });
    assert.match(await told(open(t, fake.port), ADDRESS), /no TLS/);
    // A ClientHello is no LDAP; neither a bind (0x60) nor a search (0x63) came.
    assert.ok(fake.asked()[0] === EXTENDED && !fake.asked().includes(0x60) && !fake.asked().includes(0x63));
  });

  test('answers that are put behind it in clear are not taken for ones under TLS', async (t) => {
    const fake = await startFake(t, (socket, id) => socket.write(Buffer.concat([yes(id), message(id + 1, result(0x61, 0))])));
    assert.match(await told(open(t, fake.port), ADDRESS), /said more than STARTTLS allows/);
  });

  test('one who says nothing is unavailable in time', async (t) => {
    const fake = await startFake(t, () => {});
    const begun = performance.now();
    assert.match(await told(open(t, fake.port), ADDRESS), /^unavailable/);
    assert.match(
      await told(openSource(t, places([{ scheme: 'ldaps', host: '127.0.0.1', port: fake.port }]), { patience: 1000 }), ADDRESS),
      /no TLS \(no answer in time\)/,
    );
    assert.ok(performance.now() - begun < 5000);
  });
});
