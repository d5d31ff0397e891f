/** A27 at the socket: what is taken for an answer of the configured resolver, and what is not. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { after, describe, test } from 'node:test';
import { encode } from 'dns-packet';
import { makeResolver } from '../../../src/certificates/smimea/resolver.ts';
import { type DnsResponse, recordTypes } from '../../../src/certificates/smimea/wire.ts';
import { SealpostError } from '../../../src/errors.ts';
import { AD, answerTo, type Fake, fakeResolver, type Reply, smimeaAnswer, TC } from './fake.ts';
import { eventually } from '../openssl.ts';
import { freePort } from './world.ts';

const NAME = 'abc._smimecert.clinic.example';
const soon = (ms = 10_000): AbortSignal => AbortSignal.timeout(ms);

const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));

describe('asking the resolver', () => {
  const open: Fake[] = [];
  after(() => open.forEach((fake) => fake.close()));
  const fake = async (reply: Reply, address?: string): Promise<Fake> => {
    const one = await fakeResolver(reply, address);
    open.push(one);
    return one;
  };
  const ask = (
    { address, port }: { readonly address: string; readonly port: number },
    signal = soon(),
    firstWait?: number,
  ): Promise<DnsResponse> =>
    makeResolver({ address, port, randomBytes, ...(firstWait === undefined ? {} : { firstWait }) }).ask(NAME, recordTypes.smimea, signal);
  const unavailable = async (asked: Promise<DnsResponse>, text: RegExp): Promise<void> => {
    await assert.rejects(
      asked,
      (error) => error instanceof SealpostError && error.code === 'lookup-unavailable' && text.test(error.message),
    );
  };
  const records = ({ answers }: DnsResponse): readonly string[] => answers.map(({ data }) => data.toString());
  const saying = (text: string) => ({ answers: [smimeaAnswer(NAME, Buffer.from(text))] });

  test('each question has an ID and a port of its own', async () => {
    const ports = new Set<number>();
    const one = await fake((asked) => {
      ports.add(asked.from.port);
      return answerTo(asked);
    });
    for (let count = 0; count < 30; count++) await ask(one);
    assert.ok(new Set(one.ids).size > 25 && ports.size > 20, `${ports.size} ports`);
  });

  test('A27: answers with AD from another port or address, with another ID, question or direction are passed over', async (t) => {
    const stranger = createSocket('udp4').bind(0, '127.0.0.2');
    const neighbour = createSocket('udp4').bind(0, '127.0.0.1');
    for (const socket of [stranger, neighbour]) t.after(() => socket.close());
    await Promise.all([once(stranger, 'listening'), once(neighbour, 'listening')]);
    const one = await fake((asked, socket) => {
      const forged = answerTo(asked, saying('forged'));
      for (const other of [stranger, neighbour]) other.send(encode(forged), asked.from.port, asked.from.address);
      const wrong = [
        { ...forged, id: (asked.query.id ?? 0) ^ 1 },
        { ...forged, questions: [{ name: `x${NAME}`, type: 'TXT' as const }] },
        { ...forged, questions: [] },
        { ...forged, type: 'query' as const },
      ];
      for (const packet of wrong) socket.send(encode(packet), asked.from.port, asked.from.address);
      socket.send(Buffer.from('garbage'), asked.from.port, asked.from.address);
      socket.send(encode(answerTo(asked, saying('true'))), asked.from.port, asked.from.address);
      return undefined;
    });
    assert.deepEqual(records(await ask(one)), ['true']);
  });

  test('A27: a flood of guesses ends the question', async () => {
    const one = await fake((asked, socket) => {
      for (let id = 0; id < 200; id++)
        socket.send(
          encode({ ...answerTo(asked, saying('forged')), id: (asked.query.id ?? 0) ^ (id + 1) }),
          asked.from.port,
          asked.from.address,
        );
      return undefined;
    });
    await unavailable(ask(one), /cannot be asked/);
    assert.equal(one.log.length, 1);
  });

  test('what is too big for a datagram comes by TCP', async () => {
    const big = 'x'.repeat(60_000);
    const one = await fake((asked) => answerTo(asked, asked.overTcp ? saying(big) : { flags: AD | TC }));
    assert.deepEqual(records(await ask(one)), [big]);
    assert.deepEqual(one.log, [`udp ${NAME}`, `tcp ${NAME}`]);
  });

  test('over IPv6 too', { skip: hasIpv6 ? false : 'this machine has no ::1' }, async () => {
    const one = await fake((asked) => answerTo(asked, asked.overTcp ? saying('six') : { flags: AD | TC }), '::1');
    assert.deepEqual(records(await ask(one)), ['six']);
  });

  test('TCP that is cut off, answers something else, says it is too big again or is silent is unavailable', async () => {
    const over = (reply: Reply): Promise<Fake> =>
      fake((asked, socket) => (asked.overTcp ? reply(asked, socket) : answerTo(asked, { flags: AD | TC })));
    await unavailable(ask(await over(() => Buffer.from('01f400', 'hex'))), /cannot be asked/);
    await unavailable(ask(await over((asked) => ({ ...answerTo(asked), id: (asked.query.id ?? 0) ^ 1 }))), /cannot be asked/);
    await unavailable(ask(await over((asked) => answerTo(asked, { flags: AD | TC }))), /cannot be asked/);
    await unavailable(ask(await over(() => undefined), soon(300)), /does not answer in time/);
  });

  test('silence is asked once more, with another ID', async () => {
    let first = true;
    const one = await fake((asked) => {
      if (!first) return answerTo(asked, saying('second'));
      first = false;
      return undefined;
    });
    assert.deepEqual(records(await ask(one, soon(), 100)), ['second']);
    assert.equal(one.log.length, 2);
    assert.equal(new Set(one.ids).size, 2);
  });

  test('silence to the end is unavailable when the time is up, and nothing is left open', async () => {
    const one = await fake(() => undefined);
    const sockets = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'UDPWrap').length;
    const [started, before] = [performance.now(), sockets()];
    await unavailable(ask(one, soon(300), 100), /does not answer in time/);
    assert.ok(performance.now() - started < 3_000);
    assert.equal(one.log.length, 2);
    await eventually(async () => sockets() <= before);
  });

  test('a resolver that is not there is unavailable at once', async () => {
    const started = performance.now();
    await unavailable(ask({ address: '127.0.0.1', port: await freePort() }), /cannot be asked/);
    assert.ok(performance.now() - started < 1_000);
  });

  test('a question whose time is up already asks nothing', async () => {
    const one = await fake((asked) => answerTo(asked));
    await unavailable(ask(one, AbortSignal.abort()), /does not answer in time/);
  });

  test('a message that cannot be read is unavailable', async () => {
    const one = await fake((asked) => encode(answerTo(asked, saying('cut off'))).subarray(0, -3));
    await unavailable(ask(one), /it is cut off/);
  });
});
