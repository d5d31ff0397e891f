/** A rule that signs, on a relay as the operator runs it: what arrives is signed under the seal, and a renewed identity needs no restart. */
import assert from 'node:assert/strict';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { judgeSignedData } from '../../src/certificates/harvest/signed-data.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms, run } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import { takeApart } from '../interop/verifiers.ts';
import { certificateFor, pemOf } from '../sign/people.ts';
import { CLI, makeSite } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };
const rule = { name: 'forms', then: 'seal', subject: 'keep', from: { replace: 'otto@clinic.example' }, sign: 'site' };
const identities = { site: { cert: 'own.pem', key: 'file:own.key' } };
const form = 'From: Vera <vera@gmail.example>\r\nX-Sealpost-Id: forged\r\nSubject: Fever\r\n\r\nbody\r\n';

test('signed under the seal, as soon as the new identity is there by the new one; the audit log says by whom', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port, config: { identities }, rules: [rule] });
  const { otto } = site.readers.people;
  await copyFile(otto.certificate, join(site.dir, 'own.pem'));
  await copyFile(otto.key, join(site.dir, 'own.key'));
  const relay = await site.serve();
  const program = await openssl.start(site.readers);
  const arrives = async (count: number): Promise<{ readonly id: string; readonly text: string; readonly signer: string | undefined }> => {
    const id = await send(relay.port, ['anna@clinic.example'], form);
    await until('it is delivered', () => upstream.deliveries().length === count);
    const octets = upstream.deliveries()[count - 1]?.octets ?? Buffer.alloc(0);
    const { beside, signature } = takeApart(await program.open(octets, site.readers.people.anna));
    const verdict = judgeSignedData(signature, beside);
    assert.ok(verdict.kind === 'right', JSON.stringify(verdict));
    return { id, text: beside?.toString() ?? '', signer: verdict.signers[0]?.certificate.issuer };
  };
  const first = await arrives(1);
  assert.match(first.signer ?? '', /Interop test CA/);
  assert.ok(first.text.startsWith(`X-Sealpost-Id: ${first.id}; 20`), first.text);
  assert.doesNotMatch(first.text, /forged/);
  assert.match(first.text, /\r\n\r\nbody\r\n$/);
  const renewed = certificateFor({ addresses: ['otto@clinic.example'] });
  await writeFile(join(site.dir, 'own.pem'), pemOf(renewed.der));
  await writeFile(join(site.dir, 'own.key'), renewed.keys.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  await until('the new identity is read', () => relay.log().includes('identity changed'), 30_000);
  assert.equal((await arrives(2)).signer, 'CN=Issuing CA');
  const audit = await site.sealpost('audit', 'show', '--json');
  assert.match(audit, /"signed_by":"site"/);
  assert.doesNotMatch(relay.log(), /Fever|vera@/);
});

test('a rule that signs as somebody whom its identity does not name: the relay does not start', needsOpenssl, async (t) => {
  const rules = [{ ...rule, from: { replace: 'anna@clinic.example' } }];
  const site = await makeSite(t, { upstreamPort: 9, config: { identities }, rules });
  const { otto } = site.readers.people;
  await copyFile(otto.certificate, join(site.dir, 'own.pem'));
  await copyFile(otto.key, join(site.dir, 'own.key'));
  const { code, stderr } = await run(process.execPath, [CLI, '-c', site.file, 'serve'], { cwd: site.dir });
  assert.equal(code, 1);
  assert.match(stderr, /50-test\.yaml[^]*rule forms:? signs as site, whose certificate does not name anna@clinic\.example/);
});
