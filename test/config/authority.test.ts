/** `certificates.authority.crl`: what is taken, and the mend of what is not. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { readConfig } from '../../src/config.ts';

describe('lists of the in-house CA in the configuration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-config-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const read = async (crl: unknown) => {
    const config = {
      hostname: 'relay.clinic.example',
      operator: 'postmaster@clinic.example',
      listen: [{ host: '127.0.0.1', port: 2525 }],
      upstream: [{ host: '127.0.0.1', port: 25 }],
      certificates: { authority: { crl } },
    };
    writeFileSync(join(folder, 'sealpost.yaml'), JSON.stringify(config));
    return readConfig({ env: {}, cwd: folder });
  };
  const url = 'http://relay.clinic.example:8025/in-house.crl';
  const listen = { host: '127.0.0.1', port: 8025 };

  test('nothing, all defaults, a URL that others serve, and a listener', async () => {
    for (const [crl, expected] of [
      [undefined, undefined],
      [{}, { valid: 7 * 86_400_000 }],
      [{ url }, { url, valid: 7 * 86_400_000 }],
      [
        { url, listen, valid: '30d' },
        { url, listen, valid: 30 * 86_400_000 },
      ],
    ]) {
      const verdict = await read(crl);
      assert.equal(verdict.kind, 'valid', JSON.stringify(verdict));
      if (verdict.kind !== 'valid') continue;
      const { crl: found } = verdict.value.certificates.authority;
      assert.deepEqual(found && JSON.parse(JSON.stringify(found)), expected);
    }
  });

  const faults: readonly (readonly [string, unknown, RegExp])[] = [
    [
      'https, which would ask for another list first',
      { url: 'https://relay.clinic.example/in-house.crl' },
      /does not begin with http:\/\//,
    ],
    ['ldap', { url: 'ldap://relay.clinic.example/in-house.crl' }, /does not begin with http:\/\//],
    ['no URL', { url: 'relay.clinic.example' }, /is not a URL/],
    ['a login', { url: 'http://a:b@relay.clinic.example/in-house.crl' }, /more than a host/],
    ['a query', { url: `${url}?a` }, /more than a host/],
    ['no name', { url: 'http://relay.clinic.example/' }, /names no file right below its host/],
    ['a name in a folder', { url: 'http://relay.clinic.example/lists/in-house.crl' }, /names no file right below its host/],
    ['a name in another alphabet', { url: 'http://relay.clinic.example/%2e%2e%2fkey' }, /names no file right below its host/],
    ["the root's name", { url: 'http://relay.clinic.example/in-house-root.crl' }, /has the name of the root's list/],
    ['a listener without a URL', { listen }, /listen: is there, and url is not/],
    [
      'the port of a listener for mail',
      { url, listen: { host: '127.0.0.1', port: 2525 } },
      /is the address and port of a listener for mail/,
    ],
    ['lists that end between two looks', { valid: '2d' }, /is not from 3d to 365d/],
    ['lists for ever', { valid: '366d' }, /is not from 3d to 365d/],
  ];
  for (const [name, crl, expected] of faults) {
    test(name, async () => {
      const verdict = await read(crl);
      assert.ok(verdict.kind === 'invalid');
      assert.match(verdict.faults.map(({ key, wrong }) => `${key}: ${wrong}`).join('\n'), expected);
      assert.ok(verdict.faults.every(({ key, mend }) => key.startsWith('certificates.authority.crl.') && mend !== ''));
    });
  }
});
