/** The stop of a relay of which a part fails: the others end all the same, and what failed first is told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwindAll } from '../../src/relay.ts';

test('every part is ended, in reverse, each before the next, whichever of them fails; the first failure is thrown', async () => {
  const ended: string[] = [];
  const step = (name: string, failure?: string) => async (): Promise<void> => {
    await Promise.resolve();
    ended.push(name);
    if (failure !== undefined) throw new Error(failure);
  };
  const now = (): never => {
    ended.push('now');
    throw new Error('at once');
  };
  await assert.rejects(unwindAll([step('lock'), now, step('queue', 'later'), step('record', 'first'), step('ingress')]), /first/);
  assert.deepEqual(ended, ['ingress', 'record', 'queue', 'now', 'lock']);
  await unwindAll([step('one')]);
});
