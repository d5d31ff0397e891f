/** `certificates.sources[].ldap`: what it becomes, and what an operator reads of a wrong one. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { type Config, loadConfig } from '../../src/config.ts';

async function load(t: TestContext, ldap: Readonly<Record<string, unknown>>): Promise<Config> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-config-'));
  t.after(() => rm(folder, { recursive: true }));
  const site = {
    hostname: 'relay.clinic.example',
    operator: 'postmaster@clinic.example',
    listen: [{ host: '127.0.0.1', port: 2525 }],
    upstream: [{ host: '127.0.0.1', port: 25 }],
    certificates: { sources: [{ ldap }] },
  };
  await writeFile(path.join(folder, 'sealpost.yaml'), JSON.stringify(site));
  return loadConfig({ env: {}, cwd: folder });
}

const base = 'ou=people,dc=clinic,dc=example';

test('one server, or several; ports, brackets and capitals as people write them', async (t) => {
  const url = ['ldaps://LDAP.clinic.example', 'ldap://192.0.2.7:3389/', 'LDAPS://[2001:db8::7]:1636', 'ldap://bücher.example'];
  const config = await load(t, { url, base, bind: { dn: 'CLINIC\\relay', password: 'file:secrets/ldap' } });
  const folder = path.dirname(config.file);
  assert.deepEqual(config.certificates.sources[0]?.ldap, {
    url: [
      { scheme: 'ldaps', host: 'ldap.clinic.example', port: 636 },
      { scheme: 'ldap', host: '192.0.2.7', port: 3389 },
      { scheme: 'ldaps', host: '2001:db8::7', port: 1636 },
      { scheme: 'ldap', host: 'xn--bcher-kva.example', port: 389 },
    ],
    starttls: true,
    bind: { dn: 'CLINIC\\relay', password: { from: 'file', path: path.join(folder, 'secrets/ldap') } },
    base,
    scope: 'sub',
    mailAttributes: ['mail', 'proxyAddresses'],
    certificateAttributes: ['userSMIMECertificate', 'userCertificate'],
    references: 'unavailable',
  });
  const one = await load(t, { url: 'ldap://127.0.0.1', starttls: false, base });
  assert.deepEqual(one.certificates.sources[0]?.ldap?.url, [{ scheme: 'ldap', host: '127.0.0.1', port: 389 }]);
});

const wrong: readonly (readonly [what: string, ldap: Readonly<Record<string, unknown>>, said: RegExp])[] = [
  ['no server', { base }, /ldap\.url: is missing/],
  ['an empty list', { url: [], base }, /ldap\.url: is empty/],
  ['a web server', { url: 'https://ldap.clinic.example', base }, /ldap\.url: is not an LDAP server\n {2}mend: ldaps:\/\//],
  ['one of two that is none', { url: ['ldaps://a.example', 'b.example'], base }, /entry 2 is not an LDAP server/],
  ['a search in the URL', { url: 'ldaps://a.example/dc=example?mail?sub', base }, /is not an LDAP server/],
  ['a login in the URL', { url: 'ldaps://relay:secret@a.example', base }, /is not an LDAP server/],
  ['port 0', { url: 'ldaps://a.example:0', base }, /is not an LDAP server/],
  ['port 70000', { url: 'ldaps://a.example:70000', base }, /is not an LDAP server/],
  ['no base', { url: 'ldaps://a.example' }, /ldap\.base: is missing/],
  ['a base that is none', { url: 'ldaps://a.example', base: 'people' }, /is not a distinguished name/],
  [
    'a password in the file',
    { url: 'ldaps://a.example', base, bind: { dn: 'cn=relay', password: 'secret' } },
    /bind\.password: is not a place of a secret/,
  ],
  ['a login without a password', { url: 'ldaps://a.example', base, bind: { dn: 'cn=relay' } }, /bind\.password: is missing/],
  ['an attribute that is a filter', { url: 'ldaps://a.example', base, mail_attributes: ['mail=*)(x'] }, /is not the name of an attribute/],
  [
    'another machine in clear',
    { url: ['ldap://127.0.0.1', 'ldap://a.example'], starttls: false, base },
    /ldap\.starttls: is false, and a\.example is another machine\n {2}mend: take it out, or ldaps:\/\/ in url/,
  ],
  ['starttls about ldaps', { url: 'ldaps://a.example', starttls: false, base }, /ldap\.starttls: is about ldap:\/\/, and url has none/],
  ['a CA without TLS', { url: 'ldap://127.0.0.1', starttls: false, ca: 'ca.pem', base }, /ldap\.ca: does nothing without TLS/],
];

for (const [what, ldap, said] of wrong) {
  test(`${what} is told with its mend`, async (t) => {
    await assert.rejects(load(t, ldap), (error: Error) => {
      assert.match(error.message, said);
      assert.doesNotMatch(error.message, /secret@/);
      return true;
    });
  });
}

test('the examples of docs/ldap.md load', async (t) => {
  const page = await readFile(path.resolve(import.meta.dirname, '../../docs/ldap.md'), 'utf8');
  const examples = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = '']) => text);
  assert.equal(examples.length, 3);
  const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-config-'));
  t.after(() => rm(folder, { recursive: true }));
  const lines = [
    'hostname: a.example',
    'operator: a@a.example',
    'listen: [{ host: 127.0.0.1, port: 1 }]',
    'upstream: [{ host: 127.0.0.1, port: 2 }]',
  ];
  for (const text of examples) {
    await writeFile(path.join(folder, 'sealpost.yaml'), [...lines, text].join('\n'));
    const { certificates } = await loadConfig({ env: {}, cwd: folder });
    assert.ok(certificates.sources.some(({ ldap }) => ldap !== undefined));
  }
});

test('an entry of two kinds is one too many', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-config-'));
  t.after(() => rm(folder, { recursive: true }));
  const source = `{ files: certs, ldap: { url: "ldaps://a.example", base: "${base}" } }`;
  const lines = [
    'hostname: a.example',
    'operator: a@a.example',
    'listen: [{ host: 127.0.0.1, port: 1 }]',
    'upstream: [{ host: 127.0.0.1, port: 2 }]',
  ];
  await writeFile(path.join(folder, 'sealpost.yaml'), [...lines, `certificates: { sources: [${source}] }`].join('\n'));
  await assert.rejects(loadConfig({ env: {}, cwd: folder }), /is of two kinds: files and ldap/);
});
