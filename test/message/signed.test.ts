/** Which octets of a mail were signed, and by whom it says it is: where two readers could differ it is refused. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseContentType } from '../../src/message/content-type.ts';
import { MAX_SIGNED_MESSAGE, readSigned, type SignedVerdict } from '../../src/message/signed.ts';
import { mailOf } from '../certificates/harvest/sign.ts';

const PART = 'Content-Type: text/plain\r\n\r\nhello\r\n';
const SIGNATURE = Buffer.from('not looked at here');
const GOOD = mailOf(PART, SIGNATURE).toString('latin1');

const reading = (text: string | Buffer, chunk = 1000): Promise<SignedVerdict> => readSigned(inChunks(Buffer.from(text), chunk));

async function* inChunks(octets: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size);
}

async function reasonOf(text: string | Buffer): Promise<string> {
  const verdict = await reading(text);
  return verdict.kind === 'refused' ? verdict.reason : `taken as ${verdict.from.address}`;
}

const from = (field: string): string => GOOD.replace('From: anna@clinic.example\r\n', field);

describe('what was signed', () => {
  test('is the first part as it stands, without the line end in front of the delimiter', async () => {
    const verdict = await reading(GOOD);
    assert.ok(verdict.kind === 'signed');
    assert.equal(verdict.content?.toString(), PART);
    assert.deepEqual(verdict.signature, SIGNATURE);
    assert.equal(verdict.from.address, 'anna@clinic.example');
  });
  test('whatever stands in it, in whatever pieces it comes, with CRLF or bare LF', async () => {
    const line = fc.string({ unit: fc.constantFrom('a', '-', '--', ' ', ':', '=', '\t', 'b1', 'é'), maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 20 }), fc.integer({ min: 1, max: 200 }), fc.boolean(), async (lines, size, bare) => {
        fc.pre(lines.every((one) => !one.startsWith('--b1')));
        const part = `Content-Type: text/plain\r\n\r\n${lines.join('\r\n')}`;
        const mail = mailOf(part, SIGNATURE).toString('utf8');
        const verdict = await reading(bare ? mail.replaceAll('\r\n', '\n') : mail, size);
        assert.ok(verdict.kind === 'signed', JSON.stringify(verdict));
        assert.equal(verdict.content?.toString('utf8'), part);
      }),
    );
  });
  test('is within the signature where the mail is opaque', async () => {
    const head = 'From: anna@clinic.example\r\nContent-Transfer-Encoding: base64\r\nContent-Type: application/pkcs7-mime';
    for (const type of ['; smime-type=signed-data; name=smime.p7m', '']) {
      const verdict = await reading(`${head}${type}\r\n\r\n${SIGNATURE.toString('base64')}\r\n`);
      assert.deepEqual(verdict.kind === 'signed' && [verdict.content, verdict.signature], [undefined, SIGNATURE]);
    }
    assert.equal(await reasonOf(`${head}; smime-type=enveloped-data\r\n\r\nAAAA\r\n`), 'it is not signed but enveloped-data');
  });
});

describe('From names one mailbox', () => {
  const taken: readonly (readonly [string, string])[] = [
    ['From: <anna@clinic.example>\r\n', 'anna@clinic.example'],
    ['From: "Anna, of the clinic" <anna@clinic.example>\r\n', 'anna@clinic.example'],
    ['from : Anna\r\n <ANNA@clinic.example> (a comment, with <ben@clinic.example>)\r\n', 'ANNA@clinic.example'],
    ['From: =?utf-8?q?J=C3=BCrgen?= <anna@clinic.example>\r\n', 'anna@clinic.example'],
    // The name that is shown counts for nothing.
    ['From: "boss@clinic.example" <anna@clinic.example>\r\n', 'anna@clinic.example'],
    ['From: "<boss@clinic.example>" <anna@clinic.example>\r\n', 'anna@clinic.example'],
    ['From: "a b"@clinic.example\r\n', '"a b"@clinic.example'],
  ];
  for (const [field, address] of taken) test(field.trim(), async () => assert.equal(await reasonOf(from(field)), `taken as ${address}`));
  const refused: readonly (readonly [string, RegExp])[] = [
    ['', /^it has no From field$/],
    ['From: anna@clinic.example\r\nfrom: ben@clinic.example\r\n', /^it has 2 From fields$/],
    ['From: anna@clinic.example, ben@clinic.example\r\n', /names not exactly one mailbox/],
    ['From: Group: anna@clinic.example;\r\n', /names not exactly one mailbox/],
    ['From: <anna@clinic.example> <ben@clinic.example>\r\n', /names not exactly one mailbox/],
    ['From: <anna@clinic.example> ben@clinic.example\r\n', /names not exactly one mailbox/],
    ['From: <anna@clinic.example\r\n', /names not exactly one mailbox/],
    ['From: "anna <ben@clinic.example>\r\n', /names not exactly one mailbox/],
    ['From: <@clinic.example:anna@clinic.example>\r\n', /names no mail address/],
    ['From: =?utf-8?q?anna=40clinic.example?=\r\n', /names no mail address/],
    ['From: =?utf-8?q?anna?=@clinic.example\r\n', /names no mail address: it is encoded/],
    ['From: Anna\r\n', /names no mail address/],
    ['From:\r\n', /names no mail address/],
    ['From: anna@clinic.example\x00\r\n', /NUL/],
  ];
  for (const [field, reason] of refused) test(JSON.stringify(field), async () => assert.match(await reasonOf(from(field)), reason));
});

test('lines full of what a delimiter is made of are no work', async (t) => {
  const lines = Buffer.from(`x${'-'.repeat(997)}\r\n`.repeat(8000));
  const [head, tail = ''] = mailOf(PART, SIGNATURE, 'anna@clinic.example', '-').toString('latin1').split('hello');
  const mail = Buffer.concat([Buffer.from(head ?? ''), lines, Buffer.from(tail)]);
  const searches = t.mock.method(Buffer.prototype, 'indexOf');
  assert.equal((await reading(mail, 64 * 1024)).kind, 'signed');
  // Some for each chunk that is read; a stop for each hyphen would be eight million.
  assert.ok(searches.mock.callCount() < 100_000, `${searches.mock.callCount()} searches`);
});

test('P2: no reason repeats what the mail says of itself', async () => {
  const canary = 'x-canary-patient-text';
  const typed = (type: string): string => `From: a@b.example\r\nContent-Type: ${type}\r\n\r\nx\r\n`;
  const cases: readonly (readonly [string, RegExp])[] = [
    [GOOD.replace('application/pkcs7-signature"', `${canary} and more"`), /^it is not signed by S\/MIME but by something else$/],
    [typed(`text/${canary}`), /^it is not signed but something else$/],
    [typed(`multipart/${canary}; boundary=b`), /^it is not signed as a whole but another multipart, as mailing lists/],
    [typed(`application/pkcs7-mime; smime-type=${canary}`), /^it is not signed but something else$/],
  ];
  for (const [mail, reason] of cases) assert.match(await reasonOf(mail), reason);
});

describe('refused', () => {
  const replaced = (old: string, by: string): string => {
    assert.ok(GOOD.includes(old), old);
    return GOOD.replace(old, by);
  };
  const cases: readonly (readonly [string, () => string, RegExp])[] = [
    ['no signed mail', () => 'From: a@b.example\r\n\r\nhello\r\n', /^it is not signed but text\/plain$/],
    [
      'a signed part within another mail, as a mailing list makes it',
      () => `From: a@b.example\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n${GOOD}\r\n--x--\r\n`,
      /^it is not signed as a whole but multipart\/mixed, as mailing lists/,
    ],
    [
      'OpenPGP',
      () => replaced('application/pkcs7-signature"', 'application/pgp-signature"'),
      /not signed by S\/MIME but by application\/pgp-signature/,
    ],
    ['two Content-Type fields', () => replaced('MIME-Version: 1.0', 'Content-Type: text/plain'), /Content-Type cannot be read/],
    ['a parameter twice', () => replaced('micalg=sha-256', 'boundary="b2"'), /Content-Type cannot be read/],
    ['a boundary in pieces (RFC 2231)', () => replaced('boundary="b1"', 'boundary*0="b"; boundary*1="1"'), /boundary cannot be read/],
    ['a line that begins like the boundary', () => replaced('hello', '--b1x'), /like its boundary and goes on/],
    ['a third part', () => replaced('--b1--', '--b1\r\n\r\nmore\r\n--b1--'), /not exactly two parts/],
    ['one part', () => GOOD.replace(/--b1\r\nContent-Type: application[^]*(?=--b1--)/, ''), /not exactly two parts/],
    ['no end', () => replaced('--b1--', ''), /not exactly two parts/],
    [
      'parts that are closed too early',
      () => replaced('--b1\r\nContent-Type: application', '--b1--\r\nContent-Type: application'),
      /not closed as they should be/,
    ],
    ['encoded as a whole', () => replaced('MIME-Version: 1.0', 'Content-Transfer-Encoding: base64'), /encoded as a whole/],
    [
      'a second part of another type',
      () => replaced('Content-Type: application/pkcs7-signature', 'Content-Type: text/plain'),
      /no S\/MIME signature/,
    ],
    ['a signature that is no base64', () => replaced(SIGNATURE.toString('base64'), '!!!!'), /not in base64/],
    [
      'a signature that is not encoded',
      () => replaced('Content-Transfer-Encoding: base64', 'Content-Transfer-Encoding: binary'),
      /not in base64/,
    ],
  ];
  for (const [what, make, reason] of cases) test(what, async () => assert.match(await reasonOf(make()), reason));
  test('more than is held in memory', async () => {
    await assert.rejects(reading(Buffer.concat([Buffer.from(GOOD), Buffer.alloc(MAX_SIGNED_MESSAGE, 'a')]), 1 << 20), {
      code: 'message-too-big',
    });
  });
});

test('any octets end in a verdict', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(GOOD.length), fc.string({ unit: 'binary', maxLength: 20 }), fc.nat(40), async (at, text, cut) => {
      const verdict = await reading(GOOD.slice(0, at) + text + GOOD.slice(at + cut));
      assert.ok(verdict.kind === 'signed' || verdict.reason.length > 5);
    }),
    { numRuns: 500 },
  );
});

describe('Content-Type', () => {
  test('as it is written', () => {
    assert.deepEqual(parseContentType('Multipart/Signed ;\tBoundary = "a\\"b;c" ; micalg=sha-256;'), {
      type: 'multipart/signed',
      parameters: new Map([
        ['boundary', 'a"b;c'],
        ['micalg', 'sha-256'],
      ]),
    });
  });
  test('anything else is none', () => {
    for (const text of [
      '',
      'text',
      'text/',
      'text/plain x',
      'text/plain; a',
      'text/plain; a="b',
      'text/plain; a=b c',
      'text/plain (x)',
      'text/plain; a=b; A=c',
    ])
      assert.equal(parseContentType(text), undefined, text);
    fc.assert(
      fc.property(fc.string({ maxLength: 100 }), (text) => {
        parseContentType(text);
      }),
    );
  });
});
