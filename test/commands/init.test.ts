import assert from 'node:assert/strict';
import { appendFile, cp, mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { check } from '../../src/commands/check.ts';
import { loadConfig } from '../../src/config.ts';
import { makeSite } from '../../src/commands/init.ts';
import { makeHold } from './hold-pair.ts';
import { sealpost, temporaryFolder } from './transcript.ts';

const shippedPolicies = path.resolve(import.meta.dirname, '../../policies');
const host = { addresses: ['127.0.0.1'], uid: undefined };
const survey = async () => ({ usable: 1, unusable: 0, faults: [], notes: [] });

test('init, then check: all well, without a word edited', async (t) => {
  const folder = await temporaryFolder(t);
  const asked: unknown[] = [];
  const makeAuthority = async (places: { readonly anchors: string }): Promise<string[]> => {
    asked.push(places);
    await writeFile(path.join(places.anchors, 'ca.pem'), '');
    return [path.join(places.anchors, 'ca.pem')];
  };
  const written = await makeSite({ folder, hostname: 'relay.clinic.example', shippedPolicies, makeAuthority, makeHold });
  assert.deepEqual(asked, [
    {
      keys: path.join(folder, 'keys'),
      anchors: path.join(folder, 'certs/anchors'),
      intermediates: path.join(folder, 'certs/intermediates'),
    },
  ]);
  assert.deepEqual(
    written.map((file) => path.relative(folder, file)),
    ['sealpost.yaml', 'policies/90-default.yaml', 'certs/anchors/ca.pem', 'keys/hold.passphrase', 'keys/hold.key', 'keys/hold.pem'],
  );
  const report = await check({ file: path.join(folder, 'sealpost.yaml'), env: {}, cwd: '/' }, { host, now: Date.now, survey });
  const { rules_sha256: hash, ...said } = report;
  assert.deepEqual(said, { faults: [], notes: [], counts: { listeners: 1, upstreams: 1, rules: 1, certificates: 1, users: 0 } });
  assert.match(String(hash), /^[0-9a-f]{64}$/);
});

test('init by the command line: what is written, with which modes, and what comes next', async (t) => {
  const cwd = await temporaryFolder(t);
  const { exit, stdout, stderr } = await sealpost(cwd, ['init', 'my site']);
  assert.deepEqual({ exit, stderr }, { exit: 0, stderr: '' });
  const folder = path.join(cwd, 'my site');
  const [operator] = /postmaster@[^\s"]+/.exec(await readFile(path.join(folder, 'sealpost.yaml'), 'utf8')) ?? [];
  assert.ok(stdout.startsWith(`wrote ${folder}/sealpost.yaml\nwrote ${folder}/policies/90-default.yaml\n`));
  assert.ok(
    stdout.endsWith(`next:
  write into 'my site/sealpost.yaml' under operator who is to hear of mail that failed, and of lost keys: it is ${operator}
  set certificates.authority.crl there first if others are to hear what is revoked: certificates name it from then on
  sealpost -c 'my site/sealpost.yaml' certs issue anna@clinic.example    # or put certificates into 'my site/certs/recipients'
  sealpost -c 'my site/sealpost.yaml' check
  sealpost -c 'my site/sealpost.yaml' serve                              # then point your script at 127.0.0.1 port 2525
  take 'my site/keys/root.key' away from this machine, with a copy of ca.passphrase beside it: issuing works without it
  take 'my site/keys/hold.key' and hold.passphrase away too if no held mail is to be opened here, and hold out of the configuration: it is released by hand then, see docs/hold.md
`),
  );
  assert.deepEqual((await readdir(folder)).sort(), ['certs', 'data', 'keys', 'policies', 'sealpost.yaml']);
  assert.deepEqual((await readdir(path.join(folder, 'certs'))).sort(), ['anchors', 'intermediates', 'recipients']);
  for (const name of ['keys', 'data']) assert.equal((await stat(path.join(folder, name))).mode & 0o777, 0o700, name);
  const rules = await readFile(path.join(folder, 'policies/90-default.yaml'), 'utf8');
  assert.equal(rules, await readFile(path.join(shippedPolicies, '90-default.yaml'), 'utf8'));
  assert.doesNotMatch(await readFile(path.join(folder, 'sealpost.yaml'), 'utf8'), /\]\(/, 'no link in a comment');
  assert.match(await readFile(path.join(folder, 'sealpost.yaml'), 'utf8'), /^# .*\nlisten:\n {2}- \{ host: 127\.0\.0\.1, port: 2525 \}$/m);
});

test('init is told whose site it is: the names of the CA, the operator, and paths that work from everywhere', async (t) => {
  const cwd = await temporaryFolder(t);
  const folder = path.join(cwd, 'site');
  const { exit, stdout, stderr } = await sealpost(cwd, ['init', folder, '--name', 'Clinic Example', '--operator', 'it@clinic.example']);
  assert.equal(exit, 0, stderr);
  const [root] = readCertificates(await readFile(path.join(folder, 'certs/anchors/in-house-root.pem'))).certificates;
  assert.equal(root?.subject, 'CN=In-house root CA of Clinic Example');
  assert.match(await readFile(path.join(folder, 'sealpost.yaml'), 'utf8'), /^operator: "it@clinic\.example"$/m);
  assert.doesNotMatch(stdout, /under operator/);
  assert.ok(stdout.includes(`\n  sealpost -c ${folder}/sealpost.yaml check\n`), stdout);
  for (const [args, said] of [
    [['--name', 'C'.repeat(42)], /is longer than 64 characters/],
    [['--name', ' '], /is blank/],
    [['--operator', 'nobody'], /no @ in it/],
  ] as const) {
    const refused = await sealpost(cwd, ['init', 'other', ...args]);
    assert.equal(refused.exit, 2);
    assert.match(refused.stderr, said);
  }
  assert.deepEqual(await readdir(cwd), ['site']);
});

test('the key for the list stands in the first configuration, to be uncommented as it is', async (t) => {
  const cwd = await temporaryFolder(t);
  await sealpost(cwd, ['init', '.', '--operator', 'it@clinic.example']);
  const file = path.join(cwd, 'sealpost.yaml');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace(/^ {4}# (?=crl:| {2}url:| {2}listen:)/gm, '    '));
  const { authority } = (await loadConfig({ file, env: {}, cwd })).certificates;
  assert.equal(authority.crl?.url, 'http://relay.clinic.example:8025/in-house.crl');
  assert.equal(authority.crl.listen?.port, 8025);
});

test('init through npx says npx', async (t) => {
  const { stdout } = await sealpost(await temporaryFolder(t), ['init'], { npm_command: 'exec' });
  assert.match(stdout, /^ {2}npx sealpost check$/m);
});

test('init overwrites nothing, and writes nothing where something is in the way', async (t) => {
  const cwd = await temporaryFolder(t);
  for (const name of ['sealpost.yaml', 'policies/50-forms.yaml', 'keys/ca.key', 'data']) {
    const folder = path.join(cwd, path.basename(name));
    const file = path.join(folder, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, 'mine');
    const { exit, stdout, stderr } = await sealpost(cwd, ['init', folder]);
    const inTheWay = path.join(folder, name.split('/')[0] ?? '');
    const said = `sealpost: a file is in the way: ${inTheWay}\n  hint: nothing was written; sealpost init DIR makes a site elsewhere\n`;
    assert.deepEqual({ exit, stdout, stderr }, { exit: 1, stdout: '', stderr: said });
    assert.equal(await readFile(file, 'utf8'), 'mine');
    assert.equal((await readdir(folder)).length, 1);
  }
});

test('an empty folder that was there is taken, and keys in it made private', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(path.join(folder, 'keys'), { mode: 0o755 });
  assert.equal((await sealpost(folder, ['init'])).exit, 0);
  assert.equal((await stat(path.join(folder, 'keys'))).mode & 0o777, 0o700);
});

test('in a checkout the shipped policies are not in the way, changed ones are', async (t) => {
  const folder = await temporaryFolder(t);
  await cp(path.resolve(import.meta.dirname, '../../policies'), path.join(folder, 'policies'), { recursive: true });
  for (const name of ['recipients', 'anchors', 'intermediates']) {
    await mkdir(path.join(folder, 'certs', name), { recursive: true });
    await writeFile(path.join(folder, 'certs', name, '.gitkeep'), '');
  }
  const changed = `${folder}-changed`;
  await cp(folder, changed, { recursive: true });
  t.after(() => rm(changed, { recursive: true }));
  assert.equal((await sealpost(folder, ['init'])).exit, 0);
  await appendFile(path.join(changed, 'policies/90-default.yaml'), '# mine');
  assert.match((await sealpost(changed, ['init'])).stderr, /a file is in the way: .*policies/);
});
