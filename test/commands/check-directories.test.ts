/** What `check` says of LDAP sources that are set up wrongly, with a real directory. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { makeSite } from '../../src/commands/init.ts';
import { caExtensions, make, noOpenssl } from '../certificates/openssl.ts';
import { BASE, freePort, noSlapd, PASSWORD, RELAY_DN, startSlapd } from '../certificates/ldap/slapd.ts';
import { makeHold } from './hold-pair.ts';
import { sealpost, temporaryFolder } from './transcript.ts';

const shippedPolicies = path.resolve(import.meta.dirname, '../../policies');

test('check asks each directory server, and tells what mail would hear, with its mend', { skip: noSlapd || noOpenssl }, async (t) => {
  const folder = await temporaryFolder(t);
  const file = (name: string): string => path.join(folder, name);
  await makeSite({ folder, hostname: 'relay.clinic.example', shippedPolicies, makeAuthority: async () => [], makeHold });
  make(folder, { name: 'ca', extensions: caExtensions });
  make(folder, { name: 'server', issuer: 'ca', extensions: ['subjectAltName=IP:127.0.0.1', 'extendedKeyUsage=serverAuth'] });
  const slapd = await startSlapd(t, {
    tls: { cert: file('server.pem'), key: file('server.key') },
    database: ['require authc'],
  });
  await writeFile(file('password'), `${PASSWORD}\n`, { mode: 0o600 });
  await writeFile(file('wrong'), 'another\n', { mode: 0o600 });
  const bind = { dn: RELAY_DN, password: `file:${file('password')}` };
  const [url, ca, base] = [`ldaps://127.0.0.1:${slapd.tlsPort}`, file('ca.pem'), BASE];
  const nobody = await freePort();
  const good = { url, ca, base, bind };
  const cases: readonly (readonly [object, RegExp?])[] = [
    [good],
    [{ ...good, url: `ldap://127.0.0.1:${slapd.port}` }],
    [{ ...good, base: 'ou=nowhere,dc=clinic,dc=example' }, /the directory knows no such base\n {2}mend: is ou=nowhere/],
    [
      { ...good, bind: { ...bind, dn: 'cn=relais,dc=clinic,dc=example' } },
      /refuses the login .*LDAP result 49\)\n {2}mend: mend dn and password of bind/,
    ],
    [
      { ...good, url: [url, url], bind: { ...bind, password: `file:${file('wrong')}` } },
      /refuses the login .*LDAP result 49\)\n {2}mend: mend dn and password/,
    ],
    [{ ...good, url: `ldaps://127.0.0.1:${nobody}` }, /no connection \(ECONNREFUSED\)\n {2}mend: is the server running/],
    [{ url, base, bind }, /the certificate of the server is not believed: .*\n {2}mend: .*name its CA: ca: PATH/],
    [{ ...good, url: `ldaps://127.0.0.1:${slapd.port}` }, /no TLS \(.*\)\n {2}mend: .*does ldap:\/\/ or ldaps:\/\/ fit the port/],
    [{ ...good, url: `ldap://127.0.0.1:${slapd.tlsPort}` }, /closed the connection\n {2}mend: does the port want ldaps:\/\//],
    [{ url, ca, base }, /does not let this login search \(LDAP result 53\)\n {2}mend: .*bind/],
    [{ ...good, url: [`ldaps://127.0.0.1:${nobody}`, url] }, new RegExp(`127\\.0\\.0\\.1:${nobody}: no connection`)],
  ];
  const sources = cases.map(([ldap]) => ({ ldap }));
  const config = {
    hostname: 'relay.clinic.example',
    operator: 'postmaster@clinic.example',
    listen: [{ host: '127.0.0.1', port: 2525 }],
    upstream: [{ host: '127.0.0.1', port: 25 }],
    certificates: { sources: [{ files: 'certs/recipients' }, ...sources] },
  };
  await writeFile(file('sealpost.yaml'), JSON.stringify(config));
  const { exit, stdout } = await sealpost(folder, ['check']);
  assert.equal(exit, 1, stdout);
  for (const [index, [, wanted]] of cases.entries()) {
    const told = stdout.split(/^(?=\S)/m).filter((fault) => fault.includes(`certificates.sources[${index + 1}].ldap: `));
    assert.equal(told.length, wanted === undefined ? 0 : 1, `${index}: ${stdout}`);
    if (wanted !== undefined) assert.match(told.join(''), wanted);
  }
  assert.ok(!stdout.includes(PASSWORD));
  const list = await sealpost(folder, ['certs', 'list', '--json']);
  assert.equal(list.stdout, '[]\n');
  assert.equal(list.stderr, `sealpost: ${cases.length} sources in LDAP or DNS cannot be listed: sealpost certs lookup ADDRESS asks them\n`);
  await slapd.caughtUp();
  // The wrong name, and the wrong password once: servers share their accounts, and Active Directory locks them.
  assert.equal(slapd.log().split(' RESULT tag=97 err=49 ').length - 1, 2);
});
