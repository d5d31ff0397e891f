/**
 * The main promise, from outside: what `sealpost seal` writes opens in other people's programs, and what they find is, octet for octet, what a
 * program that knows nothing of sealpost says must be inside. Only the command line is used here.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { bouncyCastle } from './bouncy.ts';
import { expectedEntity, missingPerl } from './expected-entity.ts';
import { makeReaders, type ReaderName, type Readers } from './fixtures.ts';
import { run, succeed } from './programs.ts';
import { cmsOf, gpgsm, nss, openssl, recipientInfos, serialNumberOf, type MailProgram, type MailProgramKind } from './readers.ts';
import { streamNamed, streams } from './streams.ts';
import { assertWireForm, outerFields } from './wire.ts';

const CLI = new URL('../../src/cli.ts', import.meta.url).pathname;
const SENDER = 'forms@clinic.example';
const missing = openssl.missing() ?? missingPerl();

let dir: string;
let readers: Readers;
before(async () => {
  if (missing !== undefined) return;
  dir = await mkdtemp(join(tmpdir(), 'sealed-'));
  readers = await makeReaders(join(dir, 'readers'));
});
after(() => (missing === undefined ? rm(dir, { recursive: true, force: true }) : undefined));

/** Seals a stream by the command line. */
function seal(stream: Buffer, to: ReaderName, options: readonly string[] = []): Promise<Buffer> {
  const { address, certificate } = readers.people[to];
  const words = ['seal', '--from', SENDER, '--to', address, '--cert', certificate, ...options];
  // The cache saves each of a hundred processes the reading of the same sources.
  const env = { NODE_COMPILE_CACHE: join(dir, 'compile-cache') };
  return succeed(process.execPath, ['--disable-warning=ExperimentalWarning', CLI, ...words], { input: stream, env });
}

/** Every stream is sealed once and then opened by all. */
const sealedStreams = new Map<string, Promise<Buffer>>();
function sealedStream(name: string, octets: () => Buffer): Promise<Buffer> {
  const sealed = sealedStreams.get(name) ?? seal(octets(), 'anna');
  sealedStreams.set(name, sealed);
  return sealed;
}

/** The place of the first difference: 20 MiB in an assertion message help nobody. */
function assertSame(actual: Buffer, expected: Buffer): void {
  if (actual.equals(expected)) return;
  const at = expected.findIndex((octet, index) => octet !== actual[index]);
  const from = Math.max(0, (at < 0 ? expected.length : at) - 20);
  const shown = (octets: Buffer): string => JSON.stringify(octets.toString('latin1', from, from + 60));
  assert.fail(`differs at ${at} (lengths ${actual.length}, ${expected.length}): ${shown(actual)} is not ${shown(expected)}`);
}

/** The message with one bit of its CMS changed, `fromEnd` octets before the end; 1 is the last octet of the tag. */
function flipped(message: Buffer, fromEnd: number): Buffer {
  const der = cmsOf(message);
  const at = der.length - fromEnd;
  der.writeUInt8(der.readUInt8(at) ^ 1, at);
  const header = message.subarray(0, message.indexOf('\r\n\r\n') + 4);
  return Buffer.concat([header, Buffer.from(der.toString('base64').replaceAll(/.{1,76}/g, '$&\r\n'))]);
}

const printed = async (message: Buffer): Promise<string> =>
  (await succeed('openssl', ['cms', '-cmsout', '-print', '-noout', '-inform', 'SMIME'], { input: message })).toString('utf8');

const kinds: readonly { readonly kind: MailProgramKind; readonly strict: boolean }[] = [
  { kind: openssl, strict: true },
  { kind: bouncyCastle, strict: true },
  { kind: nss, strict: false },
  { kind: gpgsm, strict: false },
];

const STRICT: readonly { readonly to: ReaderName; readonly what: string }[] = [
  { to: 'anna', what: 'OAEP' },
  { to: 'ben', what: 'ECDH P-256' },
  { to: 'carla', what: 'ECDH P-384' },
  { to: 'dora', what: 'ECDH P-521' },
];

const VARIANTS: readonly { readonly to: ReaderName; readonly options: readonly string[] }[] = [
  ...(['anna', 'ben', 'carla', 'dora'] as const).flatMap((to) =>
    ['aes-128-cbc', 'aes-256-cbc', 'aes-256-gcm'].map((cipher) => ({ to, options: ['--profile', 'compatible', '--cipher', cipher] })),
  ),
  ...(['anna', 'ben'] as const).flatMap((to) =>
    ['aes-128-cbc', 'aes-256-cbc'].map((cipher) => ({ to, options: ['--profile', 'strict', '--cipher', cipher] })),
  ),
];

for (const { kind, strict } of kinds) {
  describe(`${kind.name} opens what sealpost sealed`, { skip: missing ?? kind.missing() ?? false, concurrency: 2 }, () => {
    let program: MailProgram;
    before(async () => {
      program = await kind.start(readers);
    });
    after(() => program.close());

    for (const { name, octets } of streams) {
      test(name, async () => {
        const opened = await program.open(await sealedStream(name, octets), readers.people.anna);
        assertSame(opened, await expectedEntity(octets(), 'keep'));
      });
    }

    if (!strict) return;
    for (const { to, what } of STRICT) {
      test(`strict: ${what} with AES-256-GCM; A14: every flipped bit is noticed`, async () => {
        const stream = streamNamed('multipart-with-pdf-and-png');
        const message = await seal(stream, to, ['--profile', 'strict']);
        assertSame(await program.open(message, readers.people[to]), await expectedEntity(stream, 'keep'));
        const inTag = [1, 8, 16];
        const inContent = [19, 20, 1_000, 300_000];
        for (const fromEnd of [...inTag, ...inContent]) {
          await assert.rejects(program.open(flipped(message, fromEnd), readers.people[to]), `a bit ${fromEnd} octets before the end`);
        }
      });
    }
    for (const { to, options } of VARIANTS) {
      test(`${to}: ${options.join(' ')}`, async () => {
        const stream = streamNamed('captured-php-mail');
        const message = await seal(stream, to, options);
        assertSame(await program.open(message, readers.people[to]), await expectedEntity(stream, 'keep'));
      });
    }
  });
}

describe('the outside', { skip: missing ?? false, concurrency: 2 }, () => {
  for (const { name, octets } of streams) {
    test(`of ${name} is one S/MIME entity and the outer fields`, async () => {
      assertWireForm(await sealedStream(name, octets), 'enveloped-data');
    });
  }

  test('A10: personal data of odd fields is not outside', async () => {
    const outside = outerFields(await sealedStream('personal-data-in-odd-fields', () => streamNamed('personal-data-in-odd-fields')));
    assert.doesNotMatch(JSON.stringify(outside), /Jane|1970|oncology|patient/i);
  });

  test('A16: no dropped field and no Bcc mailbox is outside, and To, Cc, List-* are', async () => {
    const outside = outerFields(await sealedStream('dropped-and-outer-fields', () => streamNamed('dropped-and-outer-fields')));
    assert.doesNotMatch(JSON.stringify(outside), /bcc|carla|dora|dkim|arc-|return-path|delivered-to|envelope-to|apparently/i);
    const names = outside.map(([name]) => name);
    for (const name of ['to', 'cc', 'reply-to', 'references', 'importance', 'list-id', 'list-unsubscribe'])
      assert.ok(names.includes(name), name);
  });

  test('a replaced Subject is inside only', async () => {
    for (const name of ['subject-rfc-2047', 'subject-raw-utf-8', 'folded-headers']) {
      const stream = streamNamed(name);
      const message = await seal(stream, 'anna', ['--subject', 'replace']);
      assertWireForm(message, 'enveloped-data');
      const subject = (sealed: Buffer): readonly string[] =>
        outerFields(sealed).flatMap(([field, value]) => (field === 'subject' ? [value] : []));
      const kept = subject(await sealedStream(name, () => stream));
      assert.deepEqual([kept.length, subject(message).length], [1, 1]);
      assert.notEqual(subject(message)[0], kept[0]);
      const decrypt = ['cms', '-decrypt', '-inform', 'SMIME', '-recip', readers.people.anna.certificate, '-inkey', readers.people.anna.key];
      assertSame(await succeed('openssl', decrypt, { input: message }), await expectedEntity(stream, 'replace'));
    }
  });
});

describe('the CMS structure', { skip: missing ?? false, concurrency: 2 }, () => {
  const TEXT = streamNamed('text');

  for (const to of ['anna', 'ben'] as const) {
    test(`names ${to} alone, by issuer and serial`, async () => {
      const names = await recipientInfos(await seal(TEXT, to));
      assert.deepEqual(
        names.map(({ type, serial }) => [type, serial]),
        [[to === 'anna' ? 'ktri' : 'kari', await serialNumberOf(readers.people[to].certificate)]],
      );
    });
  }

  test('compatible RSA: version 0, rsaEncryption with NULL, AES-256-CBC, definite lengths', async () => {
    const message = await seal(TEXT, 'anna');
    const text = await printed(message);
    assert.match(text, /d\.envelopedData:\s+version: 0\s/);
    assert.match(text, /algorithm: rsaEncryption \(1\.2\.840\.113549\.1\.1\.1\)\s+parameter: NULL/);
    assert.match(text, /contentType: pkcs7-data[^]*?algorithm: aes-256-cbc/);
    const parsed = (await succeed('openssl', ['asn1parse', '-inform', 'DER'], { input: cmsOf(message) })).toString();
    assert.doesNotMatch(parsed, /l=\s*inf/);
  });

  test('strict RSA: AuthEnvelopedData version 0, OAEP with both hashes written', async () => {
    const message = await seal(TEXT, 'anna', ['--profile', 'strict']);
    assertWireForm(message, 'authEnveloped-data');
    const text = await printed(message);
    assert.match(text, /d\.authEnvelopedData:\s+version: 0\s/);
    assert.match(text, /algorithm: rsaesOaep[^]*?:sha256[^]*?:mgf1[^]*?:sha256[^]*?encryptedKey/);
    assert.match(text, /algorithm: aes-256-gcm/);
  });

  test('EC: version 2 in EnvelopedData, originator key without parameters, NULL behind the wrap algorithm', async () => {
    const text = await printed(await seal(TEXT, 'carla', ['--profile', 'compatible']));
    assert.match(text, /d\.envelopedData:\s+version: 2\s/);
    assert.match(text, /algorithm: id-ecPublicKey \(1\.2\.840\.10045\.2\.1\)\s+parameter: <ABSENT>/);
    assert.match(text, /OBJECT\s+:id-aes\d+-wrap\s+\d+:d=\d+\s+hl=2 l=\s+0 prim:\s+NULL/);
  });

  test('A38: two seals of one message share neither key nor ciphertext', async () => {
    const [one, two] = await Promise.all([seal(TEXT, 'anna'), seal(TEXT, 'anna')]);
    assert.notDeepEqual(cmsOf(one).subarray(-64), cmsOf(two).subarray(-64));
  });

  test('a message that was signed is still validly signed inside', async () => {
    for (const name of ['captured-signed-detached', 'captured-signed-opaque']) {
      const message = await sealedStream(name, () => streamNamed(name));
      const { certificate, key } = readers.people.anna;
      const entity = await succeed('openssl', ['cms', '-decrypt', '-inform', 'SMIME', '-recip', certificate, '-inkey', key], {
        input: message,
      });
      const verified = await run('openssl', ['cms', '-verify', '-noverify', '-inform', 'SMIME'], { input: entity });
      assert.equal(verified.code, 0, verified.stderr);
    }
  });
});
