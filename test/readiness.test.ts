import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { eventually } from './certificates/openssl.ts';
import { SealpostError } from '../src/errors.ts';
import { makeReadiness, reasonTable, watchRefusal, type Standing } from '../src/readiness.ts';

const codes = ({ state, reasons, notes }: Standing) =>
  [state, ...reasons.map(({ code }) => code), '/', ...notes.map(({ code }) => code)].join(' ');

function make() {
  const clock = { now: 1000 };
  const told: string[] = [];
  const readiness = makeReadiness({ now: () => clock.now, onChange: (standing) => told.push(codes(standing)) });
  return { clock, told, readiness };
}

test('the state is the gravest that its reasons bring, and each change is told once', () => {
  const { clock, told, readiness } = make();
  assert.equal(codes(readiness.standing()), 'stopped starting /');
  readiness.tell('storage-full', true);
  clock.now = 2000;
  readiness.tell('starting', false);
  readiness.tell('starting', false);
  assert.deepEqual([readiness.standing().since, readiness.standing().reasons[0]?.since], [2000, 1000]);
  readiness.tell('audit-failed', true);
  clock.now = 3000;
  readiness.tell('storage-full', false);
  assert.equal(readiness.standing().since, 2000, 'another reason, the same state');
  readiness.tell('rules-faulty', true);
  readiness.tell('audit-failed', false);
  readiness.tell('stopping', true);
  assert.deepEqual(told, [
    'stopped starting storage-full /',
    'draining storage-full /',
    'draining storage-full audit-failed /',
    'draining audit-failed /',
    'draining audit-failed / rules-faulty',
    'accepting / rules-faulty',
    'stopped stopping / rules-faulty',
  ]);
});

test('what the queue would refuse is asked again and again, and a failure for good is not taken back', async (t) => {
  const { readiness } = make();
  readiness.tell('starting', false);
  const answers = ['storage-full', undefined, 'audit-failed', 'storage-failed', undefined] as const;
  const seen: string[] = [];
  let asked = 0;
  const { promise: enough, resolve } = Promise.withResolvers<void>();
  const watch = await watchRefusal({
    readiness,
    everyMs: 1,
    notes: { 'upstreams-failing': () => asked % 2 === 0 },
    refusals: async () => {
      if (asked > 0) seen.push(codes(readiness.standing()));
      const code = answers[asked++];
      if (asked > answers.length) resolve();
      return code === undefined ? [] : [new SealpostError(code)];
    },
  });
  t.after(() => watch.stop());
  assert.equal(watch.refusal()?.code, 'storage-full');
  await enough;
  assert.deepEqual(seen.slice(0, 5), [
    'draining storage-full /',
    'accepting / upstreams-failing',
    'draining audit-failed /',
    'stopped storage-failed / upstreams-failing',
    'stopped storage-failed /',
  ]);
});

test('causes that end by themselves are each told as what they are, and a note that hangs or fails holds nothing up', async (t) => {
  const { readiness } = make();
  readiness.tell('starting', false);
  const answers = ['storage-refused', 'descriptors-exhausted', undefined] as const;
  const seen: string[] = [];
  let asked = 0;
  const { promise: enough, resolve } = Promise.withResolvers<void>();
  const watch = await watchRefusal({
    readiness,
    everyMs: 1,
    notes: {
      'spool-key-lost': () => new Promise<never>(() => {}),
      'sources-failing': () => Promise.reject(new Error('not to be known')),
    },
    refusals: async () => {
      if (asked > 0) seen.push(codes(readiness.standing()));
      const code = answers[asked++];
      if (asked === 4) resolve();
      return code === undefined ? [] : [new SealpostError(code)];
    },
  });
  t.after(() => watch.stop());
  await enough;
  assert.deepEqual(seen, ['draining storage-refused /', 'draining descriptors-exhausted /', 'accepting /']);
});

test('two causes are told, the first of them to clients; and a disk that hangs is one, until it answers', async (t) => {
  const { readiness, told } = make();
  readiness.tell('starting', false);
  const { promise: answer, resolve } = Promise.withResolvers<void>();
  const { promise: again, resolve: asked } = Promise.withResolvers<void>();
  let times = 0;
  const watch = await watchRefusal({
    readiness,
    everyMs: 1,
    patienceMs: 5,
    notes: {},
    refusals: async () => {
      if (++times === 2) await answer;
      if (times === 3) asked();
      return times < 3 ? [new SealpostError('storage-full'), new SealpostError('audit-failed')] : [];
    },
  });
  t.after(() => watch.stop());
  assert.deepEqual([codes(readiness.standing()), watch.refusal()?.code], ['draining storage-full audit-failed /', 'storage-full']);
  await eventually(async () => watch.refusal()?.code === 'storage-hanging');
  assert.equal(codes(readiness.standing()), 'draining storage-full audit-failed storage-hanging /');
  assert.equal(watch.refusal()?.temporary, true);
  resolve();
  await again;
  await eventually(async () => watch.refusal() === undefined);
  assert.equal(told.at(-1), 'accepting /');
});

test('docs/readiness.md lists every reason with its state, its words and its mend', () => {
  const page = readFileSync(path.resolve(import.meta.dirname, '../docs/readiness.md'), 'utf8');
  const listed = [...page.matchAll(/^\| `([a-z-]+)` \|.*$/gm)].map(([row]) => row.replaceAll(/ +/g, ' '));
  assert.deepEqual(
    listed,
    Object.entries(reasonTable).map(([code, { state, text, mend }]) => `| \`${code}\` | ${state} | ${text} | ${mend} |`),
  );
});
