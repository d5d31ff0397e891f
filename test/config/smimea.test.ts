/** The SMIMEA source in the configuration: which resolvers are taken, and every fault with its mend. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Config, readConfig } from '../../src/config.ts';

async function read(t: TestContext, source: string): Promise<{ readonly config: Config | undefined; readonly faults: string[] }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-smimea-'));
  t.after(() => rm(folder, { recursive: true }));
  const lines = `hostname: relay.clinic.example
operator: postmaster@clinic.example
listen: [{ host: 127.0.0.1, port: 2525 }]
upstream: [{ host: 127.0.0.1, port: 25 }]
certificates: { sources: [${source}] }
`;
  await writeFile(path.join(folder, 'sealpost.yaml'), lines);
  const reading = await readConfig({ env: {}, cwd: folder });
  if (reading.kind === 'valid') return { config: reading.value, faults: [] };
  return { config: undefined, faults: reading.faults.map(({ key, wrong, mend }) => `${key} ${wrong}; ${mend}`) };
}

const taken: readonly (readonly [written: string, address: string, port: number])[] = [
  ['{}', '127.0.0.1', 53],
  ['{ resolver: 127.0.0.53 }', '127.0.0.53', 53],
  ["{ resolver: '127.0.0.1:5353' }", '127.0.0.1', 5353],
  ["{ resolver: '::1' }", '::1', 53],
  ["{ resolver: '[::1]' }", '::1', 53],
  ["{ resolver: '[::1]:5353' }", '::1', 5353],
];
for (const [written, address, port] of taken) {
  test(`smimea: ${written}`, async (t) => {
    const { config } = await read(t, `{ smimea: ${written} }`);
    assert.deepEqual(config?.certificates.sources[0]?.smimea, { resolver: { address, port }, trust: 'anchors' });
  });
}

test('the record itself is trusted only where the operator writes so', async (t) => {
  const { config } = await read(t, '{ files: certs/recipients }, { smimea: { trust: dnssec } }');
  assert.equal(config?.certificates.sources[1]?.smimea?.trust, 'dnssec');
});

for (const address of ['192.0.2.1', '10.0.0.1:53', '[2001:db8::1]:53', '0.0.0.0', '::', '::ffff:192.0.2.1', '[::ffff:127.0.0.1]:53']) {
  test(`A27: a resolver elsewhere could be spoofed on the way: ${address}`, async (t) => {
    const { faults } = await read(t, `{ smimea: { resolver: '${address}' } }`);
    assert.deepEqual(faults, [
      'certificates.sources[0].smimea.resolver is not on this machine: its answers could be forged on the way; a validating resolver on this machine, such as unbound: 127.0.0.1',
    ]);
  });
}

for (const address of [
  'localhost',
  'dns.example',
  '127.0.0.1:0',
  '127.0.0.1:65536',
  '127.0.0.1:',
  '127.0.0.1:dns',
  '[::1',
  '[127.0.0.1.1]:53',
]) {
  test(`no address: ${address}`, async (t) => {
    const { faults } = await read(t, `{ smimea: { resolver: '${address}' } }`);
    assert.deepEqual(faults, [
      'certificates.sources[0].smimea.resolver is not an IP address; for example 127.0.0.1, 127.0.0.1:5353 or "[::1]:53"',
    ]);
  });
}

test('other words and keys, and two kinds in one entry, are faults', async (t) => {
  assert.match((await read(t, '{ smimea: { trust: dane } }')).faults.join(), /smimea\.trust does not know "dane"; one of anchors, dnssec/);
  assert.match((await read(t, '{ smimea: { server: 127.0.0.1 } }')).faults.join(), /smimea\.server no such key; .*resolver/);
  assert.match((await read(t, '{ files: certs/recipients, smimea: {} }')).faults.join(), /is of two kinds: files and smimea/);
});
