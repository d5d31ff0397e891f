/** Answers about revocation, by openssl and by forgers: what is believed, and what is not (A19, A23). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import * as fc from 'fast-check';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { octetString, sequence, tlv } from '../../../src/certificates/encode.ts';
import { certIdOf, ocspRequest } from '../../../src/certificates/revocation/ocsp-request.ts';
import { judgeOcspResponse } from '../../../src/certificates/revocation/ocsp-response.ts';
import type { OcspVerdict } from '../../../src/certificates/revocation/ocsp-response.ts';
import { caExtensions, make, noOpenssl, rsa, run, temporaryFolder } from '../openssl.ts';
import { craftAnswer, extension, nonce, notKnown, refusal, revoked, single } from './craft.ts';
import type { Answer } from './craft.ts';
import { answerOf, read, writeIndex } from './responder.ts';

const HOUR = 3_600_000;
const NOW = Date.now();
const responds = ['extendedKeyUsage=critical,OCSPSigning', 'keyUsage=critical,digitalSignature', 'noCheck=ignored'];

const reasonOf = (verdict: OcspVerdict): string => (verdict.kind === 'revoked' ? verdict.reason : verdict.kind);

describe('an OCSP answer', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const certs = new Map<string, Certificate>();
  const of = (name: string): Certificate => {
    const certificate = certs.get(name);
    assert.ok(certificate, name);
    return certificate;
  };
  const judge = (octets: Buffer, name = 'anna', now = Date.now()): OcspVerdict =>
    judgeOcspResponse(octets, { id: certIdOf(of(name), of('root')), issuer: of('root'), now });
  const why = (octets: Buffer, name = 'anna', now = Date.now()): string => {
    const verdict = judge(octets, name, now);
    return verdict.kind === 'unknown' ? verdict.why : verdict.kind;
  };
  const craft = (wish: Partial<Answer> = {}, name = 'root'): Buffer =>
    craftAnswer({
      folder,
      signer: of(name),
      name,
      producedAt: NOW,
      singles: [single({ id: certIdOf(of('anna'), of('root')), from: NOW - HOUR, to: NOW + HOUR })],
      certificates: name === 'root' ? [] : [of(name)],
      ...wish,
    });
  const one = (wish: Partial<Parameters<typeof single>[0]>): Buffer =>
    craft({ singles: [single({ id: certIdOf(of('anna'), of('root')), from: NOW - HOUR, to: NOW + HOUR, ...wish })] });

  before(() => {
    make(folder, { name: 'root', extensions: caExtensions });
    make(folder, { name: 'foreign', subject: '/CN=root', extensions: caExtensions });
    make(folder, { name: 'other', extensions: caExtensions });
    for (const name of ['anna', 'ben', 'cleo', 'nobody']) make(folder, { name, issuer: 'root' });
    make(folder, { name: 'responder', issuer: 'root', extensions: responds });
    make(folder, { name: 'strong', issuer: 'root', key: rsa(2048), extensions: responds });
    make(folder, { name: 'brief', issuer: 'root', extensions: ['extendedKeyUsage=OCSPSigning'] });
    make(folder, { name: 'plain', issuer: 'root', extensions: ['keyUsage=digitalSignature'] });
    make(folder, { name: 'all', issuer: 'root', extensions: ['extendedKeyUsage=anyExtendedKeyUsage'] });
    make(folder, { name: 'unsigning', issuer: 'root', extensions: ['extendedKeyUsage=OCSPSigning', 'keyUsage=keyEncipherment'] });
    make(folder, { name: 'odd', issuer: 'root', extensions: ['extendedKeyUsage=OCSPSigning', '1.2.3.4=critical,DER:0500'] });
    make(folder, { name: 'late', issuer: 'root', to: '20210101000000Z', extensions: responds });
    make(folder, { name: 'strange', issuer: 'other', extensions: responds });
    make(folder, { name: 'namesake', issuer: 'foreign', extensions: responds });
    for (const name of ['root', 'other', 'foreign', 'anna', 'ben', 'cleo', 'nobody', 'responder', 'strong', 'brief', 'plain', 'all'])
      certs.set(name, read(folder, name));
    for (const name of ['unsigning', 'odd', 'late', 'strange', 'namesake']) certs.set(name, read(folder, name));
    writeIndex(folder, 'index', [
      { certificate: of('anna'), status: 'V' },
      { certificate: of('ben'), status: 'R 260501120000Z,keyCompromise' },
      { certificate: of('cleo'), status: 'R 260502120000Z' },
    ]);
  });

  const byOpenssl = (name: string, signer: string, ...more: string[]): Buffer =>
    answerOf(folder, of(name), of('root'), { ca: 'root', signer, index: 'index', more: ['-ndays', '7', ...more] });

  for (const [signer, whose] of [
    ['root', 'the CA itself'],
    ['responder', 'a responder that the CA made one'],
    ['strong', 'a responder with an RSA key'],
  ] as const) {
    test(`by openssl and ${whose} is taken: good, revoked, not known`, () => {
      const fine = judge(byOpenssl('anna', signer));
      assert.equal(fine.kind, 'good');
      assert.ok(fine.until > NOW + 6 * 24 * HOUR && fine.until < NOW + 8 * 24 * HOUR);
      const lost = judge(byOpenssl('ben', signer), 'ben');
      assert.deepEqual(
        { ...lost, since: 0, until: 0, signer: undefined },
        {
          kind: 'revoked',
          since: 0,
          until: 0,
          signer: undefined,
          reason: 'keyCompromise',
          at: new Date('2026-05-01T12:00:00Z'),
        },
      );
      assert.equal(reasonOf(judge(byOpenssl('cleo', signer), 'cleo')), 'unspecified');
      assert.equal(why(byOpenssl('nobody', signer), 'nobody'), 'it does not know the certificate');
      assert.equal(judge(byOpenssl('anna', signer, '-resp_key_id')).kind, 'good');
    });
  }

  test('openssl reads our request as one for this certificate', () => {
    writeFileSync(join(folder, 'asked.der'), ocspRequest(certIdOf(of('anna'), of('root'))));
    const text = run('openssl', ['ocsp', '-reqin', 'asked.der', '-req_text', '-noverify'], folder).toLowerCase();
    assert.match(text, new RegExp(`serial number: 0*${of('anna').serial}`));
    assert.match(text, /hash algorithm: sha1/);
  });

  test('A23: who is not authorised is refused, each with its reason', () => {
    const refused: Readonly<Record<string, RegExp>> = {
      plain: /lacks OCSPSigning/,
      all: /lacks OCSPSigning/,
      unsigning: /may not sign \(key usage\)/,
      odd: /critical extension that is not understood/,
      late: /has a certificate that expired on 2021-01-01/,
      strange: /another CA issued its certificate/,
      namesake: /its certificate is not signed by it/,
    };
    for (const [name, reason] of Object.entries(refused)) assert.match(why(craft({}, name)), reason, name);
    assert.match(why(craft({}, 'other')), /another CA issued its certificate/);
    assert.match(why(craft({ certificates: [] }, 'foreign')), /not by the issuer/);
    assert.match(why(craft({ byName: true, certificates: [] }, 'foreign')), /not by the issuer/, "the CA's name and another key");
    assert.match(why(craft({ signer: of('root'), name: 'other' })), /not by the issuer/, "the CA's key hash and another key");
    assert.match(why(craft({ certificates: [of('responder')], signer: of('responder'), name: 'anna' })), /not by the issuer/);
  });

  test('A19: no signature is verified with a key that the issuer does not vouch for', () => {
    // Its signature is wrong too, which nobody gets to see.
    assert.match(why(craft({ name: 'anna' }, 'strange')), /another CA issued its certificate/);
    assert.match(why(craft({ name: 'anna' }, 'plain')), /lacks OCSPSigning/);
    assert.equal(why(craft({ certificates: [of('foreign'), of('responder')] }, 'responder')), 'good');
  });

  test('A23: SHA-1 is no signature, whoever made it', () => {
    assert.match(why(byOpenssl('anna', 'strong', '-rmd', 'sha1')), /is signed with .*, which is not taken/);
    assert.match(why(byOpenssl('anna', 'responder', '-rmd', 'sha1')), /is signed with .*, which is not taken/);
  });

  test('A23: what was said of another certificate says nothing of this one', () => {
    const answer = byOpenssl('anna', 'responder');
    assert.equal(why(answer), 'good');
    assert.equal(why(answer, 'ben'), 'its answer is for another certificate');
    const sameSerial = { ...certIdOf(of('anna'), of('root')), keyHash: certIdOf(of('anna'), of('other')).keyHash };
    assert.equal(why(one({ id: sameSerial })), 'its answer is for another certificate');
    const id = certIdOf(of('anna'), of('root'));
    const twice = [single({ id, from: NOW, to: NOW + HOUR }), single({ id, from: NOW, to: NOW + HOUR, status: revoked(NOW, 1) })];
    assert.equal(why(craft({ singles: twice })), 'its answer speaks of the certificate twice');
    assert.equal(why(craft({ singles: [] })), 'its answer is for another certificate');
  });

  test('A23: stale, from the future, and by a clock that is five minutes off', () => {
    const answer = craft();
    assert.equal(why(answer), 'good');
    assert.match(why(answer, 'anna', NOW + 2 * HOUR), /^its answer is stale, it was good until 20\d\d-\d\d-\d\d \d\d:\d\d UTC$/);
    assert.match(why(answer, 'anna', NOW - 2 * HOUR), /from the future/);
    assert.equal(why(answer, 'anna', NOW + HOUR + 4 * 60_000), 'good');
    assert.equal(why(answer, 'anna', NOW - HOUR - 4 * 60_000), 'its answer is from the future: which clock is wrong?', 'producedAt');
    assert.match(why(byOpenssl('anna', 'root'), 'anna', NOW + 8 * 24 * HOUR), /stale/);
  });

  test('revoked stays so though the word of it has ended; a hold does not', () => {
    const late = NOW + 30 * 24 * HOUR;
    assert.equal(reasonOf(judge(one({ status: revoked(NOW, 1) }), 'anna', late)), 'keyCompromise');
    assert.match(why(one({ status: revoked(NOW, 6) }), 'anna', late), /stale/);
    assert.match(why(one({ status: notKnown }), 'anna', late), /stale/);
  });

  test('without nextUpdate it is taken for a day and asked for anew within the hour', () => {
    const id = certIdOf(of('anna'), of('root'));
    const undated = craft({ singles: [single({ id, from: NOW })] });
    const verdict = judge(undated, 'anna', NOW);
    assert.equal(verdict.kind, 'good');
    assert.equal(Math.round((verdict.until - NOW) / HOUR), 1);
    assert.match(why(undated, 'anna', NOW + 25 * HOUR), /stale/);
  });

  test('by a responder whose own revocation nobody can tell, it is asked for anew within the hour', () => {
    const id = certIdOf(of('anna'), of('root'));
    const singles = [single({ id, from: NOW, to: NOW + 100 * HOUR })];
    for (const [name, hours] of [
      ['brief', 1],
      ['responder', 100],
      ['root', 100],
    ] as const) {
      const verdict = judge(craft({ singles }, name), 'anna', NOW);
      assert.equal(verdict.kind, 'good', name);
      assert.equal(Math.round((verdict.until - NOW) / HOUR), hours, name);
    }
  });

  test('what is on hold is revoked; what the responder does not know is unknown', () => {
    assert.equal(reasonOf(judge(one({ status: revoked(NOW, 6) }))), 'certificateHold');
    assert.equal(why(one({ status: notKnown })), 'it does not know the certificate');
  });

  test('a nonce that we did not send, and critical extensions, are refused', () => {
    assert.match(why(craft({ extensions: [nonce] })), /somebody else \(nonce\)/);
    assert.match(why(craft({ extensions: [extension('1.2.3.4', sequence(), true)] })), /critical extension/);
    assert.match(why(one({ extensions: [extension('1.2.3.4', sequence(), true)] })), /critical extension/);
    assert.equal(why(one({ extensions: [extension('1.2.3.4', sequence())] })), 'good');
    assert.equal(why(craft({ extensions: [extension('1.2.3.4', sequence())] })), 'good');
  });

  test('a refusal is said in words', () => {
    for (const [status, words] of [
      [1, /malformed/],
      [2, /internal error/],
      [3, /later/],
      [5, /signed requests/],
      [6, /does not answer/],
    ] as const)
      assert.match(why(refusal(status)), words);
    for (const status of [0, 4, 7, 255]) assert.equal(why(refusal(status)), 'its answer is malformed', `${status}`);
  });

  test('A23: no changed octet, no cut and no addition leaves an answer good', () => {
    for (const [answer, name] of [
      [byOpenssl('anna', 'responder'), 'responder'],
      [byOpenssl('anna', 'root', '-resp_no_certs'), 'root'],
    ] as const) {
      assert.equal(judge(answer).kind, 'good');
      fc.assert(
        fc.property(fc.nat(answer.length - 1), fc.integer({ min: 1, max: 255 }), (place, change) => {
          const changed = Buffer.from(answer);
          changed[place] = (changed[place] ?? 0) ^ change;
          assert.equal(judge(changed).kind, 'unknown', `${name}: octet ${place} ^ ${change}`);
        }),
        { numRuns: 1500 },
      );
      fc.assert(fc.property(fc.nat(answer.length - 1), (length) => judge(answer.subarray(0, length)).kind === 'unknown'));
      fc.assert(
        fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (more) => judge(Buffer.concat([answer, more])).kind === 'unknown'),
      );
    }
  });

  test('octets at random are no answer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (octets) => judge(Buffer.from(octets)).kind === 'unknown'),
      { numRuns: 500 },
    );
  });

  test('A19: bombs as answers are no answer, within 100 ms', () => {
    let deep: Buffer = Buffer.alloc(0);
    for (let level = 0; level < 5000; level++) deep = sequence(deep);
    const bombs = {
      deep,
      wide: sequence(...Array.from({ length: 20_000 }, () => Buffer.from('0500', 'hex'))),
      long: Buffer.from('3084ffffffff', 'hex'),
      identifier: sequence(tlv(6, Buffer.alloc(60_000, 0x81))),
      large: octetString(Buffer.alloc(10 * 1024 * 1024)),
      certificates: craft({ certificates: Array.from({ length: 40 }, () => of('other')), signer: of('other'), name: 'other' }),
    };
    for (const [name, octets] of Object.entries(bombs)) {
      const start = performance.now();
      assert.equal(judge(octets).kind, 'unknown', name);
      assert.ok(performance.now() - start < 1000, name);
    }
  });

  test('openssl verifies what we believe, and not what we do not', () => {
    const cases = {
      ours: craft({}, 'responder'),
      theirs: byOpenssl('anna', 'responder'),
      strange: craft({}, 'strange'),
      plain: craft({}, 'plain'),
      namesake: craft({}, 'namesake'),
      late: craft({}, 'late'),
      stale: one({ from: NOW - 3 * HOUR, to: NOW - 2 * HOUR }),
      future: one({ from: NOW + 2 * HOUR, to: NOW + 3 * HOUR }),
      another: byOpenssl('ben', 'responder'),
    };
    for (const [name, octets] of Object.entries(cases)) {
      writeFileSync(join(folder, 'answer.der'), octets);
      const args = ['ocsp', '-respin', 'answer.der', '-issuer', 'root.pem', '-cert', 'anna.pem', '-CAfile', 'root.pem', '-no_nonce'];
      const done = spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' });
      const fine = /verify OK/.test(done.stderr) && /anna\.pem: good/.test(done.stdout) && !/Status times invalid/.test(done.stderr);
      assert.equal(judge(octets).kind === 'good', fine, `${name}: ${done.stdout}${done.stderr}`);
    }
  });
});
