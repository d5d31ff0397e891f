/** The users file while the relay runs, and what logging in costs whom. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { test } from 'node:test';
import { parseMailbox, type Mailbox } from '../../../src/message/envelope.ts';
import { LiveFile, openUsers } from '../../../src/ingress/users/file.ts';
import { makeLog } from '../../../src/log.ts';
import { codeOf } from '../front.ts';
import { makeUserSite, quickHash } from './site.ts';

const REST_ONCE = 10;
const MINUTE = 60_000;
const forms = { name: 'forms', password: quickHash('right horse') };
const refused = { kind: 'refused' };
const unavailable = { kind: 'unavailable' };
const mailbox = (text: string): Mailbox => {
  const verdict = parseMailbox(text);
  assert.equal(verdict.kind, 'mailbox');
  return verdict.mailbox;
};

test('a user logs in, and may do what the entry says', async (t) => {
  const entry = { mailbox: 'desk@clinic.example', senders: ['*@clinic.example', '<>'], recipients: ['*@*.example'], rate: '60/min' };
  const { users } = await makeUserSite(t, [
    { ...forms, ...entry },
    { name: 'all@clinic.example', password: quickHash('x') },
  ]);
  const login = await users.login('forms', 'right horse', '192.0.2.1');
  assert.equal(login.kind, 'accepted');
  assert.equal(login.user.name, 'forms');
  assert.equal(login.user.mailbox?.address, 'desk@clinic.example');
  assert.deepEqual(login.user.rate, { count: 60, per: MINUTE });
  const senders = [mailbox('Forms@clinic.example'), null, mailbox('forms@other.example')];
  assert.deepEqual(
    senders.map((sender) => login.user.maySend(sender)),
    [true, true, false],
  );
  const recipients = [mailbox('a@b.example'), mailbox('a@b.test')];
  assert.deepEqual(
    recipients.map((recipient) => login.user.mayReach(recipient)),
    [true, false],
  );
  const all = await users.login('all@clinic.example', 'x', '192.0.2.1');
  assert.equal(all.kind, 'accepted');
  assert.equal(all.user.mailbox?.address, 'all@clinic.example');
  assert.ok(all.user.maySend(null) && all.user.maySend(mailbox('x@y.test')) && all.user.mayReach(mailbox('x@y.test')));
  assert.equal(all.user.rate, null);
});

test('a certificate logs in by its fingerprint, with colons or without; a password does not fit such a user', async (t) => {
  const hex = 'ab12'.repeat(16);
  const { users } = await makeUserSite(t, [{ name: 'web', certificates: [hex.toUpperCase().replace(/(..)(?=.)/g, '$1:')] }]);
  assert.equal((await users.byCertificate(hex)).kind, 'accepted');
  assert.deepEqual(await users.byCertificate('00'.repeat(32)), refused);
  assert.deepEqual(await users.login('web', '', '192.0.2.1'), refused);
});

test('A34: a known and an unknown name cost one hash each, of the same cost', async (t) => {
  const costs = [
    { memory: 8192, passes: 5, lanes: 1 },
    { memory: 19_456, passes: 3, lanes: 2 },
  ];
  const { users, hashes } = await makeUserSite(
    t,
    costs.map((cost, index) => ({ name: `user${index}`, password: quickHash('right', cost) })),
  );
  assert.deepEqual(await users.login('user0', 'wrong', '192.0.2.1'), refused);
  assert.deepEqual(hashes.splice(0), [{ ...costs[0], octets: 32 }]);
  assert.deepEqual(await users.login('nobody', 'wrong', '192.0.2.2'), refused);
  assert.equal(hashes.length, 1);
  const [first] = hashes;
  assert.ok(costs.some((cost) => JSON.stringify({ ...cost, octets: 32 }) === JSON.stringify(first)));
  assert.deepEqual(await users.login('nobody', 'wrong again', '192.0.2.2'), refused);
  assert.deepEqual(hashes[1], first, 'a name costs the same at each try');
  assert.deepEqual(await users.login('constructor', 'right', '192.0.2.3'), refused);
  assert.equal(hashes.length, 3);
});

test('a success is remembered: a script that logs in for every message pays one hash an hour', async (t) => {
  const site = await makeUserSite(t, [forms]);
  const login = async (): Promise<string> => (await site.users.login('forms', 'right horse', '192.0.2.1')).kind;
  for (let message = 0; message < 50; message++) {
    assert.equal(await login(), 'accepted');
    site.ahead += MINUTE;
  }
  assert.equal(site.hashes.length, 1);
  site.ahead += 9 * MINUTE;
  assert.equal(await login(), 'accepted');
  assert.equal(site.hashes.length, 2, 'after minutes without use it is forgotten');
  for (let minute = 0; minute < 61; minute++) {
    site.ahead += MINUTE;
    assert.equal(await login(), 'accepted');
  }
  assert.equal(site.hashes.length, 3, 'and after an hour in any case');
  assert.deepEqual(await site.users.login('forms', 'right horsf', '192.0.2.1'), refused);
});

test('scripts that log in at the same moment share one hash', async (t) => {
  const site = await makeUserSite(t, [forms]);
  const logins = await Promise.all(Array.from({ length: 100 }, () => site.users.login('forms', 'right horse', '192.0.2.1')));
  assert.ok(logins.every(({ kind }) => kind === 'accepted'));
  assert.equal(site.hashes.length, 1);
});

test('A34: 1,000 wrong passwords from one address cost ten hashes; others, and a script that is remembered there, go on', async (t) => {
  const site = await makeUserSite(t, [forms, { name: 'web', password: quickHash('left') }]);
  assert.equal((await site.users.login('forms', 'right horse', '192.0.2.1')).kind, 'accepted');
  for (let guess = 0; guess < 1000; guess++)
    assert.deepEqual(await site.users.login('forms', `guess ${guess}`, '192.0.2.1'), guess < REST_ONCE ? refused : unavailable);
  assert.equal(site.hashes.length, 11);
  assert.equal((await site.users.login('forms', 'right horse', '192.0.2.1')).kind, 'accepted', 'remembered');
  const beside = await site.users.login('web', 'left', '192.0.2.1');
  assert.deepEqual(beside, unavailable, 'P5: right, and from the address that guesses: no guess of others makes it a refusal');
  assert.deepEqual(await site.users.login('web', 'x'.repeat(1025), '192.0.2.1'), unavailable, 'nor is anything else told apart');
  assert.equal(site.hashes.length, 11);
  assert.equal((await site.users.login('web', 'left', '192.0.2.2')).kind, 'accepted');
  site.ahead += 10 * MINUTE;
  assert.equal((await site.users.login('web', 'left', '192.0.2.1')).kind, 'accepted', 'forgotten with time');
  assert.equal(site.log.filter((entry) => /too many logins failed/.test(String(entry['msg']))).length, 1);
});

test('A34: guesses that wait in the line when their address has failed too often are not hashed', async (t) => {
  const site = await makeUserSite(t, [forms]);
  const guesses = Array.from({ length: 30 }, (_, guess) => site.users.login('forms', `guess ${guess}`, '192.0.2.1'));
  const verdicts = await Promise.all(guesses);
  assert.deepEqual(
    verdicts,
    guesses.map((_, guess) => (guess < REST_ONCE ? refused : unavailable)),
  );
  assert.equal(site.hashes.length, 10);
});

test('A34: an address that is slowed takes no place in the line from others', async (t) => {
  const site = await makeUserSite(t, [forms]);
  for (let guess = 0; guess < 10; guess++) await site.users.login('forms', `guess ${guess}`, '192.0.2.1');
  const gate = Promise.withResolvers<void>();
  site.gate = gate.promise;
  const honest = site.users.login('forms', 'right horse', '192.0.2.2');
  // Answered while the line stands still.
  assert.deepEqual(await site.users.login('forms', 'guess', '192.0.2.1'), unavailable);
  gate.resolve();
  assert.equal((await honest).kind, 'accepted');
});

test('an IPv6 client is its /64: another address of it does not start over', async (t) => {
  const site = await makeUserSite(t, [forms]);
  for (let guess = 0; guess < 20; guess++) await site.users.login('forms', `guess ${guess}`, `2001:db8:0:7::${guess.toString(16)}`);
  assert.equal(site.hashes.length, REST_ONCE);
  assert.equal((await site.users.login('forms', 'right horse', '2001:db8:0:8::1')).kind, 'accepted');
});

test('hashes are made one at a time; beyond a bounded line a login is unavailable, at once', async (t) => {
  const site = await makeUserSite(t, [forms]);
  const gate = Promise.withResolvers<void>();
  site.gate = gate.promise;
  const asked = Array.from({ length: 100 }, (_, client) => site.users.login('forms', `guess ${client}`, `192.0.2.${client}`));
  const full = await Promise.race(asked);
  assert.deepEqual(full, { kind: 'unavailable' });
  gate.resolve();
  const verdicts = (await Promise.all(asked)).map(({ kind }) => kind);
  assert.equal(verdicts.filter((kind) => kind === 'refused').length, 65);
  assert.equal(site.most.count, 1);
});

test('one address does not fill the line for all', async (t) => {
  const site = await makeUserSite(t, [forms]);
  const gate = Promise.withResolvers<void>();
  site.gate = gate.promise;
  const flood = Array.from({ length: 200 }, (_, guess) => site.users.login('forms', `guess ${guess}`, '192.0.2.1'));
  const honest = site.users.login('forms', 'right horse', '192.0.2.2');
  gate.resolve();
  assert.equal((await honest).kind, 'accepted');
  await Promise.all(flood);
});

test('a change of the file counts without a restart; what was remembered of the older entry does not', async (t) => {
  const site = await makeUserSite(t, [forms]);
  assert.equal((await site.users.login('forms', 'right horse', '192.0.2.1')).kind, 'accepted');
  await site.write([
    { name: 'forms', password: quickHash('new horse') },
    { name: 'web', password: quickHash('left') },
  ]);
  await site.said('users file read');
  assert.deepEqual(await site.users.login('forms', 'right horse', '192.0.2.1'), refused);
  assert.equal((await site.users.login('forms', 'new horse', '192.0.2.1')).kind, 'accepted');
  await site.write([{ name: 'web', password: quickHash('left') }]);
  await site.said('users file read', 2);
  assert.deepEqual(await site.users.login('forms', 'new horse', '192.0.2.1'), refused);
});

test('a login, by password or certificate, is asked for again as the file has it now', async (t) => {
  const certificates = ['ab'.repeat(32)];
  const site = await makeUserSite(t, [forms, { name: 'web', certificates }]);
  const password = await site.users.login('forms', 'right horse', '192.0.2.1');
  const certificate = await site.users.byCertificate('ab'.repeat(32));
  assert.ok(password.kind === 'accepted' && certificate.kind === 'accepted');
  assert.equal(password.again().kind, 'accepted');
  assert.equal(certificate.again().kind, 'accepted');
  await site.write([{ ...forms, password: quickHash('new horse'), certificates }]);
  await site.said('users file read');
  assert.deepEqual(password.again(), refused);
  const now = certificate.again();
  assert.equal(now.kind === 'accepted' ? now.user.name : now.kind, 'forms');
  await rm(site.file);
  await site.said('users file cannot be read, nobody can log in');
  assert.deepEqual([password.again(), certificate.again()], [unavailable, unavailable]);
});

test('a file that has not rested for one look may be half-written, and is not taken', async (t) => {
  const site = await makeUserSite(t, [forms]);
  const live = new LiveFile(site.file, 'as it was before', new Map(), makeLog({ level: 'error', format: 'json' }, process.stderr));
  await live.look();
  assert.equal(live.entries?.size, 0);
  await live.look();
  assert.equal(live.entries.size, 1);
});

test('a change of rights counts for a success that is remembered', async (t) => {
  const site = await makeUserSite(t, [forms]);
  await site.users.login('forms', 'right horse', '192.0.2.1');
  await site.write([{ ...forms, senders: ['*@clinic.example'] }]);
  await site.said('users file read');
  const login = await site.users.login('forms', 'right horse', '192.0.2.1');
  assert.equal(login.kind, 'accepted');
  assert.equal(login.user.maySend(mailbox('x@other.example')), false);
});

test('a new file with a fault leaves the users in place and is logged with its place; its mend counts', async (t) => {
  const site = await makeUserSite(t, [forms]);
  await site.write('users:\n  - name: forms\n    pasword: x\n');
  await site.said('users file is faulty, the users from before stay');
  const entry = site.log.find(({ msg }) => /faulty/.test(String(msg)));
  assert.match(JSON.stringify(entry), /users\.yaml:3:5: users\[0\]\.pasword: no such key/);
  assert.equal((await site.users.login('forms', 'right horse', '192.0.2.1')).kind, 'accepted');
  await site.write('');
  await site.said('users file is faulty, the users from before stay', 2);
  assert.equal((await site.users.login('forms', 'right horse', '192.0.2.1')).kind, 'accepted', 'an empty file is a fault, not no users');
});

test('P5: a file that vanished is unavailable, never no users; it comes back', async (t) => {
  const site = await makeUserSite(t, [{ ...forms, certificates: ['ab'.repeat(32)] }]);
  await rm(site.file);
  await site.said('users file cannot be read, nobody can log in');
  assert.deepEqual(await site.users.login('forms', 'right horse', '192.0.2.1'), { kind: 'unavailable' });
  assert.deepEqual(await site.users.login('nobody', 'x', '192.0.2.1'), { kind: 'unavailable' });
  assert.deepEqual(await site.users.byCertificate('ab'.repeat(32)), { kind: 'unavailable' });
  await site.write([forms]);
  await site.said('users file read');
  assert.equal((await site.users.login('forms', 'right horse', '192.0.2.1')).kind, 'accepted');
});

test('a library that fails is unavailable, and nothing is refused or let in by it', async (t) => {
  const site = await makeUserSite(t, [forms]);
  site.gate = Promise.reject(new Error('no memory'));
  site.gate.catch(() => undefined);
  assert.deepEqual(await site.users.login('forms', 'right horse', '192.0.2.1'), { kind: 'unavailable' });
  site.gate = undefined;
  assert.equal((await site.users.login('forms', 'right horse', '192.0.2.1')).kind, 'accepted');
});

test('A33: no password, name or hash enters the log', async (t) => {
  const site = await makeUserSite(t, [forms]);
  for (let guess = 0; guess < 12; guess++) await site.users.login('CANARY-name', `CANARY-${guess}`, '192.0.2.1');
  await site.write('users:\n  - name: forms\n    password: CANARY-plain\n  - name: CANARY name\n');
  await site.said('users file is faulty, the users from before stay');
  await site.write('users: [{ name: x, password: "$argon2id$v=19$m=9,t=1,p=1$Q0FOQVJZ$CANARY" }]');
  await site.said('users file is faulty, the users from before stay', 2);
  assert.doesNotMatch(JSON.stringify(site.log), /CANARY|Q0FOQVJZ/);
});

test('long names and passwords are refused without a hash', async (t) => {
  const site = await makeUserSite(t, [forms]);
  assert.deepEqual(await site.users.login('forms', 'x'.repeat(1025), '192.0.2.1'), refused);
  assert.deepEqual(await site.users.login('x'.repeat(257), 'x', '192.0.2.1'), refused);
  assert.equal(site.hashes.length, 0);
});

test('a relay does not start without the users it was told of', async (t) => {
  const site = await makeUserSite(t, [forms]);
  const log = makeLog({ level: 'error', format: 'json' }, process.stderr);
  const open = (file: string): Promise<unknown> => openUsers({ file, log, now: Date.now });
  await assert.rejects(open(`${site.file}.none`), (error) => codeOf(error) === 'file-unreadable');
  await site.write([{ name: 'forms' }]);
  await assert.rejects(
    open(site.file),
    (error) => codeOf(error) === 'users-invalid' && /neither a password nor certificates/.test(String(error)),
  );
});
