/** A bench leaves nothing running, whatever becomes of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runOwned } from './owner.ts';

const never = new AbortController().signal;
const LONG_MS = 60_000;

test('what a bench starts is ended in reverse, also where the bench or an end fails', async () => {
  const ended: string[] = [];
  const run = runOwned(LONG_MS, never, async (owner) => {
    owner.after(() => ended.push('sink'));
    owner.after(() => {
      ended.push('relay');
      throw new Error('the relay did not stop');
    });
    owner.after(async () => ended.push('client'));
    throw new Error('the bench failed');
  });
  await assert.rejects(run, /the bench failed/);
  assert.deepEqual(ended, ['client', 'relay', 'sink']);
});

test('a bench that waits for ever is ended at its ceiling', async () => {
  const gone = Promise.withResolvers<never>();
  const run = runOwned(50, never, async (owner) => {
    owner.after(() => gone.reject(new Error('what it talked to is gone')));
    await gone.promise;
  });
  await assert.rejects(run, /not done within 0.05 s/);
});

test('a signal ends a bench', async () => {
  const stopped = new AbortController();
  const gone = Promise.withResolvers<never>();
  const run = runOwned(LONG_MS, stopped.signal, async (owner) => {
    owner.after(() => gone.reject(new Error('gone')));
    stopped.abort(new Error('stopped by SIGINT'));
    await gone.promise;
  });
  await assert.rejects(run, /stopped by SIGINT/);
});
