/** `sealpost users` as people run it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { derive, fits } from '../../src/ingress/users/password-hash.ts';
import { readUserEntries } from '../../src/ingress/users/entries.ts';
import { make, noOpenssl } from '../certificates/openssl.ts';
import { missingPrograms } from '../interop/programs.ts';
import { temporaryFolder, type Transcript } from './transcript.ts';

const CLI = resolve(import.meta.dirname, '../../src/cli.ts');
const PASSWORD = 'correct horse battery';

interface Place {
  readonly dir: string;
  readonly file: string;
  /** `input` is what stands on standard input. */
  readonly users: (args: readonly string[], input?: string) => Promise<Transcript>;
}

function sealpost(cwd: string, args: readonly string[], input = ''): Promise<Transcript> {
  const env = { PATH: process.env['PATH'] ?? '', HOME: cwd };
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', CLI, ...args], { cwd, env });
  const [out, err]: [string[], string[]] = [[], []];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk.toString()));
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  return new Promise((done) => child.on('close', (code) => done({ exit: code ?? -1, stdout: out.join(''), stderr: err.join('') })));
}

async function makePlace(t: TestContext, clients: object = { users: 'users.yaml' }): Promise<Place> {
  const dir = await temporaryFolder(t);
  const ends = { listen: [{ host: '127.0.0.1', port: 2525 }], upstream: [{ host: '127.0.0.1', port: 25 }] };
  await writeFile(
    join(dir, 'sealpost.yaml'),
    JSON.stringify({ hostname: 'relay.example', operator: 'postmaster@example.org', ...ends, clients }),
  );
  return { dir, file: join(dir, 'users.yaml'), users: (args, input) => sealpost(dir, ['users', ...args], input) };
}

const said = (stdout: string): Transcript => ({ exit: 0, stdout, stderr: '' });

test('add: the file is made, for its owner alone; the hash fits; nothing says the password', async (t) => {
  const { file, users } = await makePlace(t);
  assert.deepEqual(await users(['add', 'forms'], `${PASSWORD}\n`), said(`added: forms in ${file}\n`));
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  const text = await readFile(file, 'utf8');
  assert.match(text, /^# Who may log in\..*\nusers:\n {2}- name: forms\n {4}password: \$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  assert.ok(!text.includes(PASSWORD));
  const read = readUserEntries(file, text);
  const hash = read.kind === 'valid' ? read.value[0]?.password : undefined;
  assert.ok(hash !== undefined && hash !== null && (await fits(PASSWORD, hash, derive)));
  assert.deepEqual(await users(['list']), said('forms  by password  from any  to any\n'));
});

test('add: every right, a password from a file, a generated one, a certificate alone', { skip: noOpenssl }, async (t) => {
  const { dir, file, users } = await makePlace(t);
  await writeFile(join(dir, 'secret'), `${PASSWORD}\r\n`);
  const rights = [
    '--mailbox',
    'desk@clinic.example',
    '--sender',
    '*@clinic.example',
    '--sender',
    '<>',
    '--recipient',
    '*@*.example',
    '--rate',
    '60/min',
  ];
  assert.equal((await users(['add', 'forms', '--password-file', 'secret', ...rights])).exit, 0);
  const generated = await users(['add', 'desk@clinic.example', '--generate']);
  const [, password = ''] =
    /^added: desk@clinic\.example in .*\npassword: (([a-hjkmnp-z2-9]{6}-){3}[a-hjkmnp-z2-9]{6})\n$/.exec(generated.stdout) ?? [];
  assert.notEqual(password, '');
  make(dir, { name: 'web' });
  assert.equal((await users(['add', 'web', '--certificate', 'web.pem'])).exit, 0);
  const read = readUserEntries(file, await readFile(file, 'utf8'));
  assert.equal(read.kind, 'valid');
  const [forms, desk, web] = read.value;
  assert.ok(forms?.password && (await fits(PASSWORD, forms.password, derive)));
  assert.ok(desk?.password && (await fits(password, desk.password, derive)));
  assert.equal(web?.password, null);
  const { stdout } = await users(['list']);
  const [, begun = ''] = /web {2}by certificate ([0-9a-f]{16}) /.exec(stdout) ?? [];
  assert.ok(web?.certificates[0]?.startsWith(begun));
  assert.equal(
    stdout.split('\n')[0],
    'forms  by password  from *@clinic.example, <>  to *@*.example  rate 60/min  mailbox desk@clinic.example',
  );
  const [line = ''] = (await users(['list', '--json'])).stdout.split('\n');
  const limits = { senders: ['*@clinic.example', '<>'], recipients: ['*@*.example'], rate: '60/min' };
  assert.deepEqual(JSON.parse(line), { name: 'forms', password: true, certificates: [], mailbox: 'desk@clinic.example', ...limits });
});

test('what the operator wrote stays: comments, order, quotes, links, mode', async (t) => {
  const { dir, file, users } = await makePlace(t);
  const before = `# the clinic's forms
users:
  # the old server
  - name: forms # do not touch
    certificates: [ "${'ab'.repeat(32)}" ]
    senders: [ '*@clinic.example' ]

  - { name: web, certificates: [ ${'cd'.repeat(32)} ] }

# the end
`;
  await mkdir(join(dir, 'real'));
  await writeFile(join(dir, 'real/users.yaml'), before, { mode: 0o644 });
  await chmod(join(dir, 'real/users.yaml'), 0o644);
  await symlink('real/users.yaml', file);
  assert.equal((await users(['add', 'new'], PASSWORD)).exit, 0);
  const added = await readFile(file, 'utf8');
  const entry = / {2}- name: new\n {4}password: \S+\n/.exec(added)?.[0] ?? '';
  assert.equal(added.replace(entry, ''), before);
  assert.equal((await stat(file)).mode & 0o777, 0o640, 'others have no business with hashes');
  assert.ok((await readdir(dir)).includes('users.yaml') && (await readFile(join(dir, 'real/users.yaml'), 'utf8')) === added);
  assert.deepEqual(await users(['remove', 'new', '--yes']), said('removed: new\n'));
  assert.equal(await readFile(file, 'utf8'), before);
  assert.equal((await users(['remove', 'web', '--yes'])).exit, 0);
  assert.ok((await readFile(file, 'utf8')).includes('  - name: forms # do not touch\n'));
  assert.deepEqual((await readdir(join(dir, 'real'))).sort(), ['users.yaml'], 'no temporary is left');
});

test('the last user may go, and another come', async (t) => {
  const { users } = await makePlace(t);
  await users(['add', 'forms'], PASSWORD);
  assert.equal((await users(['remove', 'forms', '--yes'])).exit, 0);
  assert.deepEqual(await users(['list']), said(''));
  assert.equal((await users(['add', 'web'], PASSWORD)).exit, 0);
  assert.deepEqual(await users(['list']), said('web  by password  from any  to any\n'));
});

test('commands at the same time lose nothing of each other: who was added is there, who was removed is not', async (t) => {
  const { dir, users } = await makePlace(t);
  const names = Array.from({ length: 6 }, (_, index) => `u${index}`);
  assert.equal((await users(['add', 'old'], PASSWORD)).exit, 0);
  const outcomes = await Promise.all([users(['remove', 'old', '--yes']), ...names.map((name) => users(['add', name, '--generate']))]);
  for (const { exit, stderr } of outcomes) assert.deepEqual([exit, stderr], [0, '']);
  const { stdout } = await users(['list']);
  assert.deepEqual([...stdout.matchAll(/^\S+/gm)].map(([name]) => name).toSorted(), names);
  assert.deepEqual(
    (await readdir(dir)).filter((name) => name.startsWith('.users')),
    [],
    'no lock is left',
  );
});

test('a lock that a killed command left is taken over; one that is held is waited for, then named', async (t) => {
  const { dir, users } = await makePlace(t);
  const lock = join(dir, '.users.yaml.lock');
  const gone = spawn(process.execPath, ['-e', '']);
  await once(gone, 'close');
  for (const [name, left] of [
    ['dead', `${gone.pid} ${hostname()}\n`],
    ['old', `${process.pid} ${hostname()}\n`],
  ] as const) {
    await writeFile(lock, left);
    if (name === 'old') await utimes(lock, 1, 1);
    assert.deepEqual((await users(['add', name], PASSWORD)).stderr, '');
  }
  const held = `${process.pid} ${hostname()}\n`;
  await writeFile(lock, held);
  const { exit, stderr } = await users(['add', 'late'], PASSWORD);
  assert.equal(exit, 1);
  assert.match(stderr, /another command is changing the users: .*\.users\.yaml\.lock\n {2}hint: /);
  assert.equal(await readFile(lock, 'utf8'), held);
});

test('a user who is there is changed on demand only; the rights stay', async (t) => {
  const { file, users } = await makePlace(t);
  await users(['add', 'forms', '--rate', '5/min'], PASSWORD);
  const text = await readFile(file, 'utf8');
  const again = await users(['add', 'forms'], PASSWORD);
  assert.equal(again.exit, 2);
  assert.match(again.stderr, /forms is there already\n {2}hint: sealpost users add forms --replace sets a new password\n$/);
  assert.equal(await readFile(file, 'utf8'), text);
  assert.equal((await users(['add', 'forms', '--replace'], 'another horse battery')).exit, 0);
  assert.notEqual(await readFile(file, 'utf8'), text);
  assert.deepEqual(await users(['list']), said('forms  by password  from any  to any  rate 5/min\n'));
});

test('what is typed wrongly is said, and nothing is written', async (t) => {
  const { file, users, dir } = await makePlace(t);
  await writeFile(join(dir, 'not.pem'), 'x');
  for (const [args, input, wanted, exit] of [
    [['add', 'forms'], 'short', /the password is too short\n {2}hint: at least 12 characters/, 2],
    [['add', 'forms'], '', /the password is empty/, 2],
    [['add', 'forms'], 'two lines of\na password', /holds a line end/, 2],
    [['add', 'forms'], 'x'.repeat(1025), /longer than 1024 octets/, 2],
    [['add', 'forms', 'spoken'], '', /too many arguments/, 2],
    [['add', 'forms', '--password', 'spoken'], '', /unknown option '--password'/, 2],
    [['add', 'a b'], PASSWORD, /is not the name of a user/, 2],
    [['add', 'forms', '--sender', 'clinic.example'], PASSWORD, /--sender: has no @ in it/, 2],
    [['add', 'forms', '--recipient', '@'], PASSWORD, /--recipient: /, 2],
    [['add', 'forms', '--rate', 'often'], PASSWORD, /--rate: is not a rate/, 2],
    [['add', 'forms', '--mailbox', 'x'], PASSWORD, /--mailbox: is not a mail address/, 2],
    [['add', 'forms', '--generate', '--password-file', '-'], PASSWORD, /exclude each other/, 2],
    [['add', 'forms', '--password-file', 'none'], '', /a file cannot be read/, 1],
    [['add', 'forms', '--certificate', 'not.pem'], '', /a certificate cannot be read: not\.pem/, 1],
    [['remove', 'forms'], '', /hint: sealpost users remove forms --yes/, 2],
    [['remove', 'forms', '--yes'], '', /a file cannot be read.*\n {2}hint: sealpost users add NAME makes it/, 1],
    [['list'], '', /hint: sealpost users add NAME makes it/, 1],
  ] as const) {
    const { exit: code, stdout, stderr } = await users(args, input);
    assert.equal(code, exit, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, wanted);
    assert.equal(stdout, '');
    assert.ok(!stderr.includes('horse'), 'no password is said again');
  }
  await assert.rejects(stat(file));
});

test('a file with faults, or in a form that no command can keep, is left alone', async (t) => {
  const { file, users } = await makePlace(t);
  for (const [text, wanted] of [
    ['users:\n  - name: forms\n', /users\.yaml:2:5: users\[0\]: has neither a password nor certificates/],
    ['users:\n  - name: forms\n    password: CANARY\n', /users\.yaml:3:15: users\[0\]\.password: is not an argon2id hash/],
    [`x: &x\n  - 1\nusers: *x\n`, /no such key/],
    ['', /users: is missing: a list/],
  ] as const) {
    await writeFile(file, text);
    const { exit, stderr } = await users(['add', 'web'], PASSWORD);
    assert.equal(exit, 1);
    assert.match(stderr, wanted);
    assert.ok(!stderr.includes('CANARY'));
    assert.equal(await readFile(file, 'utf8'), text);
  }
  await writeFile(file, `users:\n  - name: web\n    certificates: &c [${'ab'.repeat(32)}]\n`);
  assert.equal((await users(['remove', 'nobody', '--yes'])).exit, 1);
});

test('without clients.users it says what to write', async (t) => {
  const { users } = await makePlace(t, {});
  const { exit, stderr } = await users(['list']);
  assert.equal(exit, 2);
  assert.match(stderr, /clients\.users is not set in .*sealpost\.yaml\n {2}hint: write there: clients: \{ users: users\.yaml \}\n$/);
});

test(
  'root hands a new file to the group of the relay, and leaves an older one to whom it belongs',
  { skip: process.getuid?.() === 0 ? false : 'wants root' },
  async (t) => {
    const { dir, file, users } = await makePlace(t);
    await mkdir(join(dir, 'data'), { mode: 0o700 });
    await chown(join(dir, 'data'), 12_345, 12_346);
    await users(['add', 'forms'], PASSWORD);
    const made = await stat(file);
    assert.deepEqual([made.uid, made.gid, made.mode & 0o777], [0, 12_346, 0o640]);
    await chown(file, 12_345, 12_347);
    await users(['add', 'web'], PASSWORD);
    const kept = await stat(file);
    assert.deepEqual([kept.uid, kept.gid, kept.mode & 0o777], [12_345, 12_347, 0o640]);
  },
);

test('check tells the faults of the file, its mode, and that it is not there', async (t) => {
  const { dir, file, users } = await makePlace(t);
  const check = async (): Promise<string> => (await sealpost(dir, ['check'])).stdout;
  assert.match(await check(), /users\.yaml \(ENOENT\): clients\.users: cannot be read\n {2}mend: sealpost users add NAME makes it/);
  await users(['add', 'forms'], PASSWORD);
  assert.doesNotMatch(await check(), /users\.yaml/);
  await chmod(file, 0o644);
  assert.match(await check(), /users\.yaml: clients\.users: its mode is 0644: open to other users\n {2}mend: chmod 0600 /);
  await writeFile(file, 'users:\n  - nam: forms\n');
  assert.match(await check(), /users\.yaml:2:5: users\[0\]\.nam: no such key\n {2}mend: did you mean name\?/);
  await rm(file);
});

test('at a terminal the password is asked for twice, and not shown', { skip: missingPrograms({ script: 'bsdutils' }) }, async (t) => {
  const { dir, file, users } = await makePlace(t);
  const atTerminal = (typed: readonly string[]): Promise<string> => {
    const command = `${process.execPath} --disable-warning=ExperimentalWarning ${CLI} users add forms; echo exit $?`;
    const child = spawn('script', ['-qc', command, '/dev/null'], {
      cwd: dir,
      env: { PATH: process.env['PATH'] ?? '', HOME: dir, TERM: 'dumb' },
    });
    let shown = '';
    const left = [...typed];
    child.stdout.on('data', (chunk: Buffer) => {
      shown += chunk.toString();
      if (/(?:password|once more): $/.test(shown)) child.stdin.write(left.shift() ?? '');
    });
    return new Promise((done) => child.on('close', () => done(shown)));
  };
  const differing = await atTerminal([`${PASSWORD}\r`, 'something else\r']);
  assert.match(differing, /the two passwords differ[\s\S]*exit 2/);
  assert.match(await atTerminal(['half of\u0003']), /no password was given[\s\S]*exit 2/);
  await assert.rejects(stat(file));
  const shown = await atTerminal([`wrong\u0015${PASSWORD}x\u007f\r`, `${PASSWORD}\r`]);
  assert.match(shown, /^password: \r?\nonce more: \r?\nadded: forms in .*\r?\nexit 0/);
  assert.ok(!shown.includes('horse') && !differing.includes('horse'));
  const read = readUserEntries(file, await readFile(file, 'utf8'));
  const hash = read.kind === 'valid' ? read.value[0]?.password : undefined;
  assert.ok(hash && (await fits(PASSWORD, hash, derive)));
  assert.equal((await users(['list'])).stdout, 'forms  by password  from any  to any\n');
});
