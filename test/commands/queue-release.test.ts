/** `sealpost queue release` with the key elsewhere, beside a queue that owns its rows: what one row is never costs the others (P10). */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { PassThrough, Readable } from 'node:stream';
import { before, describe, test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { DAY_MS, issueCertificate, makeAuthority } from '../../src/certificates/authority/issue.ts';
import { makeHoldPair } from '../../src/certificates/hold.ts';
import { certificatePem } from '../../src/certificates/pem.ts';
import { buildRelease } from '../../src/commands/release.ts';
import { serveControl } from '../../src/control.ts';
import { releaseHandlers } from '../../src/release/control.ts';
import { mailbox, makeWorld, type Pair, type World } from '../hold/world.ts';

const CONFIG = `
hostname: relay.clinic.example
operator: postmaster@clinic.example
listen: [{ host: 127.0.0.1, port: 2525, tls: off }]
upstream: [{ host: 127.0.0.1, port: 25, tls: off }]
`;
const FORM = 'From: forms@clinic.example\r\nSubject: x\r\n\r\nhello\r\n';

describe('queue release --key', () => {
  let hold: Pair;
  let anna: Pair;
  before(async () => {
    [hold, anna] = await Promise.all([makeHoldPair('Clinic', Date.now()), makeHoldPair('Anna', Date.now())]);
  });

  /** A relay without the hold key, as far as its control socket; one message for Anna, whose certificate is there, each. */
  async function makeHolding(t: TestContext, messages: number, by = hold) {
    const world = await makeWorld(t, by);
    const logged: string[] = [];
    const log = pino({}, { write: (line: string) => void logged.push(line) });
    const elsewhere = { certificate: () => hold.certificate, privateKey: () => undefined };
    const handlers = releaseHandlers({ queue: world.store, releasing: world.releasing, hold: elsewhere, log });
    const control = await serveControl({ socket: world.site.paths.socket, handlers, log });
    t.after(() => control.close());
    const ids: string[] = [];
    while (ids.length < messages) ids.push(await world.accept(FORM));
    world.today.certificates.set('anna@clinic.example', anna.certificate);
    return { world, ids, logged };
  }

  async function runWith(pair: Pair, { site }: World, words: readonly string[]): Promise<{ out: string[]; fault: string }> {
    const cwd = dirname(site.paths.folder);
    writeFileSync(join(cwd, 'sealpost.yaml'), CONFIG);
    writeFileSync(join(cwd, 'hold.key'), pair.key.export({ type: 'pkcs8', format: 'pem' }));
    writeFileSync(join(cwd, 'hold.pem'), certificatePem(pair.certificate));
    const stdout = new PassThrough();
    const terminal = { stdin: Readable.from([]), stdout, stderr: new PassThrough(), env: {}, cwd, colour: false };
    const named = [...words, '--key', 'hold.key', '--cert', 'hold.pem'];
    const fault = await buildRelease(terminal)
      .parseAsync(named, { from: 'user' })
      .then(
        () => '',
        (error: unknown) => String(error),
      );
    return {
      out: String(stdout.read() ?? '')
        .split('\n')
        .slice(0, -1),
      fault,
    };
  }

  const run = (world: World, ...words: readonly string[]) => runWith(hold, world, words);

  test('rows that the disk changed are set aside, each with its line; all others are released', async (t) => {
    const { world, ids, logged } = await makeHolding(t, 7);
    const beside = new DatabaseSync(world.site.paths.database, { timeout: 5000, enableForeignKeyConstraints: false });
    const row = (nth: number) => `(SELECT id FROM recipients WHERE message = '${ids[nth]}')`;
    const body = (nth: number) => `(SELECT body FROM recipients WHERE message = '${ids[nth]}')`;
    beside.exec(`UPDATE recipients SET prefix = CAST(x'31' || substr(prefix, 2) AS BLOB) WHERE id = ${row(0)};
      UPDATE bodies SET length = 9007199254740993 WHERE id = ${body(2)};
      DELETE FROM bodies WHERE id = ${body(3)};
      UPDATE bodies SET bytes = zeroblob(length) WHERE id = ${body(5)};`);
    beside.close();
    const { out, fault } = await run(world, '--all');
    const line = (id: string, nth: number) =>
      `${id}  anna@clinic.example  ${[0, 2, 3, 5].includes(nth) ? 'is damaged: set aside, and never sent' : 'released by rule forms'}`;
    assert.deepEqual(out, ids.map(line));
    assert.match(fault, /some held mail was not released: 4 are damaged$/);
    assert.partialDeepStrictEqual((await world.store.stats()).states, { held: 0, ready: 3, damaged: 4 });
    assert.equal(
      logged.filter((entry) => entry.includes('held mail is damaged, and set aside')).length,
      1,
      'the queue tells of the others',
    );
    assert.equal((await world.audit()).filter(({ event }) => event === 'damaged').length, 4);
  });

  test('one damaged message by its id, for programs; a second call finds nothing that is held', async (t) => {
    const { world, ids } = await makeHolding(t, 1);
    const [queueId = ''] = ids;
    const beside = new DatabaseSync(world.site.paths.database, { timeout: 5000 });
    beside.exec(`UPDATE recipients SET prefix = CAST(x'31' || substr(prefix, 2) AS BLOB)`);
    beside.close();
    const { out, fault } = await run(world, queueId, '--json');
    assert.partialDeepStrictEqual(JSON.parse(out[0] ?? ''), { queueId, state: 'damaged', rule: null, why: null });
    assert.match(fault, /1 is damaged$/);
    assert.match((await run(world, queueId)).fault, /no recipient that is held/);
  });

  test('held to an EC certificate that has ended and been replaced since: the new pair says so, the old one releases it', async (t) => {
    const then = Date.now() - 90 * DAY_MS;
    const authority = await makeAuthority({ name: 'CA', now: then });
    const old = await issueCertificate({ authority, mailbox: mailbox('hold@clinic.example'), key: 'ec', days: 30, now: then });
    const { world, ids } = await makeHolding(t, 2, old);
    const before = await run(world, '--all');
    assert.ok(before.out.every((said) => said.includes('sealed to another hold certificate')));
    assert.match(before.fault, /2 stay held$/);
    const { out, fault } = await runWith(old, world, ['--all']);
    assert.deepEqual([out, fault], [ids.map((id) => `${id}  anna@clinic.example  released by rule forms`), '']);
    assert.match((await world.delivered(anna)).inside, /hello/);
  });

  test('an error that nobody foresaw, at one row: its line says so, the log names the cause, the others are released', async (t) => {
    const { world, ids, logged } = await makeHolding(t, 3);
    const release = world.releasing.release.bind(world.releasing);
    Object.assign(world.releasing, {
      release: async (...asked: Parameters<typeof release>) => {
        if (asked[0].queueId === ids[1]) throw new TypeError('a fault of ours');
        return release(...asked);
      },
    });
    const { out, fault } = await run(world, '--all');
    assert.deepEqual(
      out.map((said) => said.includes('released by rule forms')),
      [true, false, true],
    );
    assert.match(out[1] ?? '', /stays held: /);
    assert.match(fault, /1 stays held$/);
    assert.ok(logged.some((entry) => entry.includes('a fault of ours') && entry.includes(ids[1] ?? '')));
  });
});
