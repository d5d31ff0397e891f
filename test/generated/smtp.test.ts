/**
 * SMTP dialogues of a grammar, cut anywhere, split into segments anywhere, with octets flipped, inserted, dropped and doubled: the real
 * ingress, path and queue in one process. What got a 250 is in the queue, whole, and nothing else is.
 */
import assert from 'node:assert/strict';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { pino } from 'pino';
import { makeAddressBook } from '../../src/certificates/address-book.ts';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { makePath } from '../../src/path.ts';
import { ALWAYS } from '../../src/policy/condition.ts';
import { makeRuleSet } from '../../src/policy/decide.ts';
import { openMessage } from '../../src/seal/open.ts';
import { makeFront } from '../ingress/front.ts';
import { makeReaders } from '../interop/fixtures.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite, readAll, START } from '../queue/site.ts';
import { mutations } from './mutations.ts';
import { runs } from './runs.ts';

const CANARY = 'Kanarienvogel4711';
const ANNA = 'anna@clinic.example';
/** Longer than any reply may take; a dialogue that is not over then hangs. */
const HANGS_MS = 20_000;

const word = fc.constantFrom('web.clinic.example', '[192.0.2.1]', 'x', '', 'a b', '\u00fc', '-');
const parameter = fc.constantFrom(
  '',
  ' SIZE=100',
  ' SIZE=99999999999',
  ' BODY=8BITMIME',
  ' BODY=BINARYMIME',
  ' SMTPUTF8',
  ' RET=HDRS',
  ' AUTH=<>',
  ' X=y',
);
const path = fc.constantFrom(
  `<${ANNA}>`,
  '<>',
  '<nobody@clinic.example>',
  ANNA,
  '<@a,@b:anna@clinic.example>',
  '<"a b"@c.example>',
  '<a@b@c>',
  '<Postmaster>',
);
const line = fc.constantFrom(
  CANARY,
  '',
  '..',
  '..dot',
  'From: x',
  '=41',
  '\u00fc',
  'MAIL FROM:<evil@x.example>',
  'RCPT TO:<evil@x.example>',
  'DATA',
  'QUIT',
  'x'.repeat(1100),
);
const end = fc.oneof({ arbitrary: fc.constant('\r\n'), weight: 12 }, fc.constantFrom('\n', '\r', '\r\r\n'));
const body = fc.array(fc.tuple(line, end), { maxLength: 6 }).map((lines) => lines.map((one) => one.join('')).join(''));
const said = (text: string): string => `${text}\r\n`;

/** Most of it is a message as it should be, since only what gets that far can go wrong there. */
const message = fc
  .tuple(parameter, fc.array(path, { maxLength: 2 }), body)
  .map(([more, others, text]) =>
    [
      said(`MAIL FROM:<form@clinic.example>${more}`),
      said(`RCPT TO:<${ANNA}>`),
      ...others.map((other) => said(`RCPT TO:${other}`)),
      said('DATA'),
      `Subject: ${CANARY}\r\n\r\n${text}`,
      '\r\n.\r\n',
    ].join(''),
  );
const command = fc.oneof(
  word.map((name) => said(`EHLO ${name}`)),
  word.map((name) => said(`HELO ${name}`)),
  fc.tuple(path, parameter).map(([who, more]) => said(`MAIL FROM:${who}${more}`)),
  fc.tuple(path, fc.constantFrom('', ' NOTIFY=NEVER', ' ORCPT=rfc822;a')).map(([who, more]) => said(`RCPT TO:${who}${more}`)),
  fc
    .constantFrom(
      'DATA',
      'RSET',
      'NOOP',
      'QUIT',
      'STARTTLS',
      'AUTH PLAIN AGEAYg==',
      'AUTH LOGIN',
      'BDAT 4 LAST',
      'VRFY a',
      'HELP',
      'DATA x',
      '',
    )
    .map(said),
  fc.constantFrom('XCLIENT ADDR=127.0.0.1', 'PROXY TCP4 192.0.2.1 192.0.2.2 1 2', 'GET / HTTP/1.1', 'DELE 1').map(said),
);
const dialogues = fc.record({
  text: fc
    .array(fc.oneof({ arbitrary: message, weight: 2 }, command), { minLength: 1, maxLength: 5 })
    .map((parts) => Buffer.from(said('EHLO web.clinic.example') + parts.join(''))),
  change: fc.option(mutations, { freq: 3 }),
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
});

/** All replies to what is written in these segments, by a client that then ends its side. Fails where the relay does not end. */
async function converse(port: number, octets: Buffer, cuts: readonly number[]): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.setNoDelay(true);
  let replies = '';
  socket.on('data', (chunk: Buffer) => (replies += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  const closed = new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), HANGS_MS);
    for (const event of ['end', 'close'])
      socket.once(event, () => {
        clearTimeout(timer);
        resolve(true);
      });
  });
  await once(socket, 'connect');
  let from = 0;
  for (const cut of [...cuts, 1].map((share) => Math.floor(share * octets.length)).toSorted((a, b) => a - b)) {
    socket.write(octets.subarray(from, cut));
    from = cut;
    await new Promise(setImmediate);
  }
  socket.end();
  const over = await closed;
  socket.destroy();
  assert.ok(over, `it hangs behind ${JSON.stringify(replies)}`);
  return replies;
}

/** RFC 5321 §4.2, RFC 3463: each line a reply of its class, and no text of anybody in it that is not printable. */
function assertReplies(replies: string): string[] {
  assert.ok(replies === '' || replies.endsWith('\r\n'), JSON.stringify(replies));
  const lines = replies.split('\r\n').slice(0, -1);
  for (const one of lines) {
    assert.match(one, /^(?:220|221|250|251|252|214|235|334|354|4\d\d|5\d\d)[ -][\x20-\x7e]{0,510}$/, JSON.stringify(one));
    const [, code = '', status = ''] = /^(\d)\d\d (?:(\d)\.\d+\.\d+ )?/.exec(one) ?? [];
    if (status !== '') assert.equal(status, code, one);
    assert.ok(!one.includes(CANARY), one);
  }
  return lines;
}

/** What a client said, as far as a message can be made of it: CRLF, and no stuffed dots. */
const canonical = (octets: Buffer): string =>
  octets
    .toString('latin1')
    .replace(/\r\n|\r|\n/g, '\r\n')
    .replace(/(^|\n)\.\./g, '$1.');

test(
  'P1, P2: whatever is said, in whatever pieces: a 250 for what is in the queue and whole, and for nothing else; no second message, nothing in clear',
  { skip: missingPrograms({ openssl: 'openssl' }) ?? false },
  async (t) => {
    const dir = await mkdtemp(join(tmpdir(), 'sealpost-dialogues-'));
    t.after(() => rm(dir, { recursive: true, force: true }));
    const { people } = await makeReaders(dir);
    const [certificate] = readCertificates(readFileSync(people.anna.certificate)).certificates;
    assert.ok(certificate);
    const chosen = { certificate, source: 'test', place: 'anna.pem', path: [certificate], revocation: 'off' } as const;
    const site = await makeSite(t);
    const queue = await site.open();
    const subject = { kind: 'replace', template: 'New message' } as const;
    const rules = makeRuleSet([{ name: 'all', when: ALWAYS, then: 'seal', missing: 'refuse', unavailable: 'retry', subject }]);
    const reception = makePath({
      hostname: 'relay.example',
      rules: () => rules,
      addressBook: makeAddressBook({
        lookup: async ({ address }) =>
          address.toLowerCase() === ANNA
            ? { kind: 'found', chosen: [chosen], rejected: [], asked: [] }
            : { kind: 'absent', rejected: [], asked: [] },
      }),
      chooseForm: () => ({ cipher: 'aes-256-cbc', keyTransport: 'rsaes-pkcs1' }),
      outbox: queue,
      largest: () => undefined,
      now: () => START,
      randomBytes,
      log: pino({ level: 'silent' }),
    });
    const front = await makeFront(t, { reception });
    const promised = new Map<string, Buffer>();
    const property = fc.asyncProperty(dialogues, async ({ text, change, cuts }) => {
      const octets = change === null ? text : change(text);
      const lines = assertReplies(await converse(front.port, octets, cuts));
      const queued = lines.flatMap((one) => /^250 2\.0\.0 queued as (\S+)$/.exec(one)?.[1] ?? []);
      const ends = octets.toString('latin1').split('\r\n.\r\n').length - 1;
      assert.ok(queued.length <= ends, `${queued.length} messages of ${ends} ends`);
      assert.ok(lines.filter((one) => one.startsWith('354')).length >= queued.length);
      for (const id of queued) {
        assert.ok(!promised.has(id));
        promised.set(id, octets);
      }
    });
    await fc.assert(property, { ...runs(250), endOnFailure: true });
    assert.ok(promised.size > 50, `only ${promised.size} messages: the grammar makes too few good ones`);

    const key = createPrivateKey(readFileSync(people.anna.key));
    const found = new Set<string>();
    for (;;) {
      const leases = await queue.claim(START, 100);
      if (leases.length === 0) break;
      for (const lease of leases) {
        assert.equal(lease.recipient.toLowerCase(), ANNA);
        const sent = promised.get(lease.queueId);
        assert.ok(sent !== undefined, 'in the queue without a 250');
        assert.ok(!found.has(lease.queueId), 'a second message');
        found.add(lease.queueId);
        const { entity } = openMessage(Buffer.concat([lease.prefix, await readAll(queue, lease), lease.suffix]), [{ key }]);
        const inside = entity.toString('latin1');
        const whole = canonical(sent);
        const content = inside.slice(inside.indexOf('\r\n\r\n'));
        assert.ok(whole.includes(content.replace(/(?:\r\n)+$/, '')), JSON.stringify(content));
        for (const part of [lease.header.toString('latin1'), lease.prefix.toString('latin1')]) assert.ok(!part.includes(CANARY));
      }
    }
    assert.deepEqual([...found].toSorted(), [...promised.keys()].toSorted());
    await queue.close();
    const folder = dirname(site.paths.database);
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true }))
      if (entry.isFile()) {
        const file = readFileSync(join(entry.parentPath, entry.name));
        for (const form of [CANARY, Buffer.from(CANARY).toString('base64').slice(0, 20)]) assert.ok(!file.includes(form), entry.name);
      }
    assert.ok(!JSON.stringify([front.log, site.logged]).includes(CANARY));
  },
);
