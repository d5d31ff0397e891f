/** The shipped rules on a site as `init` leaves it: mail to somebody without a certificate is held, and the operator is told. */
import assert from 'node:assert/strict';
import { copyFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const skip = missingPrograms({ openssl: 'openssl' }) ?? false;
const shipped = resolve(import.meta.dirname, '../../policies/90-default.yaml');

test('what the shipped rules cannot seal is held, and the operator is told', { skip }, async (t) => {
  const upstream = await keepingUpstream(t);
  const config = { hold: { passphrase: 'file:keys/hold.passphrase' } };
  const site = await makeSite(t, { upstreamPort: upstream.port, config });
  await rm(join(site.dir, 'policies/50-test.yaml'));
  await copyFile(shipped, join(site.dir, 'policies/90-default.yaml'));
  await assert.rejects(site.sealpost('check'), /the rule everything-else|1 fault/, 'a site from before has no hold certificate yet');
  await site.sealpost('queue', 'hold-key');
  assert.match(await site.sealpost('check'), /^all well/m);
  const relay = await site.serve();
  const id = await send(relay.port, ['dora@clinic.example'], 'Subject: Fever\r\n\r\nbody\r\n');
  assert.match(await site.sealpost('queue', 'list', '--held'), new RegExp(id));
  await until('the operator is told', () => upstream.deliveries().some(({ recipient }) => recipient === 'postmaster@clinic.example'));
  assert.ok(upstream.deliveries().every(({ recipient, octets }) => recipient !== 'dora@clinic.example' && !octets.includes('Fever')));
});
