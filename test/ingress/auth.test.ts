import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import * as fc from 'fast-check';
import { beginAuth } from '../../src/ingress/auth.ts';
import { makePenalties } from '../../src/ingress/penalty.ts';
import { noOpenssl } from '../certificates/openssl.ts';
import type { Dialogue } from './dialogue.ts';
import { codeOf } from './front.ts';
import {
  base64,
  elsewhere,
  handIn,
  makeSecureFront,
  makeUsers,
  noElsewhere,
  plain,
  type SecureFront,
  type SecureOptions,
} from './secure.ts';

const skip = noOpenssl;

/** From loopback, in clear, after EHLO. */
async function open(t: TestContext, options: SecureOptions = {}): Promise<{ front: SecureFront; client: Dialogue }> {
  const front = await makeSecureFront(t, options);
  const client = await front.greet();
  await front.ehlo(client);
  return { front, client };
}

test('AUTH PLAIN with and without an initial response, and who logged in stands in the envelope', { skip }, async (t) => {
  const front = await makeSecureFront(t);
  for (const initial of [true, false]) {
    const client = await front.greet();
    await front.ehlo(client);
    await client.startTls();
    await front.ehlo(client);
    if (!initial) await client.ask('AUTH PLAIN', /^334 ?$/);
    await client.ask(initial ? `auth plain ${plain('form', 'secret')}` : plain('form', 'secret', 'form'), /^235 2\.7\.0 /);
    await handIn(client);
  }
  for (const { envelope } of front.taken) {
    assert.equal(envelope.client.user?.name, 'form');
    assert.equal(envelope.protocol, 'ESMTPSA');
  }
  assert.deepEqual(front.users.tried, [
    { name: 'form', password: 'secret', client: '127.0.0.1' },
    { name: 'form', password: 'secret', client: '127.0.0.1' },
  ]);
});

test('AUTH LOGIN, with the name in the command and without; in clear from loopback it is ESMTPA', { skip }, async (t) => {
  const front = await makeSecureFront(t, { users: makeUsers([{ name: 'jos\u00e9', password: 'p\u00e4ss w\u00f6rd' }]) });
  for (const initial of [true, false]) {
    const client = await front.greet();
    await front.ehlo(client);
    if (initial) await client.ask(`AUTH LOGIN ${base64('jos\u00e9')}`, /^334 UGFzc3dvcmQ6$/);
    else {
      await client.ask('AUTH LOGIN', /^334 VXNlcm5hbWU6$/);
      await client.ask(base64('jos\u00e9'), /^334 UGFzc3dvcmQ6$/);
    }
    await client.ask(base64('p\u00e4ss w\u00f6rd'), /^235 2\.7\.0 /);
    await handIn(client);
  }
  assert.deepEqual(
    front.taken.map(({ envelope }) => envelope.protocol),
    ['ESMTPA', 'ESMTPA'],
  );
});

test('SMTPUTF8 under TLS and login is UTF8SMTPSA (RFC 6531 4.3)', { skip }, async (t) => {
  const { front, client } = await open(t);
  await client.startTls();
  await front.ehlo(client);
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  await client.ask('MAIL FROM:<jos\u00e9@x.example> SMTPUTF8', /^250/);
  await client.ask('RCPT TO:<b@y.example>', /^250/);
  await client.ask('DATA', /^354/);
  await client.ask('x\r\n.', /^250/);
  assert.equal(front.taken[0]?.envelope.protocol, 'UTF8SMTPSA');
});

test(
  'a login may be cancelled; what is no base64, no UTF-8 or not what the mechanism says is 501, and nothing was asked',
  { skip },
  async (t) => {
    const { front, client } = await open(t);
    for (const command of ['AUTH PLAIN', 'AUTH LOGIN']) {
      await client.ask(command, /^334/);
      await client.ask('*', /^501 5\.7\.0 /);
    }
    await client.ask('AUTH LOGIN', /^334/);
    await client.ask(base64('form'), /^334/);
    await client.ask('*', /^501 5\.7\.0 /);
    for (const wrong of [
      '*',
      '=',
      'AA=A',
      'AGFi=',
      'A',
      '\u00e4',
      base64('form'),
      base64('form\0secret'),
      base64('\0\0\0'),
      base64('\0form\0a\0b'),
      base64('\0fo\rrm\0a'),
    ])
      await client.ask(`AUTH PLAIN ${wrong}`, /^501 5\.5\.2 /);
    await client.ask(`AUTH PLAIN ${Buffer.from([0, 0x66, 0, 0xff]).toString('base64')}`, /^501 5\.5\.2 /);
    for (const command of ['AUTH', 'AUTH PLAIN a b', 'AUTH LOGIN ====']) await client.ask(command, /^501 5\.5\.2 /);
    for (const mechanism of ['CRAM-MD5', 'XOAUTH2', 'EXTERNAL', 'constructor', 'PLAIN='])
      await client.ask(`AUTH ${mechanism}`, /^504 5\.5\.4 /);
    assert.deepEqual(front.users.tried, []);
    await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  },
);

test('a line of base64 that looks like a command is a line of base64', { skip }, async (t) => {
  const { front, client } = await open(t);
  await client.ask('AUTH LOGIN', /^334/);
  // Base64 of a few octets; as a command it would end the session.
  await client.ask('QUIT', /^334 UGFzc3dvcmQ6$/);
  await client.ask('RSET', /^501 5\.5\.2 /);
  await client.ask('NOOP', /^250/);
  assert.deepEqual(front.users.tried, []);
});

test('A30: a login line without end is refused and closed', { skip }, async (t) => {
  const { client } = await open(t);
  await client.ask('AUTH PLAIN', /^334/);
  client.send('A'.repeat(1_000_000));
  await client.expect(/^500 5\.5\.2 /);
  await client.closed();
});

test('the longest identity and password that RFC 4616 asks for can log in', { skip }, async (t) => {
  const [name, password] = ['n'.repeat(255), 'p'.repeat(1024)];
  for (const initial of [true, false]) {
    const { client } = await open(t, { users: makeUsers([{ name, password }]) });
    if (!initial) await client.ask('AUTH PLAIN', /^334/);
    await client.ask(`${initial ? 'AUTH PLAIN ' : ''}${plain(name, password, name)}`, /^235/);
    await client.ask(`MAIL FROM:<a@x.example> ${'x'.repeat(2048)}`, /^500 5\.5\.2 /);
    await client.closed();
  }
});

test('a name or password of an octet more than that is 501, and nobody is asked about it', { skip }, async (t) => {
  const { front, client } = await open(t);
  for (const [name, password] of [
    ['n'.repeat(256), 'p'],
    ['n', 'p'.repeat(1025)],
  ] as const)
    await client.ask(`AUTH PLAIN ${plain(name, password)}`, /^501 5\.5\.2 /);
  assert.deepEqual(front.users.tried, []);
});

test('AUTH comes once, after EHLO, and not within a transaction; nobody logs in as another', { skip }, async (t) => {
  const front = await makeSecureFront(t, {
    users: makeUsers([
      { name: 'form', password: 'secret' },
      { name: 'other', password: 'secret' },
    ]),
  });
  const client = await front.greet();
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^503 5\.5\.1/);
  await front.ehlo(client);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^503 5\.5\.1/);
  await client.ask('RSET', /^250/);
  await client.ask(`AUTH PLAIN ${plain('form', 'secret', 'other')}`, /^535 5\.7\.8/);
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  await client.ask(`AUTH PLAIN ${plain('other', 'secret')}`, /^503 5\.5\.1/);
  assert.ok(!(await front.ehlo(client)).some((keyword) => keyword.startsWith('AUTH')));
  await client.ask('RSET', /^250/);
  await handIn(client);
  assert.equal(front.taken[0]?.envelope.client.user?.name, 'form');
});

test('users that cannot be read are 454, which counts for no failure', { skip }, async (t) => {
  const { front, client } = await open(t);
  front.users.verdict = { kind: 'unavailable' };
  for (let round = 0; round < 5; round++) await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^454 4\.7\.0 /);
  front.users.verdict = undefined;
  await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
});

test(
  'A34: AUTH is not listed in clear but from loopback, and refused where it is said all the same',
  { skip: skip || noElsewhere },
  async (t) => {
    const front = await makeSecureFront(t);
    const near = await front.greet();
    assert.ok((await front.ehlo(near)).includes('AUTH PLAIN LOGIN'));
    const far = await front.greet({ host: elsewhere ?? '' });
    assert.ok(!(await front.ehlo(far)).some((keyword) => keyword.startsWith('AUTH')));
    await far.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^538 5\.7\.11 /);
    await far.ask('AUTH LOGIN', /^538 5\.7\.11 /);
    await far.startTls();
    assert.ok((await front.ehlo(far)).includes('AUTH PLAIN LOGIN'));
    assert.deepEqual(front.users.tried, []);
  },
);

test('A34: where nobody may log in AUTH is no command: no users, or auth: off', { skip }, async (t) => {
  for (const options of [{ users: undefined }, { auth: 'off' }] as const) {
    const front = await makeSecureFront(t, options);
    const client = await front.greet();
    assert.ok(!(await front.ehlo(client)).some((keyword) => keyword.startsWith('AUTH')));
    await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^500 5\.5\./);
    await client.ask('MAIL FROM:<a@x.example> AUTH=<>', /^555 5\.5\.4/);
  }
});

test('where AUTH is known its parameter of MAIL is read, since Postfix sends it (RFC 4954 5)', { skip }, async (t) => {
  const { client } = await open(t);
  await client.ask('MAIL FROM:<a@x.example> AUTH', /^501 5\.5\.4/);
  await client.ask('MAIL FROM:<a@x.example> AUTH=<> SIZE=10', /^250/);
});

test('A34: wrong passwords are answered ever later, the third ends the session, and no log names them', { skip }, async (t) => {
  const FIRST_MS = 80;
  const { front, client } = await open(t, { penalties: makePenalties(FIRST_MS) });
  const waits: number[] = [];
  for (const reply of [/^535 5\.7\.8 /, /^535 5\.7\.8 /, /^421 4\.7\.0 /]) {
    const started = performance.now();
    await client.ask(`AUTH PLAIN ${plain('nobody-known', 'hunter2')}`, reply);
    waits.push(performance.now() - started);
  }
  await client.closed();
  assert.ok(
    waits.every((wait, index) => wait >= FIRST_MS * 2 ** index - 2),
    waits.join(', '),
  );
  assert.doesNotMatch(JSON.stringify(front.log), /nobody-known|hunter2|bm9ib2R5/);
  assert.ok(front.log.some(({ code }) => code === 'login-refused'));
});

test(
  'A34: 1,000 wrong logins, of known names and unknown ones: the same replies, and the next client is not held up',
  { skip },
  async (t) => {
    const front = await makeSecureFront(t, { limits: { messageBytes: 1000, recipients: 5, connections: 500 } });
    const said = { form: new Set<string>(), nobody: new Set<string>() };
    const guess = async (name: 'form' | 'nobody'): Promise<void> => {
      const client = await front.greet();
      await front.ehlo(client);
      for (const reply of [/^535 /, /^535 /, /^421 /])
        for (const line of await client.ask(`AUTH PLAIN ${plain(name, 'wrong')}`, reply)) said[name].add(line);
      await client.closed();
    };
    for (let round = 0; round < 17; round++)
      await Promise.all(Array.from({ length: 20 }, (_, index) => guess(index % 2 === 0 ? 'form' : 'nobody')));
    assert.ok(front.users.tried.length >= 1000);
    assert.deepEqual(said.form, said.nobody);
    const client = await front.greet();
    await front.ehlo(client);
    await client.ask(`AUTH PLAIN ${plain('form', 'secret')}`, /^235/);
  },
);

test('A34: no more than so many sessions wait for their refusal; the others are closed at once', { skip }, async (t) => {
  const front = await makeSecureFront(t, { penalties: makePenalties(60_000, 2) });
  const clients = await Promise.all([front.greet(), front.greet(), front.greet()]);
  for (const client of clients) await front.ehlo(client);
  for (const client of clients) client.line(`AUTH PLAIN ${plain('form', 'wrong')}`);
  await clients[2]?.expect(/^421 4\.7\.0 /);
  await clients[2]?.closed();
  const started = performance.now();
  await front.ingress.stop(5000);
  assert.ok(performance.now() - started < 4000, 'a stop does not wait for them');
});

test('A34: a client that left waits no more, and its place is free', async () => {
  const penalties = makePenalties(60_000, 2);
  const [first, second] = [new AbortController(), new AbortController()];
  const waits = [penalties.serve(1, first.signal), penalties.serve(2, second.signal)];
  const overfull = (error: unknown): boolean => codeOf(error) === 'too-many-failed-logins';
  await assert.rejects(penalties.serve(1, new AbortController().signal), overfull);
  first.abort();
  await waits[0];
  const third = penalties.serve(1, second.signal);
  await assert.rejects(penalties.serve(1, new AbortController().signal), overfull);
  second.abort();
  await Promise.all([...waits, third]);
});

test('A34: any octets behind AUTH are a refusal or a login, never another error', () => {
  const piece = fc.constantFrom(
    'PLAIN',
    'LOGIN',
    'plain',
    '=',
    '*',
    ' ',
    '\t',
    base64('\0a\0b'),
    base64('a'),
    '\0',
    '====',
    'A',
    'AA',
    '\u00ff',
    '334',
  );
  const words = fc.oneof(
    fc.array(piece, { maxLength: 6 }).map((parts) => Buffer.from(`AUTH ${parts.join(' ')}`, 'latin1')),
    fc
      .tuple(fc.string(), fc.string({ unit: 'grapheme' }), fc.string())
      .map(([as, name, password]) => Buffer.from(`AUTH PLAIN ${plain(name, password, as)}`)),
    fc.tuple(fc.string({ unit: 'grapheme' }), fc.string()).map(([name, password]) => Buffer.from(`AUTH PLAIN ${plain(name, password)}`)),
    fc.uint8Array({ maxLength: 60 }).map((octets) => Buffer.concat([Buffer.from('AUTH PLAIN '), octets])),
    fc.uint8Array({ maxLength: 60 }).map((octets) => Buffer.from(`AUTH PLAIN ${Buffer.from(octets).toString('base64')}`)),
  );
  const answers = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((octets) => Buffer.from(octets)),
      piece.map((text) => Buffer.from(text)),
    ),
    { maxLength: 3 },
  );
  let logins = 0;
  const property = fc.property(words, answers, (command, lines) => {
    try {
      let step = beginAuth(command);
      for (const line of lines) {
        if (step.kind === 'try') break;
        step = step.answer(line);
      }
      if (step.kind !== 'try') return;
      logins++;
      assert.ok(step.name !== '' && step.password !== '' && !/\p{Cc}/u.test(step.name) && !step.password.includes('\0'));
    } catch (error) {
      assert.match(codeOf(error) ?? String(error), /^(?:auth-malformed|auth-cancelled|auth-mechanism-unknown|login-refused)$/);
    }
  });
  fc.assert(property, { numRuns: 5000 });
  assert.ok(logins > 20, `only ${logins}`);
});
