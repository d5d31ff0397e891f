/** Which certificate a signed mail gives: A22, keys for two uses, and CAs that come with the mail. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { judgeHarvest, type Harvest } from '../../../src/certificates/harvest/harvest.ts';
import { buildPath, makeCertificateSet } from '../../../src/certificates/path.ts';
import type { Trust } from '../../../src/certificates/trust.ts';
import { mailboxOf } from '../openssl.ts';
import { root } from '../pki.ts';
import {
  capabilities,
  DIGITAL_SIGNATURE,
  KEY_AGREEMENT,
  keyPreference,
  type Person,
  person,
  signedBy,
  signedData,
  signerInfo,
} from './sign.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const TEXT = Buffer.from('Content-Type: text/plain\r\n\r\nhello\r\n');
const ANNA = 'anna@clinic.example';
const house = root('House');
const stranger = root('Stranger');
const anna = person(house, ANNA);

/** Trust in `house` alone, with whatever the mail brings between. */
const trustWith = (between: readonly Certificate[]): Trust => ({
  async judge(certificate) {
    const verdict = buildPath(certificate, makeCertificateSet([house.certificate]), makeCertificateSet(between), NOW);
    return verdict.kind === 'trusted' ? { ...verdict, revocation: 'off' } : verdict;
  },
});

const judge = (signature: Buffer, from = ANNA, trust = trustWith, content: Buffer | undefined = TEXT): Promise<Harvest> =>
  judgeHarvest({ from: mailboxOf(from), content, signature }, { trustWith: trust, now: () => NOW }, AbortSignal.timeout(10_000));

async function reasonOf(signature: Buffer, from = ANNA): Promise<string> {
  const harvest = await judge(signature, from);
  return harvest.kind === 'refused' ? harvest.reason : harvest.kind;
}

async function foundIn(signature: Buffer): Promise<Extract<Harvest, { kind: 'found' }>> {
  const harvest = await judge(signature);
  assert.ok(harvest.kind === 'found', JSON.stringify(harvest));
  return harvest;
}

const sameAs = (harvest: { readonly certificate: Certificate }, { certificate }: Person): void =>
  assert.equal(harvest.certificate.fingerprint, certificate.fingerprint);

describe('the certificate to keep', () => {
  test("the signer's own, with what the signer says it can open", async () => {
    const harvest = await foundIn(signedBy(anna, TEXT, { more: [capabilities('2.16.840.1.101.3.4.1.46', '2.16.840.1.101.3.4.1.42')] }));
    sameAs(harvest, anna);
    assert.deepEqual(harvest.capabilities, ['2.16.840.1.101.3.4.1.46', '2.16.840.1.101.3.4.1.42']);
    assert.equal(harvest.path.at(-1)?.fingerprint, house.certificate.fingerprint);
  });
  const signing = person(house, ANNA, { usage: [DIGITAL_SIGNATURE] });
  const sealing = person(house, ANNA, { usage: [KEY_AGREEMENT] });
  test('the one beside it, where the signer has one key to sign and one to be sealed to', async () => {
    sameAs(await foundIn(signedBy(signing, TEXT, {}, [sealing.certificate])), sealing);
    assert.match(await reasonOf(signedBy(signing, TEXT)), /^no certificate in it can be sealed to: it is for signing only/);
  });
  test('the one that the signer asks for', async () => {
    sameAs(await foundIn(signedBy(anna, TEXT, { more: [keyPreference(sealing.certificate)] }, [sealing.certificate])), sealing);
    sameAs(await foundIn(signedBy(anna, TEXT, {}, [sealing.certificate])), anna);
  });
  test('A22 what the signer asks for is not replaced by what a forwarder put in its place', async () => {
    const more = [keyPreference(sealing.certificate), capabilities('2.16.840.1.101.3.4.1.46')];
    const older = person(house, ANNA, { usage: [KEY_AGREEMENT] });
    const swapped = signedBy(signing, TEXT, { more }, [older.certificate]);
    assert.equal(await reasonOf(swapped), 'the certificate that its signer asks for is not in it');
    const planted = person(stranger, ANNA, { usage: [KEY_AGREEMENT] });
    const beside = signedBy(signing, TEXT, { more: [keyPreference(planted.certificate)] }, [planted.certificate, older.certificate]);
    assert.match(await reasonOf(beside), /^no certificate in it can be sealed to: no path/);
  });
  test('what the signer can open is not said of a certificate that nothing in the signature names', async () => {
    const harvest = await foundIn(signedBy(signing, TEXT, { more: [capabilities('2.16.840.1.101.3.4.1.46')] }, [sealing.certificate]));
    sameAs(harvest, sealing);
    assert.deepEqual(harvest.capabilities, []);
  });
  test('A22 what the signer asks for must be from a trusted CA and name the address itself', async () => {
    for (const other of [person(stranger, ANNA), person(house, 'ben@clinic.example')])
      sameAs(await foundIn(signedBy(anna, TEXT, { more: [keyPreference(other.certificate)] }, [other.certificate])), anna);
    const planted = person(stranger, ANNA);
    assert.match(
      await reasonOf(signedBy(signing, TEXT, { more: [keyPreference(planted.certificate)] }, [planted.certificate])),
      /^no certificate in it can be sealed to: no path to an anchor.*; it is for signing only/,
    );
  });
  test('a CA between that came with the mail leads to the anchor, and is trusted no more than that', async () => {
    const below = house.sub('Below');
    const ben = person(below, ANNA);
    const harvest = await foundIn(signedBy(ben, TEXT, {}, [below.certificate]));
    assert.deepEqual(
      harvest.path.map(({ subject }) => subject),
      ['CN=anna', 'CN=Below', 'CN=House'],
    );
    assert.match(await reasonOf(signedBy(ben, TEXT)), /no path to an anchor/);
    assert.match(
      await reasonOf(signedBy(person(stranger, ANNA), TEXT, {}, [stranger.certificate])),
      /the issuer of CN=anna is not known: CN=Stranger/,
    );
  });
});

describe('refused', () => {
  test('A22 a signer whose certificate names another address', async () => {
    assert.equal(await reasonOf(signedBy(person(house, 'ben@clinic.example'), TEXT)), `no certificate of its signer names ${ANNA}`);
    assert.equal(await reasonOf(signedBy(anna, TEXT), 'ben@clinic.example'), 'no certificate of its signer names ben@clinic.example');
  });
  test("A22 another's certificate in the mail beside a signer of the right address counts for nobody", async () => {
    const ben = person(house, 'ben@clinic.example');
    assert.equal(await reasonOf(signedBy(ben, TEXT, {}, [anna.certificate])), `no certificate of its signer names ${ANNA}`);
  });
  test("A22 a stranger who calls themselves Anna cannot bring Anna's own certificate, nor choose among hers", async () => {
    const stranded = person(stranger, ANNA);
    assert.match(
      await reasonOf(signedBy(stranded, TEXT, { more: [keyPreference(anna.certificate)] }, [anna.certificate])),
      /^the certificate of its signer: no path to an anchor/,
    );
  });
  test('a certificate that ended, though the mail is older', async () => {
    const ended = person(house, ANNA, { to: new Date('2026-05-01') });
    assert.equal(await reasonOf(signedBy(ended, TEXT)), 'the certificate of its signer: it expired on 2026-05-01');
  });
  test('a signer whose key is not for signing', async () => {
    const sealing = person(house, ANNA, { usage: [KEY_AGREEMENT] });
    assert.match(await reasonOf(signedBy(sealing, TEXT)), /it is not for signing/);
  });
  test('one wrong signature among two', async () => {
    const signer = { certificate: anna.certificate, key: anna.keys.privateKey };
    const two = signedData({
      signers: [signerInfo(TEXT, signer), signerInfo(Buffer.from('another text'), signer)],
      bag: [anna.certificate.der],
    });
    assert.match(await reasonOf(two), /changed on its way/);
  });
});

test('P5: trust that cannot say is no refusal', async () => {
  const cause = new Error('a mount that is gone');
  const harvest = await judge(signedBy(anna, TEXT), ANNA, () => ({ judge: async () => ({ kind: 'unavailable', cause }) }));
  assert.deepEqual(harvest, { kind: 'unavailable', cause });
});
