/** Hashed addresses, signed checkpoints and the commands on them, over real files. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { DatabaseSync } from 'node:sqlite';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { chainLine, EMPTY_HEAD, type AuditEvent } from '../../src/audit.ts';
import { readCheckpoint, signCheckpoint } from '../../src/audit/checkpoint.ts';
import { makeHashAddress, withHashedAddresses } from '../../src/audit/hashing.ts';
import { queuePaths } from '../../src/queue/paths.ts';
import { openSqliteQueue } from '../../src/queue/sqlite.ts';
import { startCheckpoints } from '../../src/upkeep/checkpoints.ts';

const cli = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));

function makeFolder(t: TestContext, addresses: 'clear' | 'hashed' = 'clear') {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-record-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const at = (name: string): string => join(folder, name);
  writeFileSync(
    at('sealpost.yaml'),
    `hostname: relay.clinic.example
operator: postmaster@clinic.example
listen: [{ host: 127.0.0.1, port: 2525 }]
upstream: [{ host: 127.0.0.1, port: 25 }]
audit: { addresses: ${addresses} }
`,
  );
  const sealpost = (...args: string[]) => {
    const ran = spawnSync(execPath, [cli, '-c', at('sealpost.yaml'), 'audit', ...args], { encoding: 'utf8', timeout: 60_000 });
    return { code: ran.status, out: ran.stdout, err: ran.stderr };
  };
  const paths = queuePaths(at('data/queue.sqlite'), at('data/audit.jsonl'), addresses === 'hashed' ? at('keys/audit.key') : undefined);
  const record = async (events: readonly AuditEvent[]): Promise<void> => {
    const store = await openSqliteQueue({ ...paths, now: Date.now, log: pino({ enabled: false }) });
    try {
      const end = await startCheckpoints({
        key: at('keys/audit-sign.key'),
        file: paths.checkpoints,
        hostname: 'relay.clinic.example',
        head: store.auditHead,
        now: Date.now,
        log: pino({ enabled: false }),
      });
      await store.record(events);
      await end();
    } finally {
      await store.close();
    }
  };
  return { at, paths, sealpost, record };
}

const EVENTS: readonly AuditEvent[] = [
  { event: 'accepted', queue_id: 'q1', sender: 'forms@clinic.example', user: 'frontdesk' },
  { event: 'sealed', queue_id: 'q1', recipient: 'Anna@clinic.example', member: 'ben@clinic.example' },
  { event: 'delivered', queue_id: 'q1', recipient: 'Anna@clinic.example', reply: '250 <anna@clinic.example> taken' },
];

test('hashed: no event holds an address in clear, in no attribute, and the same address is the same hash', async (t) => {
  const { sealpost, record, paths, at } = makeFolder(t, 'hashed');
  assert.equal(sealpost('key').code, 0);
  assert.equal(statSync(at('keys/audit.key')).mode & 0o777, 0o600);
  await record(EVENTS);
  const text = readFileSync(paths.audit, 'utf8');
  assert.doesNotMatch(text, /@|anna|ben|frontdesk|forms/i);
  assert.equal(new Set(text.match(/"recipient":"h:[0-9a-f]{32}"/g)).size, 1);
  const shown = sealpost('show', '--recipient', 'anna@clinic.example');
  assert.equal(shown.out.trimEnd().split('\n').length, 2, shown.err);
  assert.equal(sealpost('verify').code, 0);
});

test('hashed without its key: refused with what to type', async (t) => {
  const { record } = makeFolder(t, 'hashed');
  await assert.rejects(record(EVENTS), { code: 'file-unreadable', hint: /sealpost audit key/ });
});

test('quoted local parts and lists are hashed whole; another key gives another hash', () => {
  const hash = makeHashAddress(Buffer.alloc(32, 1));
  const event = withHashedAddresses(
    { event: 'deferred', members: 'a@x.example, b@x.example', reply: '550 <"anna @ b"@x.example> user=c@x.example:d@y.example' },
    hash,
  );
  assert.equal(event['members'], `${hash('a@x.example')}, ${hash('b@x.example')}`);
  assert.doesNotMatch(String(event['reply']), /anna|@|x\.example|y\.example/);
  assert.notEqual(hash('a@x.example'), makeHashAddress(Buffer.alloc(32, 2))('a@x.example'));
});

test('a place of a certificate, a local part alone and what no list knows are hashed; a kind of source and words stay', () => {
  const hash = makeHashAddress(Buffer.alloc(32, 1));
  const anna = hash('anna.lee+x@clinic.example');
  const event = withHashedAddresses(
    {
      event: 'bounced',
      recipient: 'Anna.Lee+x@clinic.example',
      certificate_source: 'files: recipients/anna, lee.pem, ldap: ldaps://dir.example/uid=ben',
      reason: 'mx:25 said 550 user anna.lee+x is unknown, annaxlee+x is not',
      rule: 'everything',
      colleague: 'ben',
      addresses: 'a@x.example, b@x.example',
    },
    hash,
  );
  assert.equal(event.recipient, anna);
  assert.equal(event['certificate_source'], `files: ${hash('recipients/anna, lee.pem')}, ldap: ${hash('ldaps://dir.example/uid=ben')}`);
  assert.equal(event['reason'], `mx:25 said 550 user ${anna} is unknown, annaxlee+x is not`);
  assert.equal(event['rule'], 'everything');
  assert.equal(event['colleague'], hash('ben'), 'forgotten in the lists: hashed, not shown');
  assert.equal(event['addresses'], `${hash('a@x.example')}, ${hash('b@x.example')}`);
  for (const odd of ['otto.lee@[192.0.2.1]', 'bounce+otto.lee=clinic.example@x.example', 'o/otto.lee@x.example', "otto.o'lee@x.example"])
    assert.equal(withHashedAddresses({ event: 'deferred', reply: `451 ${odd} waits` }, hash)['reply'], `451 ${hash(odd)} waits`);
  const short = withHashedAddresses({ event: 'bounced', recipient: 'h@x.example', reply: '550 <h@x.example> h' }, hash);
  assert.equal(short['reply'], `550 <${hash('h@x.example')}> ${hash('h@x.example')}`);
});

test('once addresses are written in clear again, show finds those from before too', async (t) => {
  const { sealpost, record, paths, at } = makeFolder(t, 'hashed');
  assert.equal(sealpost('key').code, 0);
  await record(EVENTS);
  const config = readFileSync(at('sealpost.yaml'), 'utf8');
  writeFileSync(at('sealpost.yaml'), config.replace('addresses: hashed', 'addresses: clear'));
  const store = await openSqliteQueue({ ...paths, auditKey: undefined, now: Date.now, log: pino({ enabled: false }) });
  await store.record(EVENTS.slice(2));
  await store.close();
  const shown = sealpost('show', '--recipient', 'ANNA@clinic.example');
  assert.equal(shown.out.trimEnd().split('\n').length, 3, shown.err);
});

test('an earlier checkpoint shows a rewrite of file and database that nothing else shows', async (t) => {
  const { sealpost, record, paths, at } = makeFolder(t);
  assert.equal(sealpost('key').code, 0);
  await record(EVENTS);
  const kept = at('kept.jsonl');
  writeFileSync(kept, readFileSync(paths.checkpoints));
  const signed = ['--checkpoint', kept, '--key', at('keys/audit.pub')];
  const fine = sealpost('verify', ...signed);
  assert.equal(fine.code, 0, fine.err);
  assert.match(fine.err, /shown: .*signed at/s);
  // File and database written anew, chained as they should be.
  let head = EMPTY_HEAD;
  const lines = EVENTS.map((event, index) => {
    const chained = chainLine(head, index === 0 ? { ...event, sender: 'nobody@clinic.example' } : event, Date.now());
    head = chained.head;
    return chained.line;
  });
  writeFileSync(paths.audit, Buffer.concat(lines));
  const db = new DatabaseSync(paths.database);
  db.prepare('UPDATE audit_head SET seq = ?, hash = ?, bytes = ?').run(head.seq, head.hash, head.bytes);
  db.close();
  const without = sealpost('verify');
  assert.equal(without.code, 0);
  assert.match(without.err, /not shown: whether somebody rewrote file and database together/);
  const found = sealpost('verify', ...signed);
  assert.equal(found.code, 1);
  assert.match(found.err, /line number 3 is not the one that was signed/);
});

test('a log that is said to begin behind all that was signed is not shown by it', async (t) => {
  const { sealpost, record, paths, at } = makeFolder(t);
  assert.equal(sealpost('key').code, 0);
  await record(EVENTS);
  const signed = ['--checkpoint', paths.checkpoints, '--key', at('keys/audit.pub')];
  const base = { seq: 1000, hash: 'ab'.repeat(32), bytes: 400_000 };
  const { line, head } = chainLine(base, { event: 'started' }, Date.now());
  writeFileSync(paths.audit, line);
  const db = new DatabaseSync(paths.database);
  db.exec('DELETE FROM audit_segments');
  db.prepare('INSERT INTO audit_segments (seq, hash, bytes, at) VALUES (?, ?, ?, 0)').run(base.seq, base.hash, base.bytes);
  db.prepare('UPDATE audit_head SET seq = ?, hash = ?, bytes = ?').run(head.seq, head.hash, head.bytes);
  db.close();
  assert.equal(sealpost('verify').code, 0, 'chained, as the database has it');
  for (const more of [[], ['--file', paths.audit]]) {
    const { code, err } = sealpost('verify', ...more, ...signed);
    assert.equal(code, 1);
    assert.match(err, /it has none of the lines that the checkpoints signed/);
  }
});

test('a public key that is gone is made anew from the private one, and what is there stays', (t) => {
  const { sealpost, at } = makeFolder(t);
  assert.equal(sealpost('key').code, 0);
  const [pub, secret] = [readFileSync(at('keys/audit.pub'), 'utf8'), readFileSync(at('keys/audit-sign.key'), 'utf8')];
  rmSync(at('keys/audit.pub'));
  assert.match(sealpost('key').out, /audit\.pub\n$/);
  assert.deepEqual([readFileSync(at('keys/audit.pub'), 'utf8'), readFileSync(at('keys/audit-sign.key'), 'utf8')], [pub, secret]);
  assert.match(sealpost('key').out, /all keys are there/);
});

test('a checkpoint of another key, or changed, is none', async (t) => {
  const { sealpost, record, paths, at } = makeFolder(t);
  assert.equal(sealpost('key').code, 0);
  await record(EVENTS);
  const forged = at('forged.jsonl');
  writeFileSync(forged, readFileSync(paths.checkpoints, 'utf8').replace('"seq":3', '"seq":2'));
  const ran = sealpost('verify', '--checkpoint', forged, '--key', at('keys/audit.pub'));
  assert.equal(ran.code, 1);
  assert.match(ran.err, /forged\.jsonl:1: not a checkpoint that this key signed/);
});

test('a checkpoint is signed over each of its values', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const checkpoint = { seq: 7, hash: 'a'.repeat(64), time: '2026-11-24T00:00:00.000Z', hostname: 'relay.example' };
  const line = signCheckpoint(checkpoint, privateKey);
  assert.deepEqual(readCheckpoint(line, publicKey), checkpoint);
  for (const change of [{ seq: 8 }, { hash: 'b'.repeat(64) }, { time: '2026-11-25T00:00:00.000Z' }, { hostname: 'other.example' }])
    assert.equal(readCheckpoint(JSON.stringify({ ...JSON.parse(line), ...change }), publicKey), undefined, JSON.stringify(change));
});

test('an export verifies without the database; the table for people defuses formulas', async (t) => {
  const { sealpost, record, at } = makeFolder(t);
  await record([...EVENTS, { event: 'removed', queue_id: 'q1', operator: '=cmd|calc' }]);
  const out = at('export.jsonl');
  assert.equal(sealpost('export', '--out', out).code, 0);
  assert.equal(statSync(out).mode & 0o777, 0o600);
  const verified = sealpost('verify', '--file', out);
  assert.equal(verified.code, 0, verified.err);
  assert.match(verified.err, /not shown: whether lines are cut off at the end/);
  const csv = at('export.csv');
  assert.equal(sealpost('export', '--format', 'csv', '--out', csv).code, 0);
  assert.match(readFileSync(csv, 'utf8'), /"'=cmd\|calc"/);
  assert.doesNotMatch(readFileSync(csv, 'utf8'), /"{3}/, 'an empty cell is empty');
  assert.equal(sealpost('export', '--out', out).code, 1, 'what is there is not written over');
});

test('an export tells which lines cannot be read, and a clock that was ahead makes no gap', async (t) => {
  const { sealpost, record, paths, at } = makeFolder(t);
  await record([...EVENTS, ...EVENTS]);
  const lines = readFileSync(paths.audit, 'utf8').trimEnd().split('\n');
  const [first = '', second = '', third = '', ...others] = lines;
  const ahead = second.replace(/"time":"\d{4}/, '"time":"2099');
  assert.notEqual(ahead, second);
  writeFileSync(paths.audit, `${[first, ahead, third, ...others].join('\n')}\n{"half`);
  const all = sealpost('export', '--out', at('all'), '--until', '2098-01-01');
  assert.deepEqual([all.code, readFileSync(at('all'), 'utf8').trimEnd().split('\n')], [0, [first, ahead, third, ...others]]);
  assert.equal(sealpost('export', '--out', at('late'), '--since', '2098-01-01').code, 0);
  assert.equal(readFileSync(at('late'), 'utf8').split('\n')[0], ahead);
  assert.equal(sealpost('export', '--out', at('none'), '--since', '2100-01-01').code, 0);
  assert.equal(readFileSync(at('none'), 'utf8'), '');
  writeFileSync(paths.audit, `${[first, '{not a line', third, ...others].join('\n')}\n`);
  const torn = sealpost('export', '--out', at('torn'));
  assert.equal(torn.code, 1);
  assert.match(torn.err, /audit\.jsonl: number 2 cannot be read, and is not in /);
  assert.deepEqual(readFileSync(at('torn'), 'utf8').trimEnd().split('\n'), [first, third, ...others]);
});

test('a file of checkpoints that others may write is refused at the start, and a link too', async (t) => {
  const { sealpost, record, paths, at } = makeFolder(t);
  assert.equal(sealpost('key').code, 0);
  await record(EVENTS);
  chmodSync(paths.checkpoints, 0o620);
  await assert.rejects(record(EVENTS), { code: 'data-folder-unsafe' });
  renameSync(paths.checkpoints, at('elsewhere'));
  chmodSync(at('elsewhere'), 0o600);
  symlinkSync(at('elsewhere'), paths.checkpoints);
  await assert.rejects(record(EVENTS), { code: 'data-folder-unsafe' });
});

test('without a signing key no checkpoint is written', async (t) => {
  const { record, paths } = makeFolder(t);
  await record(EVENTS);
  assert.equal(existsSync(paths.checkpoints), false);
});
