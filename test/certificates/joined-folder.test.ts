/** The CA certificates that the relay took itself, beside the operator's: their folder may never have been, and is not lost unnoticed (P5). */
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { makePathFinder } from '../../src/certificates/anchors.ts';
import { makeCertificateFolder } from '../../src/certificates/folder.ts';
import { joinFolders, takenIntermediates } from '../../src/certificates/joined-folder.ts';
import { certificatePem } from '../../src/certificates/pem.ts';
import { makeOwnFolder } from '../../src/upkeep/own-certificates.ts';
import { mailboxOf, temporaryFolder } from './openssl.ts';
import { root } from './pki.ts';

const house = root('House');
const below = house.sub('Below');
const vera = below.leaf('vera@clinic.example');
const log = pino({ level: 'silent' });

function openSite(t: TestContext, made: boolean) {
  const base = temporaryFolder();
  for (const name of ['anchors', 'intermediates']) mkdirSync(join(base, name));
  writeFileSync(join(base, 'anchors/house.pem'), certificatePem(house.certificate));
  const open = (path: string) => makeCertificateFolder({ path, log, now: Date.now });
  const [anchors, taken] = [open(join(base, 'anchors')), takenIntermediates(join(base, 'data'))];
  const intermediates = joinFolders(open(join(base, 'intermediates')), open(taken), { made });
  t.after(() => {
    for (const folder of [anchors, intermediates]) folder.close();
  });
  const finder = makePathFinder({ anchors, sets: [], intermediates, now: Date.now });
  return {
    base,
    taken,
    judge: async (): Promise<string> => {
      await intermediates.refresh();
      return (await finder.find(vera, mailboxOf('vera@clinic.example'))).kind;
    },
  };
}

test('before a relay has run there is none; once it was seen its absence is a loss', async (t) => {
  const { taken, judge } = openSite(t, false);
  assert.equal(await judge(), 'untrusted');
  mkdirSync(taken, { recursive: true });
  writeFileSync(join(taken, 'below.pem'), certificatePem(below.certificate));
  assert.equal(await judge(), 'trusted');
  renameSync(taken, `${taken}-away`);
  assert.equal(await judge(), 'unavailable');
  renameSync(`${taken}-away`, taken);
  assert.equal(await judge(), 'trusted');
});

test('the relay makes it at its start, and nothing is absent then that stands there', async (t) => {
  const { base, taken, judge } = openSite(t, true);
  await makeOwnFolder({ queue: { sqlite: join(base, 'data/queue.sqlite'), keptBounced: 0 } }, pino({ level: 'silent' }));
  assert.equal(await judge(), 'untrusted');
  renameSync(taken, `${taken}-away`);
  assert.equal(await judge(), 'unavailable');
});
