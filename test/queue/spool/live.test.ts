/** The spool of a running relay: there once a rule passes, with the keys of its file as they are at each set of rules (P5). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { spoolFaults } from '../../../src/site/spool-faults.ts';
import { makeLiveSpool, type LiveSpool } from '../../../src/queue/spool/live.ts';
import { loadRules } from '../../../src/policy/rules.ts';
import { noOpenssl, temporaryFolder } from '../../certificates/openssl.ts';
import { log } from '../../delivery/surroundings.ts';

function keysFolder(): string {
  const folder = join(temporaryFolder(), 'keys');
  mkdirSync(folder, { mode: 0o700 });
  return folder;
}

const spoolIn = (folder: string, waiting = false): LiveSpool => makeLiveSpool({ folder, randomBytes, waits: async () => waiting, log });
const MESSAGE = Buffer.from('Subject: s\r\n\r\nbody\r\n');

const ROW = { queueId: 'Q1', sender: '', recipient: 'anna@clinic.example' };

interface Stored {
  readonly octets: Buffer;
  readonly facts: string;
}

async function stored(spool: LiveSpool): Promise<Stored> {
  const body: Buffer[] = [];
  const writer = spool.writer({ write: async (octets) => void body.push(octets) });
  await writer.write(MESSAGE);
  await writer.end();
  return { octets: Buffer.concat(body), facts: writer.factsFor(ROW, { size: MESSAGE.length, eightBit: false, smtputf8: false }) };
}

async function readBack(spool: LiveSpool, { octets: body, facts }: Stored): Promise<Buffer> {
  const out: Buffer[] = [];
  async function* source(): AsyncGenerator<Buffer> {
    yield body;
  }
  for await (const octets of spool.read(source(), ROW, facts)) out.push(octets);
  return Buffer.concat(out);
}

test('a key whose file is gone is told of while a rule passes, or passed mail waits; and not once it is back', async () => {
  const folder = keysFolder();
  const file = join(folder, 'spool.key');
  const spool = spoolIn(folder);
  assert.equal(await spool.isLost(), false, 'none was needed');
  await spool.prepare(true);
  const text = readFileSync(file);
  rmSync(file);
  assert.equal(await spool.isLost(), true);
  await spool.prepare(false);
  assert.equal(await spool.isLost(), false, 'nobody needs it any more');
  writeFileSync(file, text, { mode: 0o600 });
  await spool.prepare(true);
  assert.equal(await spool.isLost(), false);
  const waiting = spoolIn(folder, true);
  await waiting.prepare(false);
  rmSync(file);
  assert.equal(await waiting.isLost(), true, 'passed mail waits under it');
});

test('no key while no rule passes; it comes with the first that does, and stays', async () => {
  const folder = keysFolder();
  const spool = spoolIn(folder);
  await spool.prepare(false);
  assert.ok(!existsSync(join(folder, 'spool.key')));
  assert.throws(() => spool.writer({ write: async () => {} }), { code: 'pass-unavailable' });
  await assert.rejects(readBack(spool, { octets: Buffer.alloc(100), facts: '{}' }), { code: 'pass-unavailable' });
  await spool.prepare(true);
  const body = await stored(spool);
  await spool.prepare(false);
  assert.ok((await readBack(spool, body)).equals(MESSAGE));
  // The next start, with rules that pass nothing any more: what waits still goes out.
  const next = spoolIn(folder);
  await next.prepare(false);
  assert.ok((await readBack(next, body)).equals(MESSAGE));
});

test('a file that is damaged stops a start that needs it, and leaves a running relay with the keys it has', async () => {
  const folder = keysFolder();
  const spool = spoolIn(folder);
  await spool.prepare(true);
  const body = await stored(spool);
  writeFileSync(join(folder, 'spool.key'), 'garbage\n');
  await assert.rejects(spool.prepare(true), { code: 'key-malformed' });
  assert.ok((await readBack(spool, body)).equals(MESSAGE));
  await spoolIn(folder).prepare(false);
});

test('a key that is gone while passed mail waits is not replaced, and its copy is appended', async () => {
  const folder = keysFolder();
  const file = join(folder, 'spool.key');
  const first = spoolIn(folder);
  await first.prepare(true);
  const old = await stored(first);
  const copy = readFileSync(file, 'utf8');
  rmSync(file);
  await assert.rejects(spoolIn(folder, true).prepare(true), { code: 'file-unreadable', message: /passed mail waits/ });
  await assert.rejects(
    first.prepare(true).then(() => readBack(first, old)),
    { code: 'file-unreadable' },
    'nothing waits: a new one',
  );
  const fresh = await stored(first);
  writeFileSync(file, copy, { flag: 'a' });
  const both = spoolIn(folder, true);
  await both.prepare(true);
  for (const body of [old, fresh]) assert.ok((await readBack(both, body)).equals(MESSAGE));
  rmSync(file);
  await spoolIn(folder, true).prepare(false);
  assert.ok(!existsSync(file));
});

test('the change of the key as docs/pass.md tells it', { skip: noOpenssl }, async () => {
  const folder = keysFolder();
  const page = readFileSync(join(import.meta.dirname, '../../../docs/pass.md'), 'utf8');
  const commands = [...page.matchAll(/^ *\$ (.*keys\/spool\.key.*)$/gm)].map(([, command = '']) => command);
  assert.equal(commands.length, 3);
  const [byHand = '', ...change] = commands;
  const shell = (command: string): unknown => execFileSync('sh', ['-c', command], { cwd: dirname(folder) });
  shell(byHand);
  const before = spoolIn(folder);
  await before.prepare(true);
  const old = await stored(before);
  for (const command of change) shell(command);
  const after = spoolIn(folder);
  await after.prepare(true);
  assert.ok((await readBack(after, old)).equals(MESSAGE), 'what was passed before');
  const fresh = await stored(after);
  await assert.rejects(readBack(before, fresh), { code: 'file-unreadable' });
  const [first = ''] = readFileSync(join(folder, 'spool.key'), 'utf8').split('\n');
  writeFileSync(join(folder, 'spool.key'), `${first}\n`);
  await after.prepare(true);
  assert.ok((await readBack(after, fresh)).equals(MESSAGE), 'by the new key alone');
  await assert.rejects(readBack(after, old), { code: 'file-unreadable' });
});

test('check: nothing without a rule that passes; then what the next start does, or why it cannot', async () => {
  const folder = keysFolder();
  const passing = [{ name: 'newsletter', then: 'pass' }] as const;
  assert.deepEqual(await spoolFaults(folder, [{ name: 'all', then: 'seal' }]), { faults: [], notes: [] });
  const { faults, notes } = await spoolFaults(folder, passing);
  assert.deepEqual(faults, []);
  assert.match(notes.join(), /the rule newsletter passes mail in clear: the next start makes .*spool\.key/);
  assert.ok(!existsSync(join(folder, 'spool.key')), 'check makes nothing');
  await spoolIn(folder).prepare(true);
  assert.deepEqual(await spoolFaults(folder, passing), { faults: [], notes: [] });
  writeFileSync(join(folder, 'spool.key'), 'AAAA\n');
  assert.match(JSON.stringify(await spoolFaults(folder, passing)), /line 1: not a key.*restore the file from a backup/);
  rmSync(folder, { recursive: true });
  assert.match(JSON.stringify((await spoolFaults(folder, passing)).faults), /openssl rand -base64 32/);
});

test('the rules that docs/pass.md shows are rules', async () => {
  const folder = temporaryFolder();
  const page = readFileSync(join(import.meta.dirname, '../../../docs/pass.md'), 'utf8');
  const [, text = ''] = /^```yaml\n(.*?)^```$/ms.exec(page) ?? [];
  writeFileSync(join(folder, '10-pass.yaml'), text);
  assert.deepEqual(
    (await loadRules(folder)).map(({ name, then }) => `${name} ${then}`),
    ['newsletter pass', 'sealed-by-the-browser pass'],
  );
});
