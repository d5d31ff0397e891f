import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { makeTurns } from '../../src/queue/turns.ts';

test('no more octets are in flight than the limit, in order; what is larger goes alone, and a failure frees its place', async () => {
  const turns = makeTurns(100);
  const begun: number[] = [];
  const works = [60, 40, 1, 500, 10].map((octets) => {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const done = turns.take(octets, () => {
      begun.push(octets);
      return promise;
    });
    return { resolve: () => resolve(octets), reject: () => reject(new Error('no')), done };
  });
  const [sixty, forty, one, large, ten] = works;
  assert.ok(sixty && forty && one && large && ten);
  await setImmediate();
  assert.deepEqual(begun, [60, 40]);
  sixty.reject();
  await assert.rejects(sixty.done, /no/);
  assert.deepEqual(begun, [60, 40, 1]);
  forty.resolve();
  assert.equal(await forty.done, 40);
  assert.deepEqual(begun, [60, 40, 1], 'the large one is alone');
  one.resolve();
  await one.done;
  await setImmediate();
  assert.deepEqual(begun, [60, 40, 1, 500]);
  large.resolve();
  await large.done;
  ten.resolve();
  assert.equal(await ten.done, 10);
});
