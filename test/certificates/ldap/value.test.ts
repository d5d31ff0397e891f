/** The forms that certificates have in directories. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { explicit, oid, sequence } from '../../../src/certificates/encode.ts';
import { exchangeCertificates } from '../../../src/certificates/ldap/exchange.ts';
import { AnswerRefused } from '../../../src/certificates/ldap/fault.ts';
import { makeReading, readValue } from '../../../src/certificates/ldap/value.ts';
import { caExtensions, make, noOpenssl, run } from '../openssl.ts';
import { authority, certificateFor, outlookValue, pkcs7, setting } from './people.ts';

/** PKCS#7 around so many empty SEQUENCEs. */
const certsOnly = (parts: number): Buffer =>
  sequence(oid('1.2.840.113549.1.7.2'), explicit(0, sequence(explicit(0, Buffer.from('3000'.repeat(parts), 'hex')))));
const anna = certificateFor({ address: 'anna@clinic.example' });
const signing = certificateFor({ address: 'anna@clinic.example', signingOnly: true });
const base64 = (bytes: Buffer): string => bytes.toString('base64').replace(/.{76}/g, '$&\r\n');
const read = async (value: Buffer | string): Promise<{ readonly found: readonly string[]; readonly fault: string | undefined }> => {
  const { certificates, fault } = await readValue(Buffer.from(value), makeReading(new AbortController().signal));
  return { found: certificates.map(({ fingerprint }) => fingerprint), fault };
};

const forms: Readonly<Record<string, Buffer | string>> = {
  DER: anna.der,
  'PKCS#7 without a signer': pkcs7(anna),
  'PKCS#7 with its CA': pkcs7(anna, authority),
  PEM: `-----BEGIN CERTIFICATE-----\n${base64(anna.der)}\n-----END CERTIFICATE-----\n`,
  'base64 in lines': base64(anna.der),
  'base64 in one line': anna.der.toString('base64'),
  'a MIME entity': `Content-Type: application/pkcs7-mime; smime-type=certs-only; name=smime.p7c\r\nContent-Transfer-Encoding: base64\r\n\r\n${base64(pkcs7(anna))}\r\n`,
  'a MIME entity with bare line feeds': `MIME-Version: 1.0\nContent-Type: application/x-pkcs7-mime\nContent-Transfer-Encoding: base64\n\n${base64(pkcs7(anna)).replaceAll('\r', '')}\n`,
  'what Outlook publishes': outlookValue(anna, signing),
};

describe('a value of a certificate attribute', () => {
  for (const [form, value] of Object.entries(forms)) {
    test(`${form} gives its certificate`, async () => {
      const { found, fault } = await read(value);
      assert.equal(found[0], anna.fingerprint);
      assert.equal(fault, undefined);
    });
  }

  test('a clear-signed mail by openssl, in MIME and in DER, gives its signer', { skip: noOpenssl }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'sealpost-ldap-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    make(folder, { name: 'ca', extensions: caExtensions });
    const der = make(folder, { name: 'otto', issuer: 'ca' });
    writeFileSync(join(folder, 'mail'), 'some text\r\n\r\n--\r\nOtto\r\n');
    const sign = (...more: string[]): Buffer => {
      run('openssl', ['smime', '-sign', '-in', 'mail', '-signer', 'otto.pem', '-inkey', 'otto.key', '-out', 'signed', ...more], folder);
      return readFileSync(join(folder, 'signed'));
    };
    const otto = createHash('sha256').update(der).digest('hex');
    for (const form of [[], ['-outform', 'DER'], ['-outform', 'DER', '-nodetach'], ['-outform', 'PEM']]) {
      const { found, fault } = await read(sign(...form));
      assert.deepEqual([found, fault], [[otto], undefined], form.join(' '));
    }
  });

  test('the certificate for signing in it is not the one to encrypt to', async () => {
    assert.deepEqual((await read(outlookValue(anna, signing))).found, [anna.fingerprint]);
    const alone = Buffer.concat([setting(1, Buffer.alloc(4)), setting(8, signing.der)]);
    assert.deepEqual(await read(alone), { found: [], fault: 'Outlook put no certificate to encrypt to into it' });
  });

  test('what is none is a fault that says why', async () => {
    assert.match((await read('')).fault ?? '', /empty/);
    assert.match((await read('anna')).fault ?? '', /no known form/);
    assert.match((await read(anna.der.subarray(0, 100))).fault ?? '', /./);
    assert.match((await read(outlookValue(anna, signing).subarray(0, 300))).fault ?? '', /do not fit their lengths/);
    assert.match((await read(Buffer.concat([setting(1, Buffer.alloc(4)), Buffer.from([3, 0, 0, 0])]))).fault ?? '', /do not fit/);
    assert.match((await read(Buffer.concat([setting(1, Buffer.alloc(4)), setting(3, Buffer.from('none'))]))).fault ?? '', /./);
  });

  test('A19: any octets are read or refused, and the reading ends', async () => {
    const value = outlookValue(anna, signing);
    const octets = fc.oneof(
      fc.uint8Array({ maxLength: 400 }),
      // Outlook's form with octets changed.
      fc.array(fc.tuple(fc.nat(120), fc.integer({ min: 0, max: 255 })), { maxLength: 5 }).map((changes) => {
        const bytes = Buffer.from(value);
        for (const [at, octet] of changes) bytes[at] = octet;
        return bytes;
      }),
      fc.string({ maxLength: 400 }).map((text) => Buffer.from(text)),
    );
    await fc.assert(
      fc.asyncProperty(octets, async (bytes) => {
        const { certificates, fault } = await readValue(Buffer.from(bytes), makeReading(new AbortController().signal));
        return certificates.length > 0 || fault !== undefined;
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const found = exchangeCertificates(Buffer.from(bytes)) ?? [];
        return found.every(({ length }) => length <= bytes.length);
      }),
    );
  });

  /** What a stranger can write into an entry of their own; `fault` of what is refused, else of what is remarked. */
  const bombs: Readonly<Record<string, Buffer>> = {
    'a megabyte of BEGIN': Buffer.from('-----BEGIN CERTIFICATE-----\n'.repeat(36_000)),
    'a megabyte of BEGIN and one END': Buffer.from(`${'-----BEGIN CERTIFICATE-----\n'.repeat(36_000)}-----END CERTIFICATE-----\n`),
    'a megabyte of private keys': Buffer.from('-----BEGIN PRIVATE KEY-----\n'.repeat(36_000)),
    'a PKCS#7 of empty parts': certsOnly(199_000),
    'a PKCS#7 of too many parts': certsOnly(400_000),
    'settings of Outlook, all of them empty certificates': Buffer.concat([
      setting(1, Buffer.alloc(4)),
      Buffer.from('03000400'.repeat(250_000), 'hex'),
    ]),
    'base64 in two hundred blocks, each of empty parts': Buffer.from(`${certsOnly(2000).toString('base64')}\n\n`.repeat(190)),
  };
  for (const [name, value] of Object.entries(bombs)) {
    test(`A19: ${name} is given up soon`, async () => {
      const begun = process.cpuUsage();
      await readValue(value, makeReading(new AbortController().signal)).catch((fault: unknown) =>
        assert.ok(fault instanceof AnswerRefused),
      );
      const { user, system } = process.cpuUsage(begun);
      assert.ok(user + system < 1_000_000, `${user + system} us`);
    });
  }

  test('the reading ends where nobody waits for it', async () => {
    const gone = new AbortController();
    const reading = makeReading(gone.signal);
    gone.abort(new Error('gone'));
    await assert.rejects(readValue(anna.der, reading), /gone/);
    const going = new AbortController();
    let parts = 0;
    const counted = {
      part: async (): Promise<void> => {
        if (++parts === 3) going.abort(new Error('gone'));
        going.signal.throwIfAborted();
      },
    };
    await assert.rejects(readValue(Buffer.from(forms['PEM']?.toString().repeat(50) ?? ''), counted), /gone/);
    assert.equal(parts, 3);
  });

  test('A19: a megabyte of text costs no time', async () => {
    const begun = performance.now();
    for (const text of [
      '\n'.repeat(1_000_000),
      ' \n'.repeat(500_000),
      '\n--'.repeat(330_000),
      `${'M'.repeat(999_999)}!`,
      'MI\n\n'.repeat(250_000),
    ]) {
      assert.deepEqual((await read(text)).found, []);
    }
    assert.ok(performance.now() - begun < 3000);
  });
});
