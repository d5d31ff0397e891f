/** The files of the in-house CA, of both forms, and what is said where one is missing, damaged or locked. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { authorityChain, openAuthority, unlockAuthority } from '../../../src/certificates/authority/files.ts';
import { KEY_ITERATIONS, readKeyFile } from '../../../src/certificates/authority/key-file.ts';
import * as fc from 'fast-check';
import { createAuthority } from '../../../src/commands/certificates/authority.ts';
import { SealpostError } from '../../../src/errors.ts';
import { noOpenssl, run, temporaryFolder } from '../openssl.ts';

const placesIn = (folder: string) => ({
  keys: join(folder, 'keys'),
  anchors: join(folder, 'certs/anchors'),
  intermediates: join(folder, 'certs/intermediates'),
});

const malformed = (detail: RegExp) => (error: unknown) =>
  error instanceof SealpostError && error.code === 'key-malformed' && detail.test(error.detail ?? '');

describe('the files of the in-house CA', () => {
  const folder = temporaryFolder();
  const places = placesIn(folder);
  let passphrase = '';
  const copy = (): ReturnType<typeof placesIn> => {
    const other = temporaryFolder();
    cpSync(folder, other, { recursive: true });
    return placesIn(other);
  };

  before(async () => {
    await createAuthority(places, 'clinic.example', Date.now());
    passphrase = readFileSync(join(places.keys, 'ca.passphrase'), 'utf8').trim();
  });

  test('two levels: the issuing CA below the root, both with their keys', () => {
    const authority = openAuthority(places, passphrase);
    assert.deepEqual(
      authorityChain(authority).map(({ subject }) => subject),
      ['CN=In-house issuing CA of clinic.example', 'CN=In-house root CA of clinic.example'],
    );
    assert.notEqual(authority.root.key, undefined);
  });

  test('issuing works without the key of the root', () => {
    const away = copy();
    rmSync(join(away.keys, 'root.key'));
    const { issuing, root } = openAuthority(away, passphrase);
    assert.equal(root.key, undefined);
    assert.equal(issuing.certificate.issuer, root.certificate.subject);
  });

  test('a wrong passphrase, none, and a damaged file are told apart', () => {
    assert.throws(() => openAuthority(places, 'wrong'), malformed(/^the passphrase does not open .*issuing\.key$/));
    assert.throws(() => openAuthority(places, undefined), malformed(/issuing\.key is encrypted and its passphrase is not known/));
    const damaged = copy();
    const file = join(damaged.keys, 'issuing.key');
    const text = readFileSync(file, 'utf8');
    const at = text.length - 200;
    const other = text[at] === 'A' ? 'B' : 'A';
    for (const wrong of [text.slice(0, at) + other + text.slice(at + 1), text.slice(0, at), '', 'x'.repeat(100_000)]) {
      writeFileSync(file, wrong);
      assert.throws(() => openAuthority(damaged, passphrase), malformed(/issuing\.key is damaged/));
    }
  });

  test('unlocked beside mail: the same key and the same faults, and the thread goes on meanwhile', async () => {
    let turns = 0;
    let tick = setImmediate(function again() {
      turns++;
      tick = setImmediate(again);
    });
    const { issuing, root } = await unlockAuthority(places, passphrase);
    clearImmediate(tick);
    assert.ok(turns > 1, `${turns} turns`);
    const opened = openAuthority(places, passphrase);
    assert.ok(issuing.key.equals(opened.issuing.key));
    assert.equal(root.key?.type, 'private');
    await assert.rejects(unlockAuthority(places, 'wrong'), malformed(/^the passphrase does not open .*issuing\.key$/));
    await assert.rejects(unlockAuthority(places, undefined), malformed(/issuing\.key is encrypted and its passphrase is not known/));
    const damaged = copy();
    const file = join(damaged.keys, 'issuing.key');
    writeFileSync(file, readFileSync(file, 'utf8').slice(0, -200));
    await assert.rejects(unlockAuthority(damaged, passphrase), malformed(/issuing\.key is damaged/));
  });

  test('a key file with any change opens, or ends in a typed error', () => {
    const text = readFileSync(join(places.keys, 'issuing.key'), 'utf8');
    const from = text.indexOf('-----BEGIN');
    let told = 0;
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.string({ unit: 'binary-ascii', maxLength: 3 }), (at, put) => {
        const changed = text.slice(0, at) + put + text.slice(at + 1);
        try {
          readKeyFile(changed, passphrase, 'issuing.key');
        } catch (error) {
          assert.ok(error instanceof SealpostError && error.code === 'key-malformed');
          // The digest tells of each change in what it is of.
          if (at > from) told++;
          if (at > from) assert.match(error.detail ?? '', /is damaged/);
        }
      }),
      { numRuns: 60 },
    );
    assert.ok(told > 0);
    assert.throws(() => readKeyFile(`-----BEGIN PRIVATE KEY-----${' '.repeat(60_000)}`, passphrase, 'x'), malformed(/is damaged/));
  });

  test('a key that a stranger encrypted opens, and its damage is seen where its length tells', { skip: noOpenssl }, async () => {
    const other = copy();
    const args = ['pkcs8', '-topk8', '-v2', 'aes-256-cbc', '-in', 'keys/issuing.key', '-out', 'strange.key'];
    run(
      'openssl',
      [...args, '-passin', 'stdin', '-passout', 'file:pass'],
      (writeFileSync(join(folder, 'pass'), 'other'), folder),
      `${passphrase}\n`,
    );
    const strange = readFileSync(join(folder, 'strange.key'), 'utf8');
    writeFileSync(join(other.keys, 'issuing.key'), strange);
    assert.equal(openAuthority(other, 'other').issuing.certificate.ca, true);
    assert.equal((await unlockAuthority(other, 'other')).issuing.certificate.ca, true);
    assert.throws(() => openAuthority(other, 'another'), malformed(/the passphrase does not open/));
    const lines = strange.split('\n');
    writeFileSync(join(other.keys, 'issuing.key'), [...lines.slice(0, 10), ...lines.slice(11)].join('\n'));
    assert.throws(() => openAuthority(other, 'other'), malformed(/is damaged/));
  });

  test('openssl sees AES-256 under enough rounds of PBKDF2', { skip: noOpenssl }, () => {
    for (const name of ['root', 'issuing']) {
      const text = run('openssl', ['asn1parse', '-in', `keys/${name}.key`], folder);
      for (const part of [/:PBES2/, /:PBKDF2/, /:hmacWithSHA256/, /:aes-256-cbc/]) assert.match(text, part);
      assert.match(text, new RegExp(`INTEGER +:0*${KEY_ITERATIONS.toString(16).toUpperCase()}\\b`));
    }
  });

  test('a site of one level, made by an earlier release, goes on: its root signs', () => {
    const old = placesIn(temporaryFolder());
    for (const place of [old.keys, old.anchors]) mkdirSync(place, { recursive: true });
    cpSync(join(import.meta.dirname, 'one-level/ca.key'), join(old.keys, 'ca.key'));
    cpSync(join(import.meta.dirname, 'one-level/in-house-ca.pem'), join(old.anchors, 'in-house-ca.pem'));
    const authority = openAuthority(old, undefined);
    assert.equal(authority.issuing.certificate.fingerprint, authority.root.certificate.fingerprint);
    assert.equal(authority.root.key, authority.issuing.key);
    assert.equal(authorityChain(authority).length, 1);
  });

  test('without any, the mend is said', () => {
    assert.throws(() => openAuthority(placesIn(temporaryFolder()), undefined), { code: 'file-unreadable' });
  });
});
