import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, rm, rmdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { check, showReport } from '../../src/commands/check.ts';
import { mendOf, surveyCertificates } from '../../src/commands/certificates/survey.ts';
import { makeSite } from '../../src/commands/init.ts';
import { make, noOpenssl } from '../certificates/openssl.ts';
import { makeIdentities } from '../delivery/tls-peer.ts';
import { loadPolicy } from '../../src/policy/rules.ts';
import { makeHold } from './hold-pair.ts';
import { sealpost, temporaryFolder } from './transcript.ts';

const shippedPolicies = path.resolve(import.meta.dirname, '../../policies');
const host = { addresses: ['127.0.0.1', '192.0.2.7', '2001:db8::7'], uid: undefined };

async function newSite(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t);
  await makeSite({ folder, hostname: 'relay.clinic.example', shippedPolicies, makeAuthority: async () => [], makeHold });
  return folder;
}

async function edit(file: string, from: string | RegExp, to: string): Promise<void> {
  const text = await readFile(file, 'utf8');
  assert.notEqual(text.replace(from, to), text);
  await writeFile(file, text.replace(from, to));
}

/** What check prints of a site whose certificates are all well. */
async function said(folder: string, usable = 2, as: Partial<typeof host> | { readonly uid: number } = {}): Promise<string> {
  const survey = async () => ({ usable, unusable: 0, faults: [], notes: [] });
  return showReport(await check({ env: {}, cwd: folder }, { host: { ...host, ...as }, survey, now: Date.now }));
}

const OTHER_USER = { uid: 54_321 };

test('a site without a fault: all well, and how much of it', async (t) => {
  const folder = await newSite(t);
  const { sha256 } = await loadPolicy(path.join(folder, 'policies'));
  const rules = `rules: sha256 ${sha256}\n`;
  assert.equal(await said(folder), `${rules}all well: 1 listener, 1 upstream, 1 rule, 2 usable certificates\n`);
  assert.equal(
    await said(folder, 0),
    `note: no usable certificate yet: nothing can be sealed to a reader\n${rules}all well: 1 listener, 1 upstream, 1 rule, 0 usable certificates, and 1 note above\n`,
  );
});

test('folders that are missing, no folders, or open to others', async (t) => {
  const folder = await newSite(t);
  await rmdir(path.join(folder, 'certs/recipients'));
  await rmdir(path.join(folder, 'certs/intermediates'));
  await writeFile(path.join(folder, 'certs/intermediates'), '');
  await chmod(path.join(folder, 'keys'), 0o750);
  await chmod(path.join(folder, 'data'), 0o777);
  assert.equal(
    await said(folder),
    `${folder}/certs/recipients: certificates.sources[0].files: is not there
  mend: mkdir -p ${folder}/certs/recipients
${folder}/certs/intermediates: certificates.trust.intermediates: is not a folder
  mend: name a folder, or move the file away
${folder}/keys: keys: its mode is 0750: open to other users
  mend: chmod 0700 ${folder}/keys
${folder}/data: queue.sqlite: its mode is 0777: open to other users
  mend: chmod 0700 ${folder}/data
`,
  );
});

test('the relay has a user of its own: keys/ may belong to whoever issues certificates, unless the relay reads there', async (t) => {
  const folder = await newSite(t);
  const about = async (): Promise<string> =>
    (await said(folder, 2, OTHER_USER))
      .split('\n')
      .filter((line) => line.includes('/keys'))
      .join('\n');
  assert.equal(await about(), '');
  await chmod(path.join(folder, 'keys'), 0o755);
  assert.match(await about(), /keys: its mode is 0755: open to other users/);
  await chmod(path.join(folder, 'keys'), 0o700);
  const key = path.join(folder, 'keys/password');
  await writeFile(key, 'secret\n', { mode: 0o600 });
  await edit(
    path.join(folder, 'sealpost.yaml'),
    '  - { host: 127.0.0.1, port: 25 }',
    '  - { host: smtp.clinic.example, port: 587, tls: starttls, auth: { user: u, password: file:keys/password } }',
  );
  assert.equal(
    await about(),
    `${folder}/keys: keys: belongs to another user, and upstream[0].auth.password is in it
  mend: move it into a folder that the relay may read, for example secrets/: ${key}`,
  );
  assert.match(await said(folder, 2, OTHER_USER), /data: queue\.sqlite: belongs to another user\n {2}mend: chown 54321 /);
});

test('the secrets of an upstream are looked at like those of a listener: open to all users is a fault', async (t) => {
  const folder = await newSite(t);
  await mkdir(path.join(folder, 'secrets'));
  for (const name of ['password', 'client.key']) await writeFile(path.join(folder, 'secrets', name), 'secret\n');
  const [password, key] = [path.join(folder, 'secrets/password'), path.join(folder, 'secrets/client.key')];
  await edit(
    path.join(folder, 'sealpost.yaml'),
    '  - { host: 127.0.0.1, port: 25 }',
    '  - { host: mx.example, port: 465, tls: implicit, cert: no.pem, key: file:secrets/client.key, auth: { user: u, password: file:secrets/password } }',
  );
  const about = async (): Promise<string[]> => (await said(folder)).split('\n').filter((line) => line.includes('secrets/'));
  for (const file of [password, key]) await chmod(file, 0o644);
  assert.deepEqual(await about(), [
    `${key}: upstream[0].key: its mode is 0644: open to all users`,
    `  mend: chmod o= ${key}`,
    `${password}: upstream[0].auth.password: its mode is 0644: open to all users`,
    `  mend: chmod o= ${password}`,
  ]);
  for (const file of [password, key]) await chmod(file, 0o640);
  assert.deepEqual(await about(), []);
});

test('a port that begins otherwise than `tls` says is noted: one waits in silence, the other fails at once', async (t) => {
  const folder = await newSite(t);
  await edit(
    path.join(folder, 'sealpost.yaml'),
    '  - { host: 127.0.0.1, port: 25 }',
    [
      '{ port: 465, tls: starttls',
      '{ port: 587, tls: implicit',
      '{ port: 25, tls: implicit',
      '{ port: 465, tls: implicit',
      '{ port: 587, tls: starttls',
    ]
      .map((words) => `  - ${words}, host: mx.example }`)
      .join('\n'),
  );
  const notes = (await said(folder)).split('\n').filter((line) => line.startsWith('note: '));
  assert.deepEqual(notes, [
    'note: upstream[0]: port 465 begins with TLS nearly everywhere, and tls: starttls then waits for a greeting in vain: tls: implicit',
    'note: upstream[1]: port 587 begins in clear nearly everywhere, and tls: implicit then fails: tls: starttls',
    'note: upstream[2]: port 25 begins in clear nearly everywhere, and tls: implicit then fails: tls: starttls',
  ]);
});

test('a port for health that others reach is noted, and none on loopback', async (t) => {
  const folder = await newSite(t);
  const file = path.join(folder, 'sealpost.yaml');
  const text = await readFile(file, 'utf8');
  await writeFile(file, `${text}\nadmin: { host: 127.0.0.1, port: 8025 }\n`);
  assert.doesNotMatch(await said(folder), /note:/);
  await writeFile(file, `${text}\nadmin: { host: 0.0.0.0, port: 8025 }\n`);
  assert.match(
    await said(folder),
    /^note: admin\.host: 0\.0\.0\.0 can be reached from elsewhere, without TLS or login: let only your load balancer and your monitor reach port 8025\n/,
  );
});

test('keys of the audit log that the relay would not start with are faults', async (t) => {
  const folder = await newSite(t);
  const file = path.join(folder, 'sealpost.yaml');
  await writeFile(file, `${await readFile(file, 'utf8')}\naudit: { addresses: hashed }\n`);
  assert.match(await said(folder), /keys\/audit\.key: audit\.addresses: .*\n  mend: .*sealpost audit key/);
  assert.equal((await sealpost(folder, ['audit', 'key'])).exit, 0);
  assert.match(await said(folder), /all well/);
  await writeFile(path.join(folder, 'keys/audit-sign.key'), 'no key');
  assert.match(await said(folder), /keys\/audit-sign\.key: keys: .*\n  mend: /);
});

test('an operator whom no mail reaches is noted', async (t) => {
  const folder = await newSite(t);
  await edit(path.join(folder, 'sealpost.yaml'), 'postmaster@relay.clinic.example', 'postmaster@web7');
  assert.match(
    await said(folder),
    /^note: operator: postmaster@web7 has no full domain: failures may be told to nobody; write a mailbox that somebody reads\nrules: sha256 \S+\nall well: .*, and 1 note above\n$/,
  );
});

test('a listener on an address that this machine does not have', async (t) => {
  const folder = await newSite(t);
  await edit(
    path.join(folder, 'sealpost.yaml'),
    '  - { host: 127.0.0.1, port: 2525 }',
    '  - { host: 192.0.2.8, port: 25 }\n  - { host: 2001:DB8:0::7, port: 25 }\n  - { host: 0.0.0.0, port: 26 }',
  );
  assert.equal(
    await said(folder),
    `${folder}/sealpost.yaml: listen[0].host: no interface of this machine has the address 192.0.2.8
  mend: one of 127.0.0.1, 192.0.2.7, 2001:db8::7, or 0.0.0.0 for all
`,
  );
});

test('the certificate of a listener: unreadable, of another key, expired, about to, for another name', { skip: noOpenssl }, async (t) => {
  const folder = await newSite(t);
  const file = path.join(folder, 'sealpost.yaml');
  const at = (name: string): string => path.join(folder, 'keys', name);
  const listener = '  - { host: 127.0.0.1, port: 2525 }';
  const secure = '  - { host: 127.0.0.1, port: 2525, tls: starttls, cert: keys/relay.pem, key: file:keys/relay.key }';
  await edit(file, listener, secure);
  assert.equal(
    await said(folder),
    `${at('relay.pem')}: listen[0].cert: a file cannot be read: ${at('relay.pem')} (ENOENT)\n  mend: look at its path and permissions\n`,
  );
  const day = 86_400_000;
  const utc = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`;
  const issue = (to: number, name = 'relay.clinic.example'): void =>
    void make(path.join(folder, 'keys'), { name: 'relay', extensions: [`subjectAltName=DNS:${name}`], to: utc(to) });
  const { sha256 } = await loadPolicy(path.join(folder, 'policies'));
  const well = `rules: sha256 ${sha256}\nall well: 1 listener, 1 upstream, 1 rule, 2 usable certificates\n`;
  issue(Date.now() + 90 * day);
  await chmod(at('relay.key'), 0o640);
  assert.equal(await said(folder), well);
  const soon = Date.now() + 13 * day;
  issue(soon, 'other.example');
  await chmod(at('relay.key'), 0o600);
  const cert = `${at('relay.pem')}: listen[0].cert:`;
  assert.equal(
    await said(folder),
    `note: ${cert} expires on ${new Date(soon).toISOString().slice(0, 10)}
note: ${cert} is for other.example and not for relay.clinic.example: scripts that verify it must know the relay by another name
${well.replace(/\n$/, ', and 2 notes above\n')}`,
  );
  issue(Date.parse('2021-01-01T12:00:00Z'));
  await chmod(at('relay.key'), 0o644);
  assert.equal(
    await said(folder),
    `${at('relay.key')}: listen[0].key: its mode is 0644: open to all users
  mend: chmod o= ${at('relay.key')}
${cert} expired on 2021-01-01
  mend: put a new one in its place; a running relay takes it by itself
`,
  );
  make(path.join(folder, 'keys'), { name: 'other' });
  await edit(file, 'file:keys/relay.key', 'file:keys/other.key');
  await chmod(at('other.key'), 0o600);
  assert.equal(
    await said(folder),
    `${cert} the certificate of a listener cannot be used: ${at('relay.pem')}: it does not fit its key
  mend: cert is a PEM chain, the own certificate first, and key its private key without a passphrase
`,
  );
  await edit(file, 'file:keys/other.key', 'env:RELAY_KEY');
  assert.match(await said(folder), /environment RELAY_KEY: the secret is not set/);
});

test('faults of policies, folders and certificates are told together', async (t) => {
  const folder = await newSite(t);
  await edit(path.join(folder, 'policies/90-default.yaml'), /^ {4}then: seal$/m, '    then: discard');
  await chmod(path.join(folder, 'keys'), 0o755);
  const fault = { place: `${folder}/certs/anchors`, key: '', wrong: 'no anchor', mend: 'put your CA there' };
  const report = await check(
    { env: {}, cwd: folder },
    {
      host,
      now: Date.now,
      survey: async () => ({ usable: 0, unusable: 0, faults: [fault], notes: [] }),
    },
  );
  assert.deepEqual(
    report.faults.map(({ wrong }) => wrong),
    ['is not known', 'its mode is 0755: open to other users', 'no anchor'],
  );
});

test('a rule that archives to who has no certificate is noted, with what becomes of its mail', async (t) => {
  const folder = await newSite(t);
  const keys = 'when: { user: forms }, then: seal, subject: keep, archive: kept@clinic.example';
  await writeFile(
    path.join(folder, 'policies/10-own.yaml'),
    `rules:\n  - { name: a, ${keys} }\n  - { name: b, ${keys.replace('forms', 'portal')}, missing: hold }\n`,
  );
  const { notes } = await check(
    { env: {}, cwd: folder },
    { host, survey: (config, rules) => surveyCertificates(config, { stderr: new PassThrough(), env: {} }, rules), now: Date.now },
  );
  assert.deepEqual(
    notes.filter((note) => note.includes('archives to')),
    [
      `${folder}/policies/10-own.yaml:2:13: the rule a archives to kept@clinic.example, which has no usable certificate: mail of this rule is refused for the time being (451)`,
      `${folder}/policies/10-own.yaml:3:13: the rule b archives to kept@clinic.example, which has no usable certificate: its copies are held`,
    ],
  );
});

test('an anchor set that is empty or missing is told, and so are domains that are none', async (t) => {
  const folder = await newSite(t);
  const file = path.join(folder, 'sealpost.yaml');
  const set = (anchors: string, domain: string): string => `    - { anchors: certs/${anchors}, domains: ['${domain}'], exclusive: true }\n`;
  const written = await readFile(file, 'utf8');
  const withSets = (...sets: readonly string[]): Promise<void> =>
    writeFile(file, written.replace(/^certificates:\n/m, `certificates:\n  trust:\n    anchor_sets:\n${sets.join('')}`));
  await withSets(set('partner', '*.partner.example'), set('gone', 'gone.example'));
  await mkdir(path.join(folder, 'certs/partner'));
  const report = await check(
    { env: {}, cwd: folder },
    { host, survey: (config, rules) => surveyCertificates(config, { stderr: new PassThrough(), env: {} }, rules), now: Date.now },
  );
  assert.deepEqual(
    report.faults.map(({ place, key, wrong }) => [path.relative(folder, place), key, wrong]),
    [
      ['certs/gone', 'certificates.trust.anchor_sets[1].anchors', 'is not there'],
      ['certs/partner', 'certificates.trust.anchor_sets[0].anchors', 'holds no certificate, so the set makes nothing trusted'],
    ],
  );
  await withSets(set('anchors/partner', 'partner.example'));
  assert.match(await said(folder), /anchor_sets\[0\]\.anchors: lies in a folder of other anchors: folders count with their sub-folders/);
  await withSets(set('partner', 'partner.example'), set('partner/east', 'east.example'));
  assert.match(await said(folder), /anchor_sets\[0\]\.anchors: holds a folder of other anchors/);
  await withSets(set('partner', '*'));
  assert.match(await said(folder), /anchor_sets\[0\]\.domains\[0\]: names other people's domains too/);
});

test('a rule that no mail reaches is noted', async (t) => {
  const folder = await newSite(t);
  await writeFile(path.join(folder, 'policies/95-late.yaml'), 'rules:\n  - { name: late, then: refuse }\n');
  assert.match(
    await said(folder),
    /^note: \S+95-late.yaml:2:13: the rule late is never reached: everything-else before it matches all mail\nrules: sha256 \S+\nall well: /,
  );
});

test('the exit code is 1 where a fault is, and --json is for programs', async (t) => {
  const folder = await newSite(t);
  await edit(path.join(folder, 'sealpost.yaml'), 'listen:', 'lissen:');
  const people = await sealpost(folder, ['check']);
  assert.deepEqual(people, {
    exit: 1,
    stdout: `${folder}/sealpost.yaml:4:1: listen: is missing: a list
  mend: for example listen: [{ host: 127.0.0.1, port: 2525 }]
${folder}/sealpost.yaml:10:1: lissen: no such key
  mend: did you mean listen?
`,
    stderr: 'sealpost: not all is well: 2 faults\n  hint: mend what is listed above, then sealpost check again\n',
  });
  const programs = await sealpost(folder, ['check', '--json']);
  assert.equal(programs.exit, 1);
  const report: unknown = JSON.parse(programs.stdout);
  assert.deepEqual(report, {
    faults: [
      {
        place: `${folder}/sealpost.yaml:4:1`,
        key: 'listen',
        wrong: 'is missing: a list',
        mend: 'for example listen: [{ host: 127.0.0.1, port: 2525 }]',
      },
      { place: `${folder}/sealpost.yaml:10:1`, key: 'lissen', wrong: 'no such key', mend: 'did you mean listen?' },
    ],
    notes: [],
    counts: { listeners: 0, upstreams: 0, rules: 0, certificates: 0, users: 0 },
    rules_sha256: null,
  });
});

test('a site that init made passes check on the command line', async (t) => {
  const folder = await temporaryFolder(t);
  assert.equal((await sealpost(folder, ['init'])).exit, 0);
  const { exit, stdout } = await sealpost(folder, ['check']);
  assert.equal(exit, 0);
  assert.match(stdout, /^all well: 1 listener, 1 upstream, 1 rule, \d+ usable certificates?(?:, and \d+ notes? above)?$/m);
});

test('no configuration at all, and policies that are not there, are faults with a mend', async (t) => {
  const folder = await newSite(t);
  await rm(path.join(folder, 'policies'), { recursive: true });
  assert.match(await said(folder), /policies \(ENOENT\): cannot be read\n {2}mend: policies names the folder of the rules/);
  const { exit, stdout } = await sealpost(folder, ['-c', 'nope.yaml', 'check']);
  assert.equal(exit, 1);
  assert.equal(stdout, `${folder}/nope.yaml (ENOENT): cannot be read\n  mend: sealpost init makes one; or name yours: sealpost -c FILE\n`);
});

test('an upstream whose certificate, key, CA or password cannot be used', { skip: noOpenssl }, async (t) => {
  const folder = await newSite(t);
  const { folder: made } = makeIdentities(folder);
  await writeFile(path.join(folder, 'garbage.pem'), 'not a certificate\n', { mode: 0o600 });
  await writeFile(path.join(folder, 'empty'), '\n', { mode: 0o600 });
  const upstream = (keys: string): string => `  - { host: smtp.clinic.example, port: 587, tls: starttls, ${keys} }`;
  await edit(
    path.join(folder, 'sealpost.yaml'),
    '  - { host: 127.0.0.1, port: 25 }',
    [
      upstream('ca: missing.pem, cert: good.pem, key: file:client.key'),
      upstream('ca: garbage.pem, cert: good.pem, key: file:empty, auth: { user: u, password: env:NOT_SET }'),
      upstream('ca: ca.pem, cert: garbage.pem, key: file:good.key'),
      upstream('cert: good.pem, key: file:garbage.pem'),
      upstream('ca: ca.pem, cert: good.pem, key: file:good.key'),
    ].join('\n'),
  );
  assert.equal(made, folder);
  assert.equal(
    await said(folder),
    `${folder}/missing.pem: upstream[0].ca: cannot be read (ENOENT)
  mend: look at its path and permissions; the relay reads it as its own user
${folder}/good.pem: upstream[0].cert: does not belong to the key
  mend: name the certificate that was issued for this key
${folder}/empty: upstream[1].key: is empty or not set
  mend: write the secret there
environment NOT_SET: upstream[1].auth.password: is empty or not set
  mend: write the secret there
${folder}/garbage.pem: upstream[1].ca: holds no certificate in PEM
  mend: openssl x509 -inform DER -in FILE makes PEM of DER
${folder}/garbage.pem: upstream[2].cert: is not usable PEM
  mend: PEM without a passphrase: openssl pkey -in FILE takes it off a key
${folder}/good.pem: upstream[3].key: is not usable PEM
  mend: PEM without a passphrase: openssl pkey -in FILE takes it off a key
`,
  );
});

test('a file of certificates that cannot be read is not one to be replaced', async (t) => {
  const folder = await newSite(t);
  await symlink('loop.pem', path.join(folder, 'certs/recipients/loop.pem'));
  await writeFile(path.join(folder, 'certs/recipients/notes.pem'), 'none\n');
  const { stdout } = await sealpost(folder, ['check']);
  assert.match(stdout, /loop\.pem: ELOOP: .*\n {2}mend: look at the file, its links and its disk/);
  assert.match(stdout, /notes\.pem: .*\n {2}mend: replace it by a PEM/);
  // Nothing is closed to root, as whom tests may run.
  assert.match(mendOf(["EACCES: permission denied, open 'anna.pem'"]), /^look at its owner and mode/);
});
