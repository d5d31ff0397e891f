import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { loadConfig } from '../../src/config.ts';
import { renderFirstConfig } from '../../src/config/reference.ts';

const minimal = `hostname: relay.clinic.example
operator: postmaster@clinic.example
listen:
  - { host: 127.0.0.1, port: 2525 }
upstream:
  - { host: 127.0.0.1, port: 25 }
`;

async function folderWith(t: TestContext, text: string): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-config-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(path.join(folder, 'sealpost.yaml'), text);
  return folder;
}

test('a minimal file is whole: defaults filled in, numbers parsed, paths absolute', async (t) => {
  const folder = await folderWith(t, minimal);
  const at = (name: string): string => path.join(folder, name);
  assert.deepEqual(await loadConfig({ env: {}, cwd: folder }), {
    file: at('sealpost.yaml'),
    sha256: createHash('sha256').update(minimal).digest('hex'),
    overridden: [],
    hostname: 'relay.clinic.example',
    operator: 'postmaster@clinic.example',
    listen: [{ host: '127.0.0.1', port: 2525, tls: 'off', auth: 'optional', clientCertificates: 'off' }],
    clients: { networks: ['127.0.0.0/8', '::1/128'], proxy: [], xclient: [] },
    timeouts: { command: 300_000, message: 600_000, session: 1_800_000, lookup: 10_000 },
    limits: {
      messageBytes: 25 * 2 ** 20,
      recipients: 100,
      connections: 200,
      connectionsPerAddress: 100,
      inFlightBytes: 512 * 2 ** 20,
      dataRate: 512,
      refusals: 100,
    },
    upstream: [{ host: '127.0.0.1', port: 25, tls: 'off', verify: true, concurrency: 3 }],
    certificates: {
      sources: [{ files: [at('certs/recipients'), at('data/certs')] }],
      cache: { found: 3_600_000, absent: 300_000, stale: 86_400_000 },
      trust: {
        anchors: at('certs/anchors'),
        intermediates: at('certs/intermediates'),
        anchorSets: [],
        revocation: 'soft',
        fetchNetworks: [],
      },
      pin: false,
      authority: {},
      expiry: { within: 2_592_000_000, summary: 'changes', notify: [] },
      harvest: { approveIssuers: [] },
    },
    profile: 'compatible',
    policies: at('policies'),
    mixed: 'all_or_none',
    keys: at('keys'),
    hold: { maxAge: 14 * 86_400_000 },
    retry: { maxAge: 5 * 86_400_000, first: 60_000, longest: 3_600_000 },
    notices: { domains: [], delay: 4 * 3_600_000, rate: { count: 60, per: 3_600_000 } },
    queue: { sqlite: at('data/queue.sqlite'), keptBounced: 30 * 86_400_000 },
    audit: { file: at('data/audit.jsonl'), rotate: 64 * 1024 * 1024, keep: 6 * 366 * 86_400_000, addresses: 'clear' },
    log: { level: 'info', format: 'json' },
  });
});

test('the configuration is frozen to its leaves', async (t) => {
  const config = await loadConfig({ env: {}, cwd: await folderWith(t, minimal) });
  for (const part of [config, config.listen, config.listen[0], config.limits, config.certificates.trust, config.clients.networks]) {
    assert.ok(Object.isFrozen(part));
  }
});

test('the file that init writes is a valid configuration', async (t) => {
  const folder = await folderWith(t, renderFirstConfig({ hostname: 'relay.clinic.example', operator: 'postmaster@clinic.example' }));
  assert.equal((await loadConfig({ env: {}, cwd: folder })).operator, 'postmaster@clinic.example');
});

test('the file is the one of -c, else of SEALPOST_CONFIG, else ./sealpost.yaml; paths start at its folder', async (t) => {
  const [option, environment, here] = await Promise.all([folderWith(t, minimal), folderWith(t, minimal), folderWith(t, minimal)]);
  const env = { SEALPOST_CONFIG: path.join(environment, 'sealpost.yaml') };
  const file = path.relative(here, path.join(option, 'sealpost.yaml'));
  assert.equal((await loadConfig({ file, env, cwd: here })).keys, path.join(option, 'keys'));
  assert.equal((await loadConfig({ env, cwd: here })).keys, path.join(environment, 'keys'));
  assert.equal((await loadConfig({ env: {}, cwd: here })).keys, path.join(here, 'keys'));
});

test('a named file that is not there is an error, and no other file takes its place', async (t) => {
  const folder = await folderWith(t, minimal);
  const missing = { code: 'file-unreadable', message: /nope\.yaml \(ENOENT\)$/, hint: /sealpost init makes one/ };
  await assert.rejects(loadConfig({ file: 'nope.yaml', env: {}, cwd: folder }), missing);
  await assert.rejects(loadConfig({ env: { SEALPOST_CONFIG: 'nope.yaml' }, cwd: folder }), missing);
});

test('a file that is there but cannot be read is not passed over', async (t) => {
  const folder = await folderWith(t, minimal);
  await rm(path.join(folder, 'sealpost.yaml'));
  await symlink('sealpost.yaml', path.join(folder, 'sealpost.yaml'));
  await assert.rejects(loadConfig({ env: {}, cwd: folder }), { code: 'file-unreadable', message: /ELOOP/ });
});

test('a file that is not UTF-8, or no file at all, is said so', async (t) => {
  const folder = await folderWith(t, minimal);
  await writeFile(path.join(folder, 'latin.yaml'), Buffer.from('hostname: b\xfccher', 'latin1'));
  await assert.rejects(loadConfig({ file: 'latin.yaml', env: {}, cwd: folder }), { code: 'file-unreadable', message: /it is not UTF-8/ });
  await assert.rejects(loadConfig({ file: '.', env: {}, cwd: folder }), { code: 'file-unreadable', message: /EISDIR/ });
});

test('the environment overrides the file, key by key', async (t) => {
  const env = {
    SEALPOST_HOSTNAME: 'other.example',
    SEALPOST_LIMITS__MESSAGE_BYTES: '10MB',
    SEALPOST_LIMITS__RECIPIENTS: '7',
    SEALPOST_CERTIFICATES__TRUST__ANCHORS: '/etc/anchors',
    SEALPOST_QUEUE__SQLITE: 'elsewhere/queue.sqlite',
  };
  const folder = await folderWith(t, `${minimal}limits: { recipients: 5, connections: 9 }\n`);
  const config = await loadConfig({ env, cwd: folder });
  assert.equal(config.hostname, 'other.example');
  const { messageBytes, recipients, connections } = config.limits;
  assert.deepEqual({ messageBytes, recipients, connections }, { messageBytes: 10_000_000, recipients: 7, connections: 9 });
  assert.equal(config.certificates.trust.anchors, '/etc/anchors');
  assert.equal(config.queue.sqlite, path.join(folder, 'elsewhere/queue.sqlite'));
});

test('a source of files is a folder or a list of folders; the usual second one stands beside the queue', async (t) => {
  const sourcesOf = async (more: string): Promise<unknown> => {
    const cwd = await folderWith(t, minimal + more);
    const { certificates } = await loadConfig({ env: {}, cwd });
    return certificates.sources.map(({ files = [] }) => files.map((file) => path.relative(cwd, file)).join(' '));
  };
  assert.deepEqual(await sourcesOf('certificates: { sources: [{ files: a }, { files: [b, data/certs] }] }\n'), ['a', 'b data/certs']);
  assert.deepEqual(await sourcesOf('queue: { sqlite: var/q.sqlite }\n'), ['certs/recipients var/certs']);
  assert.deepEqual(await sourcesOf('queue: { sqlite: var/q.sqlite }\ncertificates: { sources: [{ files: data/certs }] }\n'), [
    'data/certs',
  ]);
  for (const [files, said] of [
    ['[]', /sources\[0\]\.files: is an empty list/],
    ['[a, 5]', /sources\[0\]\.files: wants a path, not a number/],
    ['[a, ./a]', /sources\[0\]\.files: names one of them twice/],
  ] as const)
    await assert.rejects(sourcesOf(`certificates: { sources: [{ files: ${files} }] }\n`), { code: 'config-invalid', message: said });
});

test('a name in the environment that sets nothing is a fault; those that are no keys are left alone', async (t) => {
  const cwd = await folderWith(t, minimal);
  const said = async (env: Readonly<Record<string, string>>): Promise<string> => {
    const thrown = await loadConfig({ env, cwd }).then(
      () => '',
      (error: unknown) => (error instanceof Error ? error.message : ''),
    );
    return thrown.slice(thrown.indexOf('\n') + 1);
  };
  assert.equal(
    await said({ SEALPOST_LIMITS__MESSAGE_BYTE: '1' }),
    'environment SEALPOST_LIMITS__MESSAGE_BYTE: names no key\n  mend: did you mean SEALPOST_LIMITS__MESSAGE_BYTES?',
  );
  const list = 'lists have no names in the environment\n  mend: write the list in the configuration file';
  assert.equal(await said({ SEALPOST_CLIENTS__NETWORKS: '::/0' }), `environment SEALPOST_CLIENTS__NETWORKS: ${list}`);
  assert.equal(await said({ SEALPOST_LISTEN__0__PORT: '1' }), `environment SEALPOST_LISTEN__0__PORT: ${list}`);
  assert.equal(
    await said({ SEALPOST_LOG__LEVEL: 'loud' }),
    'environment SEALPOST_LOG__LEVEL: log.level: does not know "loud"\n  mend: one of trace, debug, info, warn, error',
  );
  assert.equal(
    await said({
      SEALPOST_DEBUG: '1',
      SEALPOST_SERVICE_HOST: '10.0.0.1',
      SEALPOST_PORT: 'tcp://10.0.0.1:25',
      SEALPOST_PORT_25_TCP_ADDR: 'x',
      HOME: '/',
    }),
    '',
  );
});

test('an upstream that is a listener of the relay itself is a fault', async (t) => {
  const folder = await folderWith(
    t,
    minimal.replace('port: 25 }', 'port: 2525 }').replace('host: 127.0.0.1, port: 2525', 'host: 0.0.0.0, port: 2525'),
  );
  await assert.rejects(loadConfig({ env: {}, cwd: folder }), /upstream\[0\]\.port: is a listener of this relay/);
});
