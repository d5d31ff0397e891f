/** `sealpost queue release` where no relay runs: what the relay would not start with does not release either. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { releaseHere } from '../../src/commands/release-here.ts';
import { loadConfig } from '../../src/config.ts';
import { makeSite } from '../queue/site.ts';
import { certificateFor, pemOf } from '../sign/people.ts';

test('a rule that signs as somebody whom its identity does not name releases nothing', async (t) => {
  const site = await makeSite(t);
  const store = await site.open();
  const cwd = dirname(site.paths.folder);
  for (const name of ['policies', 'certs/recipients', 'certs/anchors', 'certs/intermediates'])
    await mkdir(join(cwd, name), { recursive: true });
  const { der, keys } = certificateFor({ addresses: ['forms@clinic.example'] });
  await writeFile(join(cwd, 'own.pem'), pemOf(der));
  await writeFile(join(cwd, 'own.key'), keys.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const file = join(cwd, 'sealpost.yaml');
  const own = { hostname: 'r.example', operator: 'o@r.example', identities: { clinic: { cert: 'own.pem', key: 'file:own.key' } } };
  const around = { clients: { networks: ['127.0.0.0/8'] }, upstream: [{ host: '127.0.0.1', port: 25 }] };
  await writeFile(file, JSON.stringify({ ...own, ...around, listen: [{ host: '127.0.0.1', port: 2525 }] }));
  const release = async (from: string): Promise<unknown> => {
    const rule = { name: 'forms', then: 'seal', subject: 'keep', from: { replace: from }, sign: 'clinic' };
    await writeFile(join(cwd, 'policies/10-own.yaml'), JSON.stringify({ rules: [rule] }));
    const terminal = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough(), env: {}, cwd, colour: false };
    const handlers = releaseHere(store, await loadConfig({ file, env: {}, cwd }), terminal);
    return handlers['queue-release']?.({ command: 'queue-release', operator: 'tester', rows: [] });
  };
  await assert.rejects(release('other@clinic.example'), (error: Error & { code: string }) => {
    assert.equal(error.code, 'policy-invalid');
    assert.match(error.message, /: sign: the rule forms signs as clinic, whose certificate does not name other@clinic\.example/);
    return true;
  });
  assert.deepEqual(await release('forms@clinic.example'), []);
});
