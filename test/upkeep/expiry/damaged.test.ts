/** The daily round where the disk changed one record of the in-house CA. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ISSUED } from '../../../src/certificates/authority/ledger.ts';
import { makeSetting } from './setting.ts';

test('a damaged record ends no step of the round, and is logged by its serial number (P10)', async (t) => {
  const setting = await makeSetting(t, { people: { anna: { by: 'in-house', ends: 100 } } });
  await setting.store.records.change([{ kind: ISSUED, key: '7f01', value: '{' }], []);
  const { round } = setting.open();
  await round.turn();
  assert.deepEqual(round.last()?.failed, []);
  const told = setting.logged.filter(({ msg }) => msg === 'the ledger of the in-house CA has damaged records');
  assert.deepEqual(
    told.map(({ serials }) => serials),
    [['7f01']],
  );
});
