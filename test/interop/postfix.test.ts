/** The private Postfix and the load generator, tried on one another: a bench on a broken yardstick tells nothing. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { mailOf, sendLoad } from '../bench/load.ts';
import { freePort, until } from './ports.ts';
import { missingPostfix, startPostfix } from './postfix.ts';
import { startSink } from './sink.ts';
import { missingPrograms } from './programs.ts';

const LOAD = { clients: 5, messages: 20, octets: 4096, from: 'forms@clinic.example', to: 'anna@clinic.example' };

test('a mail of the generator has exactly the octets asked for', () => {
  for (const octets of [400, 4095, 4096, 4097, 100_000]) {
    const mail = mailOf(octets, { from: LOAD.from, to: LOAD.to, id: '1' });
    assert.equal(mail.length, octets);
    assert.match(mail.toString('latin1'), /[^\r]\r\n$/);
  }
});

test('a private Postfix relays everything to the sink', { skip: missingPostfix() ?? false }, async () => {
  const dir = await mkdtemp(join(tmpdir(), 'postfix-'));
  const sink = await startSink();
  try {
    const postfix = await startPostfix({ relayTo: sink, dir });
    try {
      const result = await sendLoad({ ...LOAD, port: postfix.port });
      assert.ok(result.perSecond > 0);
      await until('all messages arrive', () => sink.received() === LOAD.messages, 20_000);
      const sent = async (): Promise<number> => (await postfix.log()).match(/status=sent/g)?.length ?? 0;
      await until('postfix logs all of them', async () => (await sent()) === LOAD.messages);
    } finally {
      await postfix.stop();
    }
  } finally {
    await sink.stop();
    await rm(dir, { recursive: true, force: true });
  }
});

test('a refusal is an error of the load, not a fast message', { skip: missingPrograms({ 'smtp-sink': 'postfix' }) ?? false }, async () => {
  const sink = await startSink(['-f', 'RCPT']);
  try {
    await assert.rejects(sendLoad({ ...LOAD, port: sink.port }), /wanted 250/);
  } finally {
    await sink.stop();
  }
  await assert.rejects(sendLoad({ ...LOAD, port: await freePort() }));
});
