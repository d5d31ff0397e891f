import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { heeding } from '../../src/certificates/time-box.ts';

/** Waits until `signal` is aborted, and answers why. */
const reasonOf = (signal: AbortSignal): Promise<unknown> =>
  signal.aborted
    ? Promise.resolve(signal.reason)
    : new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason)));

const open = (): AbortSignal => new AbortController().signal;

test('heeding answers what was asked, and leaves nothing at the signal around it', async () => {
  const outer = open();
  assert.equal(await heeding(outer, 60_000, () => Promise.resolve(7)), 7);
  await assert.rejects(
    heeding(outer, Infinity, () => Promise.reject(new Error('broken'))),
    /broken/,
  );
  assert.equal(getEventListeners(outer, 'abort').length, 0);
});

test('heeding tells of its own time, and of the signal around it with its reason', async () => {
  const late = await heeding(open(), 5, reasonOf);
  assert.ok(late instanceof Error && late.name === 'TimeoutError');
  const outer = new AbortController();
  const told = heeding(outer.signal, 60_000, (signal) => heeding(signal, Infinity, reasonOf));
  outer.abort(new Error('closed'));
  assert.match(String(await told), /closed/);
  assert.match(String(await heeding(outer.signal, 60_000, reasonOf)), /closed/);
});

test('where no time is left the signal is aborted before anything is begun', async () => {
  for (const patience of [-5, 0, 0.4]) await heeding(open(), patience, (signal) => Promise.resolve(assert.ok(signal.aborted)));
});
