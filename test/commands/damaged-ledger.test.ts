/** One record of the in-house CA that the disk changed: the CA goes on with all others, says which it is, and can revoke it. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { namedIn } from '../../src/certificates/authority/crl.ts';
import { ISSUED } from '../../src/certificates/authority/ledger.ts';
import { type IssuingSite, makeIssuingSite } from './issuing-site.ts';
import { sealpost } from './transcript.ts';

const address = (name: string): string => `${name}@clinic.example`;
const LIST = 'data/own-crls/in-house-issuing.crl';
const list = (site: IssuingSite): Record<string, string> =>
  Object.fromEntries(namedIn(readFileSync(site.at(LIST))).map(({ serial, reason }) => [serial, reason]));

/** As SQL, so that nothing of ours mends it on the way. */
function change(site: IssuingSite, serial: string, to: string): void {
  const db = new DatabaseSync(site.at('data/queue.sqlite'));
  db.prepare(`UPDATE records SET value = ${to} WHERE kind = ? AND key = ?`).run(ISSUED, serial);
  db.close();
}

test('a damaged record is told by its serial number, keeps nobody from the others, and is revoked by it', async (t) => {
  const site = await makeIssuingSite(t);
  const serials = new Map<string, string>();
  for (const name of ['anna', 'ben', 'carla']) {
    const { error, out } = await site.certs(['issue', address(name), '--key', 'ec', '--json']);
    assert.equal(error, undefined);
    serials.set(name, JSON.parse(out).made.serial);
  }
  const [anna = '', ben = '', carla = ''] = serials.values();
  await site.certs(['revoke', address('anna'), '--reason', 'keyCompromise']);
  assert.deepEqual(list(site), { [anna]: 'keyCompromise' });

  // A digit of the serial number in the revoked one; an octet in front of the other.
  change(site, anna, `replace(value, '"serial":"${anna}"', '"serial":"${anna.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'))}"')`);
  change(site, ben, `'x' || value`);
  const revoked = await site.certs(['revoke', address('carla'), '--reason', 'superseded']);
  assert.equal(revoked.error, undefined);
  for (const serial of [anna, ben]) assert.ok(revoked.err.includes(serial));
  assert.deepEqual(list(site), { [anna]: 'keyCompromise', [carla]: 'superseded' }, 'the list keeps what it named');
  const issued = await site.certs(['issue', address('dora'), '--key', 'ec']);
  assert.equal(issued.error, undefined);
  assert.ok(issued.err.includes(ben));
  const { exit, stdout } = await sealpost(site.dir, ['check']);
  assert.equal(exit, 1);
  assert.match(stdout, new RegExp(`damaged records: serial (?:${anna}, ${ben}|${ben}, ${anna})\n`));

  const told = await site.certs(['revoke', ben, '--reason', 'affiliationChanged']);
  assert.equal(told.error, undefined);
  assert.equal(list(site)[ben], 'affiliationChanged');
  assert.ok(!(await site.certs(['revoke', address('carla'), '--reason', 'superseded'])).err.includes(ben), 'it is whole again');

  rmSync(site.at(LIST));
  assert.equal((await site.certs(['crl'])).error, undefined);
  assert.deepEqual(list(site), { [anna]: 'unspecified', [ben]: 'affiliationChanged', [carla]: 'superseded' }, 'no entry is lost silently');
});
