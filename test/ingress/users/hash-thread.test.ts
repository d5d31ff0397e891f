import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import process from 'node:process';
import { test } from 'node:test';
import { makeHashThread } from '../../../src/ingress/users/hash-thread.ts';
import { derive, USUAL_COST } from '../../../src/ingress/users/password-hash.ts';

const salt = Buffer.alloc(16, 1);
/** nice(2) of every thread of this process: field 19 of /proc/…/stat, counted behind the name. */
const priorities = (): number[] =>
  readdirSync('/proc/self/task').map((thread) =>
    Number(readFileSync(`/proc/self/task/${thread}/stat`, 'utf8').split(') ')[1]?.split(' ')[16]),
  );

// First, while no other thread of this file is on its way to its end.
test(
  'mail comes first: the thread for hashes yields, and no other does',
  { skip: process.platform === 'linux' ? false : 'wants Linux' },
  async (t) => {
    const before = Math.max(...priorities());
    const thread = makeHashThread();
    t.after(() => thread.close());
    await thread.derive('one', salt, USUAL_COST, 32);
    const after = priorities();
    assert.equal(after.filter((nice) => nice > before).length, 1);
  },
);

test('the thread hashes as everybody does, one after another, and keeps nobody from ending', async (t) => {
  const thread = makeHashThread();
  t.after(() => thread.close());
  const [one, two] = await Promise.all([thread.derive('one', salt, USUAL_COST, 32), thread.derive('two', salt, USUAL_COST, 16)]);
  assert.deepEqual(one, await derive('one', salt, USUAL_COST, 32));
  assert.deepEqual(two, await derive('two', salt, USUAL_COST, 16));
});

test('a thread that ends fails what it had to do, and the next hash has another', async () => {
  const thread = makeHashThread();
  const begun = thread.derive('one', salt, USUAL_COST, 32);
  thread.close();
  await assert.rejects(begun, /the thread for hashes has ended/);
  await assert.rejects(thread.derive('one', salt, { ...USUAL_COST, memory: 1 }, 32), 'an error of the library ends it');
  assert.equal((await thread.derive('one', salt, USUAL_COST, 32)).length, 32);
  thread.close();
});
