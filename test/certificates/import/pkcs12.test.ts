/** Passwords that are tried at a PKCS#12, and what they may cost. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { pkcs12Certificates } from '../../../src/certificates/import/pkcs12.ts';
import { roundsOfFile } from '../../../src/certificates/pkcs12/pfx.ts';
import { make, noOpenssl, run, temporaryFolder } from '../openssl.ts';

describe('the certificates of a PKCS#12', { skip: noOpenssl }, () => {
  const made = temporaryFolder();
  let bytes = Buffer.alloc(0);
  const goOn = async (): Promise<boolean> => true;
  const wrong = Array.from({ length: 15 }, (_, number) => `guess ${number}`);

  before(() => {
    make(made, { name: 'anna' });
    const files = ['-inkey', 'anna.key', '-in', 'anna.pem', '-out', 'anna.p12'];
    run('openssl', ['pkcs12', '-export', ...files, '-iter', '1000', '-passout', 'pass:secret'], made);
    bytes = readFileSync(join(made, 'anna.p12'));
  });

  test('all passwords together may ask for so many rounds, and what is not tried for that is not called wrong', async () => {
    assert.equal((await pkcs12Certificates(bytes, [...wrong, 'secret'], { left: 17_000 }, goOn)).kind, 'read');
    assert.equal((await pkcs12Certificates(bytes, [...wrong, 'secret'], { left: 14_500 }, goOn)).kind, 'costly');
    const rounds = { left: 3500 };
    assert.equal((await pkcs12Certificates(bytes, wrong.slice(0, 2), rounds, goOn)).kind, 'locked');
    assert.equal((await pkcs12Certificates(bytes, ['secret'], rounds, goOn)).kind, 'costly', 'one that is typed counts too');
    assert.ok(roundsOfFile().left <= 6_000_000, 'a quarter of a minute');
  });

  test('others have their turn before each password, and may end it', async () => {
    let turns = 0;
    const thrice = async (): Promise<boolean> => ++turns < 3;
    assert.equal((await pkcs12Certificates(bytes, [...wrong, 'secret'], roundsOfFile(), thrice)).kind, 'locked');
    assert.equal(turns, 3);
  });
});
