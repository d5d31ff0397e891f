/** Every door by which a stranger's DER comes in through a source: what is hostile is refused in bounded time, the good one beside it is used. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { makeDirectory } from '../../src/certificates/directory.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { nullValue, octetString, oid, sequence, set, utf8String } from '../../src/certificates/encode.ts';
import { makeFileSource, openRecipientFolder } from '../../src/certificates/files.ts';
import { ownerNames } from '../../src/certificates/smimea/owner.ts';
import { makeSmimeaSource } from '../../src/certificates/smimea/source.ts';
import { recordTypes } from '../../src/certificates/smimea/wire.ts';
import type { CertificateSource } from '../../src/certificates/source.ts';
import { craft, nest, point, rfc822, rsaKey } from '../certificates/craft.ts';
import { mailboxOf } from '../certificates/openssl.ts';

/** Ten times what one certificate may take. */
const CEILING_MS = 1_000;
const anna = mailboxOf('anna@example.org');
const log = pino({ level: 'silent' });

const strange = oid('1.2.3.4');
const bits = (count: number): Buffer => Buffer.alloc(count / 8, 0xff);
const usual = Buffer.of(1, 0, 1);
const named = (...names: readonly string[]): Buffer => craft({ names: names.map((name) => rfc822(name)) });

const hostile: Readonly<Record<string, readonly (readonly [what: string, der: () => Buffer])[]>> = {
  A19: [
    ['depth', () => nest(10_000)],
    ['depth inside an extension', () => craft({ extensions: [sequence(oid('2.5.29.37'), octetString(nest(5_000)))] })],
    ['nodes', () => sequence(Buffer.alloc(60_000, nullValue))],
    ['a length of 2 GB', () => Buffer.from('30847fffffff0500', 'hex')],
    ['more than 64 KiB', () => craft({ extensions: [sequence(strange, octetString(Buffer.alloc(66_000)))] })],
    ['octets behind the end', () => Buffer.concat([craft({}), nullValue])],
  ],
  A20: [
    ['RSA with exponent 1', () => craft({ key: rsaKey(bits(2048), Buffer.of(1)) })],
    ['RSA with an even exponent', () => craft({ key: rsaKey(bits(2048), Buffer.of(1, 0, 2)) })],
    ['RSA with 512 bits', () => craft({ key: rsaKey(bits(512), usual) })],
    ['RSA with 16,400 bits', () => craft({ key: rsaKey(bits(16_400), usual) })],
    ['EC off its curve', () => craft({ key: point(Buffer.concat([Buffer.of(4), Buffer.alloc(64, 1)])) })],
    ['EC at infinity', () => craft({ key: point(Buffer.of(0)) })],
  ],
  A21: [
    ['a blank', () => named('anna@example.org', 'anna@example.org evil@example.net')],
    ['NUL', () => named('anna@example.org', 'anna@example.org\0.evil.example')],
    ['two subjectAltNames', () => craft({ extensions: [sequence(oid('2.5.29.17'), octetString(sequence(rfc822('anna@example.org'))))] })],
    [
      'the address in the CN only',
      () => craft({ names: [], subject: sequence(set(sequence(oid('2.5.4.3'), utf8String('anna@example.org')))) }),
    ],
    ['a name that looks alike', () => named('anna@xn--exmple-cua.org')],
  ],
};

interface Door {
  readonly name: string;
  /** The source with these certificates, one of which may not be readable. */
  readonly open: (t: TestContext, ders: readonly Buffer[]) => Promise<CertificateSource>;
}

const files: Door = {
  name: 'a file',
  open: async (t, ders) => {
    const path = await mkdtemp(join(tmpdir(), 'sealpost-doors-'));
    for (const [index, der] of ders.entries()) await writeFile(join(path, `${index}.der`), der);
    const source = makeFileSource(openRecipientFolder({ path, log, cache: { folder: path, writable: false } }));
    t.after(async () => {
      await source.close();
      await rm(path, { recursive: true });
    });
    return source;
  },
};

const dns: Door = {
  name: 'SMIMEA',
  open: async (_, ders) => {
    const [owner = ''] = ownerNames(anna);
    const answers = ders.map((der) => ({
      owner,
      type: recordTypes.smimea,
      ttl: 60,
      // A record ends at 64 KiB.
      data: Buffer.concat([Buffer.of(3, 0, 0), der]).subarray(0, 65_535),
      target: undefined,
    }));
    const resolver = { name: 'test', ask: async () => ({ code: 0, authenticated: true, answers, absentFor: undefined }) };
    return makeSmimeaSource({ resolver, trust: 'anchors', now: Date.now });
  },
};

for (const [row, cases] of Object.entries(hostile)) {
  for (const door of [files, dns]) {
    for (const [what, make] of cases) {
      test(`${row}: ${what}, through ${door.name}: never chosen, in time, and the good certificate beside it is`, async (t) => {
        const [bad, good] = [make(), craft({})];
        const source = await door.open(t, [bad, good]);
        const trust = { judge: async (certificate: Certificate) => ({ kind: 'trusted', path: [certificate], revocation: 'off' }) as const };
        const directory = makeDirectory({ sources: [source], trust, now: Date.now, log, patience: 10_000 });
        const started = performance.now();
        const answer = await directory.lookup(anna);
        const took = performance.now() - started;
        assert.equal(answer.kind, 'found');
        assert.deepEqual(answer.kind === 'found' && answer.chosen.map(({ certificate }) => certificate.der.equals(good)), [true]);
        assert.ok(took < CEILING_MS, `${Math.round(took)} ms`);
      });
    }
  }
}
