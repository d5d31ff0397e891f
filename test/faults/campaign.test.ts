/** A thin sample of each part of `npm run test:faults`, on the built relay under its own sandbox: the long run is asked for by name. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { missingPrograms } from '../interop/programs.ts';
import { type Figures, lineOf, summarize } from './campaign/figures.ts';
import { killCampaign } from './campaign/kill.ts';
import { BUILT_CLI } from './campaign/process.ts';
import { slopeOf } from './campaign/plot.ts';
import { missingPower, powerCampaign } from './campaign/power.ts';
import { soakCampaign } from './campaign/soak.ts';
import { missingStrace, sweepCampaign } from './campaign/sweep.ts';

const skip = existsSync(BUILT_CLI) ? (missingPrograms({ openssl: 'openssl' }) ?? false) : 'the relay is not built: npm run prepare';
const SEED = 7;
const progress = (): void => undefined;
const over = (): boolean => false;

function assertKept(t: TestContext, figures: Figures): void {
  const summary = summarize(figures);
  assert.deepEqual(summary.faults, []);
  assert.ok(summary.messages > 0 && summary.opened > 0, 'some mail was taken, and looked into');
  assert.deepEqual({ lost: summary.lost, damaged: summary.damaged, inClear: summary.inClear }, { lost: 0, damaged: 0, inClear: 0 });
  t.diagnostic(lineOf(summary));
}

test('kill -9 anywhere, at random moments under load: the sets are equal and nothing is in clear', { skip }, async (t) => {
  assertKept(t, await killCampaign(t, { cycles: 5, sites: 1, seed: SEED, over, progress }));
});

test(
  'kill -9 anywhere, at a sync: every 250 is kept; fsync EIO: 451, and never a 250 that is lost',
  { skip: skip || missingStrace },
  async (t) => {
    const only = ['killed at fsync', 'EIO from fsync'];
    assertKept(t, await sweepCampaign(t, { step: 9, lives: 2, only, over, progress }));
  },
);

test('power cut: every 250 is in a copy of the disk, and opens', { skip: skip || missingPower }, async (t) => {
  assertKept(t, await powerCampaign(t, { copies: 2, seed: SEED, over, progress }));
});

test(
  'power cut: a relay whose syncs do nothing loses mail, and the copies show it',
  { skip: skip || missingPower || missingStrace },
  async (t) => {
    const idle = ['fsync', 'fdatasync'].flatMap((call) => ['-e', `inject=${call}:retval=0`]);
    const prefix = ['strace', '-f', '--seccomp-bpf', '-qq', '-o', '/dev/null', '-e', 'trace=fsync,fdatasync', ...idle];
    const { faults } = summarize(await powerCampaign(t, { copies: 3, seed: SEED, over, progress, prefix }));
    assert.ok(
      faults.some((fault) => /lost|does not start/.test(fault)),
      faults.join('; '),
    );
  },
);

test('soak: every message comes, and is counted', { skip }, async (t) => {
  assertKept(t, await soakCampaign(t, { messages: 150, seed: SEED, progress }));
});

test('the slope that a soak is judged by is that of a line', () => {
  assert.equal(slopeOf([0, 1, 2, 3], [5, 7, 9, 11]), 2);
  assert.equal(slopeOf([0, 1, 2], [4, 4, 4]), 0);
});
