/** What `check` and `certs list` say of revocation: what the relay would not do under `hard` is not called well. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { makeSite } from '../../src/commands/init.ts';
import { caExtensions, make, noOpenssl, run } from '../certificates/openssl.ts';
import { makeHold } from './hold-pair.ts';
import { sealpost, temporaryFolder } from './transcript.ts';

const shippedPolicies = path.resolve(import.meta.dirname, '../../policies');

test('lists of the folder that would not count, and certificates that hard would not take now', { skip: noOpenssl }, async (t) => {
  const folder = await temporaryFolder(t);
  const file = (...names: string[]): string => path.join(folder, ...names);
  await makeSite({ folder, hostname: 'relay.clinic.example', shippedPolicies, makeAuthority: async () => [], makeHold });
  mkdirSync(file('certs/crls'));
  for (const name of ['root', 'stranger']) make(folder, { name, extensions: caExtensions });
  make(folder, { name: 'anna', issuer: 'root', extensions: ['subjectAltName=email:anna@clinic.example'] });
  copyFileSync(file('anna.pem'), file('certs/recipients/anna.pem'));
  copyFileSync(file('root.pem'), file('certs/anchors/root.pem'));
  const config = {
    hostname: 'relay.clinic.example',
    operator: 'postmaster@clinic.example',
    listen: [{ host: '127.0.0.1', port: 2525 }],
    upstream: [{ host: '127.0.0.1', port: 25 }],
    certificates: { trust: { crls: 'certs/crls', revocation: 'hard' } },
  };
  writeFileSync(file('sealpost.yaml'), JSON.stringify(config));
  writeFileSync(file('index'), '');
  writeFileSync(file('crl.cnf'), '[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\n');
  const list = (by: string, name: string, ...times: string[]): void => {
    const signer = ['-keyfile', `${by}.key`, '-cert', `${by}.pem`];
    run('openssl', ['ca', '-gencrl', '-config', 'crl.cnf', ...signer, ...times, '-out', `certs/crls/${name}`], folder);
  };
  const stale = ['-crl_lastupdate', '20250101000000Z', '-crl_nextupdate', '20250201000000Z'];

  list('root', 'root.crl', '-crldays', '2');
  list('root', 'old.crl', ...stale);
  assert.match(
    (await sealpost(folder, ['check'])).stdout,
    /^(?:note: (?:operator|certificates\.authority\.crl|the relay cannot open the key of held mail)[^\n]*\n)*rules: sha256 \S+\nall well: /,
    'an older list beside the current one does no harm',
  );
  assert.match((await sealpost(folder, ['certs', 'list'])).stdout, / usable {2}/);

  rmSync(file('certs/crls/root.crl'));
  list('stranger', 'stranger.crl', '-crldays', '2');
  const { exit, stdout } = await sealpost(folder, ['check']);
  assert.equal(exit, 1);
  assert.match(stdout, /old\.crl: certificates\.trust\.crls: is stale since 2025-02-01T00:00:00\.000Z\n {2}mend: lay the current list/);
  assert.match(stdout, /^note: .*stranger\.crl: its CA is not among the anchors and intermediates/m);
  assert.match(stdout, /^note: 1 certificate with revocation unknown by what is at hand, under hard/m);
  assert.match(
    (await sealpost(folder, ['certs', 'list'])).stdout,
    /usable \(revocation unknown: CRL crls\/old\.crl is stale since 2025-02-01/,
  );
  const [row] = JSON.parse((await sealpost(folder, ['certs', 'list', '--json'])).stdout);
  assert.partialDeepStrictEqual(row, { usable: true, reason: null });
  assert.match(row.remark, /^revocation unknown: /);

  for (const name of ['old.crl', 'stranger.crl']) rmSync(file('certs/crls', name));
  writeFileSync(file('certs/crls/garbage.crl'), 'no list\n');
  assert.match((await sealpost(folder, ['check'])).stdout, /garbage\.crl: certificates\.trust\.crls: is no list that can be read/);

  writeFileSync(file('sealpost.yaml'), JSON.stringify({ ...config, certificates: { trust: { crls: 'certs/crls', revocation: 'soft' } } }));
  assert.doesNotMatch((await sealpost(folder, ['certs', 'list'])).stdout, /usable \(/, 'soft takes it');
});
