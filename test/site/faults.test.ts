/** Rules that want what the site has not: told by check, and not taken, at the start or later. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { loadConfig } from '../../src/config.ts';
import { loadRules } from '../../src/policy/rules.ts';
import { siteFaults } from '../../src/site/faults.ts';
import { temporaryFolder } from '../commands/transcript.ts';

async function faultsOf(t: TestContext, rules: string) {
  const folder = await temporaryFolder(t);
  for (const name of ['policies', 'certs/recipients', 'certs/anchors', 'certs/intermediates', 'keys', 'data'])
    await mkdir(path.join(folder, name), { recursive: true, mode: 0o700 });
  await writeFile(path.join(folder, 'policies/10-own.yaml'), rules);
  const file = path.join(folder, 'sealpost.yaml');
  const site = { hostname: 'r.example', operator: 'o@r.example', listen: [{ host: '127.0.0.1', port: 2525 }] };
  const around = { clients: { networks: ['127.0.0.0/8'] }, upstream: [{ host: '127.0.0.1', port: 25 }] };
  await writeFile(file, JSON.stringify({ ...site, ...around }));
  const config = await loadConfig({ file, env: {}, cwd: folder });
  const read = await loadRules(config.policies);
  const at = { env: {}, now: Date.now() };
  return { folder, found: await siteFaults(config, read, at) };
}

test('a rule that signs as nobody, and one that holds without a certificate to hold under', async (t) => {
  const { folder, found } = await faultsOf(
    t,
    `rules:
  - { name: signed, when: { sender: a@b.example }, then: seal, subject: keep, from: { replace: a@b.example }, sign: clinic }
  - { name: held, then: hold, subject: keep }
`,
  );
  assert.deepEqual(
    found.faults.map(({ place, wrong }) => [place, wrong]),
    [
      [`${folder}/policies/10-own.yaml:2:13`, 'the rule signed signs as clinic, which is none of identities'],
      [`${folder}/keys/hold.pem`, 'is not there, and the rule held holds mail: it would be answered 451'],
    ],
  );
  assert.deepEqual(found.ofRules, found.faults, 'with neither of them these rules are taken');
});

test('rules that ask for nothing of the kind find no fault', async (t) => {
  const { found } = await faultsOf(t, 'rules:\n  - { name: all, then: seal, subject: keep }\n');
  assert.deepEqual(found, { faults: [], ofRules: [], notes: [] });
});

test('a rule that passes: the key of its queued copies can be made, and check says that it will be', async (t) => {
  const { folder, found } = await faultsOf(t, 'rules:\n  - { name: news, when: { sender: n@b.example }, then: pass }\n');
  assert.deepEqual(found.faults, []);
  assert.match(found.notes.join(), new RegExp(`the next start makes ${folder}/keys/spool\\.key`));
});
