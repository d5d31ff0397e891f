/** `certs revoke` and `certs crl`, as typed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { namedIn, readCrlFacts, writeCrl } from '../../src/certificates/authority/crl.ts';
import { makeAuthority } from '../../src/certificates/authority/issue.ts';
import { ISSUED, type IssuedRecord, writeIssued } from '../../src/certificates/authority/ledger.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { createAuthority, type NewAuthority } from '../../src/commands/certificates/authority.ts';
import { makeSite } from '../../src/commands/init.ts';
import { queuePaths } from '../../src/queue/paths.ts';
import { openSqliteQueue } from '../../src/queue/sqlite.ts';
import { writePlaced } from '../certificates/authority/placed.ts';
import { make, noOpenssl } from '../certificates/openssl.ts';
import { makeHold } from './hold-pair.ts';
import { sealpost, temporaryFolder, type Transcript } from './transcript.ts';

const shippedPolicies = path.resolve(import.meta.dirname, '../../policies');
const ANNA = 'anna@clinic.example';

interface Setting {
  readonly folder: string;
  readonly authority: NewAuthority;
  readonly issue: (address: string, name?: string) => Promise<Certificate>;
  readonly run: (...args: string[]) => Promise<Transcript>;
  readonly list: () => Buffer;
  readonly events: () => Record<string, unknown>[];
}

async function site(t: TestContext, certificates: Readonly<Record<string, unknown>> = {}): Promise<Setting> {
  const folder = await temporaryFolder(t);
  const at = (name: string): string => path.join(folder, name);
  await makeSite({ folder, hostname: 'relay.clinic.example', shippedPolicies, makeAuthority: async () => [], makeHold });
  const places = { keys: at('keys'), anchors: at('certs/anchors'), intermediates: at('certs/intermediates') };
  const authority = await createAuthority(places, 'Clinic', Date.now());
  const config = {
    hostname: 'relay.clinic.example',
    operator: 'postmaster@clinic.example',
    listen: [{ host: '127.0.0.1', port: 2525 }],
    upstream: [{ host: '127.0.0.1', port: 25 }],
    certificates: { authority: { passphrase: 'file:keys/ca.passphrase' }, ...certificates },
  };
  writeFileSync(at('sealpost.yaml'), JSON.stringify(config));
  return {
    folder,
    authority,
    issue: async (address, name = '') => {
      mkdirSync(at(`certs/recipients/${name}`), { recursive: true });
      return writePlaced(at(`certs/recipients/${name}`), { authority: authority.issuing, address });
    },
    run: (...args) => sealpost(folder, args),
    list: () => readFileSync(at('data/own-crls/in-house-issuing.crl')),
    events: () =>
      readFileSync(at('data/audit.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line): Record<string, unknown> => ({ ...JSON.parse(line) })),
  };
}

const reasonsIn = (list: Buffer): Record<string, string> => Object.fromEntries(namedIn(list).map(({ serial, reason }) => [serial, reason]));

describe('certs revoke', () => {
  test('one by its address, another by its fingerprint with colons; a second time it says that it was', async (t) => {
    const { issue, run, list, events } = await site(t);
    const anna = await issue(ANNA);
    const ben = await issue('ben@clinic.example');
    const first = await run('certs', 'revoke', ANNA, '--reason', 'keyCompromise', '--by', 'Dr Otto');
    assert.equal(first.exit, 0, first.stderr);
    assert.match(
      first.stdout,
      new RegExp(`^revoked: ${ANNA}, SHA-256 ${anna.fingerprint.slice(0, 16)}, serial ${anna.serial}, .*, keyCompromise\\n`),
    );
    assert.match(first.stdout, /a revocation cannot be undone\n$/);
    const colons = ben.fingerprint.toUpperCase().match(/../g)?.join(':') ?? '';
    const second = await run('certs', 'revoke', colons, '--reason', 'unspecified', '--json');
    assert.equal(second.exit, 0, second.stderr);
    const told = JSON.parse(second.stdout);
    assert.partialDeepStrictEqual(told, {
      revoked: [{ address: 'ben@clinic.example', serial: ben.serial, reason: 'unspecified' }],
      list: { revoked: 2 },
    });
    assert.deepEqual(reasonsIn(list()), { [anna.serial]: 'keyCompromise', [ben.serial]: 'unspecified' });
    assert.equal(readCrlFacts(list())?.number, told.list.number);

    const again = await run('certs', 'revoke', ANNA, '--reason', 'superseded');
    assert.equal(again.exit, 1);
    assert.match(
      again.stderr,
      /anna@clinic\.example was revoked already, on \d{4}-\d\d-\d\d \(keyCompromise\)\n {2}hint: a revocation cannot be changed or undone/,
    );
    const told2 = events().filter(({ event }) => event === 'certificate-revoked');
    assert.deepEqual(
      told2.map(({ recipient, certificate_sha256: sha, certificate_serial: serial, reason }) => [recipient, sha, serial, reason]),
      [
        [ANNA, anna.fingerprint, anna.serial, 'keyCompromise'],
        ['ben@clinic.example', ben.fingerprint, ben.serial, 'unspecified'],
      ],
    );
    assert.match(String(told2[0]?.['operator']), /^Dr Otto, typed by /);
    const numbers = events().filter(({ event, issuer }) => event === 'crl-written' && String(issuer).includes('issuing'));
    const rising = numbers.map(({ number }) => Number(number));
    assert.deepEqual(
      rising,
      [...new Set(rising)].toSorted((a, b) => a - b),
      'numbers only rise (RFC 5280 §5.2.3)',
    );
    assert.equal((await run('audit', 'verify')).exit, 0);
  });

  test('several of one address are named first, and revoked with --yes', async (t) => {
    const { issue, run, list } = await site(t);
    const both = [await issue(ANNA, 'one'), await issue(ANNA, 'two')];
    const asked = await run('certs', 'revoke', ANNA, '--reason', 'cessationOfOperation');
    assert.equal(asked.exit, 2);
    for (const { fingerprint } of both) assert.ok(asked.stderr.includes(fingerprint.slice(0, 16)));
    assert.match(asked.stderr, /2 certificates: name one by its fingerprint, or say --yes for all/);
    assert.throws(list, /ENOENT/, 'nothing was revoked');
    const done = await run('certs', 'revoke', ANNA, '--reason', 'cessationOfOperation', '--yes');
    assert.equal(done.exit, 0, done.stderr);
    assert.deepEqual(
      namedIn(list())
        .map(({ serial }) => serial)
        .toSorted(),
      both.map(({ serial }) => serial).toSorted(),
    );
  });

  test('a wrong passphrase changes nothing', async (t) => {
    const { folder, issue, run } = await site(t);
    await issue(ANNA);
    writeFileSync(path.join(folder, 'keys/ca.passphrase'), 'another one\n');
    const { exit, stderr } = await run('certs', 'revoke', ANNA, '--reason', 'keyCompromise');
    assert.equal(exit, 1);
    assert.doesNotMatch(stderr, /another one/);
    assert.equal(existsSync(path.join(folder, 'data/queue.sqlite')), false);
    assert.equal(existsSync(path.join(folder, 'data/own-crls')), false);
  });

  test('what is not of the in-house CA, is nowhere, or is no name at all: what to do instead', { skip: noOpenssl }, async (t) => {
    const { folder, run } = await site(t);
    make(folder, { name: 'dora', extensions: ['subjectAltName=email:dora@clinic.example'] });
    copyFileSync(path.join(folder, 'dora.pem'), path.join(folder, 'certs/recipients/dora.pem'));
    const foreign = await run('certs', 'revoke', 'dora@clinic.example', '--reason', 'superseded');
    assert.equal(foreign.exit, 1);
    assert.match(
      foreign.stderr,
      /a certificate of CN=dora, which only that CA can revoke\n {2}hint: ask that CA to; sealpost certs remove [0-9a-f]{16} takes it out/,
    );
    const nowhere = await run('certs', 'revoke', 'nobody@clinic.example', '--reason', 'superseded');
    assert.match(nowhere.stderr, /not issued by the in-house CA: nobody@clinic\.example/);
    for (const args of [['no name'], ['abc'], [ANNA, '--reason', 'certificateHold'], [ANNA]]) {
      const { exit } = await run(
        'certs',
        'revoke',
        ...(args.length === 1 && args[0] !== ANNA ? [...args, '--reason', 'superseded'] : args),
      );
      assert.equal(exit, 2, args.join(' '));
    }
  });

  test('where this site looks at no lists, and where its list is gone or damaged: its own ledger counts', async (t) => {
    const { folder, issue, run, list } = await site(t, { trust: { revocation: 'off' } });
    await issue(ANNA);
    await issue('ben@clinic.example');
    const { exit, stderr } = await run('certs', 'revoke', ANNA, '--reason', 'keyCompromise');
    assert.deepEqual([exit, stderr], [0, '']);
    const refused = async (why: string): Promise<void> => {
      const says = /it was revoked on \d{4}-\d\d-\d\d \(keyCompromise\), says the in-house CA/;
      assert.match((await run('certs', 'lookup', ANNA)).stdout, says, why);
      assert.match((await run('certs', 'list')).stdout, /revoked on/, why);
      assert.match((await run('certs', 'lookup', 'ben@clinic.example')).stdout, / used: /, why);
    };
    await refused('off');
    const config = path.join(folder, 'sealpost.yaml');
    writeFileSync(config, readFileSync(config, 'utf8').replace('"off"', '"soft"'));
    const bytes = list();
    bytes[bytes.length - 20] = (bytes[bytes.length - 20] ?? 0) ^ 1;
    writeFileSync(path.join(folder, 'data/own-crls/in-house-issuing.crl'), bytes);
    await refused('damaged');
    rmSync(path.join(folder, 'data/own-crls'), { recursive: true });
    await refused('gone');
  });

  test('what the ledger cannot read any more is neither good nor revoked: it waits', async (t) => {
    const { folder, issue, run } = await site(t);
    const anna = await issue(ANNA);
    assert.equal((await run('certs', 'revoke', ANNA, '--reason', 'keyCompromise')).exit, 0);
    rmSync(path.join(folder, 'data/own-crls'), { recursive: true });
    const db = new DatabaseSync(path.join(folder, 'data/queue.sqlite'));
    db.prepare("UPDATE records SET value = 'x' WHERE kind = 'issued' AND key = ?").run(anna.serial);
    db.close();
    const { exit, stdout } = await run('certs', 'lookup', ANNA);
    assert.notEqual(exit, 0);
    assert.match(stdout, /it could not be judged now: the record of serial [0-9a-f]+ in the ledger of the in-house CA cannot be read/);
    assert.doesNotMatch(stdout, /^ {2}used: /m);
  });

  test('a lost key: what the relay mailed under it goes with it; for other reasons it is said that it stays', async (t) => {
    const { folder, authority, issue, run, list } = await site(t);
    const eve = [
      await issue('eve@clinic.example', 'one'),
      await issue('eve@clinic.example', 'two'),
      await issue('eve@clinic.example', 'three'),
    ];
    const byHand = await issue('eve@clinic.example', 'hand');
    const [first = assert.fail(), second = assert.fail(), third = assert.fail()] = eve;
    const record = (one: Certificate, renews: string | null, issuedBy: string): IssuedRecord => ({
      serial: one.serial,
      fingerprint: one.fingerprint,
      address: 'eve@clinic.example',
      issuer: authority.issuing.certificate.fingerprint,
      name: null,
      key: 'P-256',
      notBefore: one.notBefore.getTime(),
      notAfter: one.notAfter.getTime(),
      issuedAt: one.notBefore.getTime(),
      issuedBy,
      revoked: null,
      renews,
    });
    const ledger = [
      record(first, null, 'otto'),
      record(second, first.serial, 'relay'),
      record(third, second.serial, 'relay'),
      record(byHand, first.serial, 'otto'),
    ];
    const paths = queuePaths(path.join(folder, 'data/queue.sqlite'), path.join(folder, 'data/audit.jsonl'));
    const store = await openSqliteQueue({ ...paths, now: Date.now, log: pino({ level: 'silent' }) });
    await store.records.change(
      ledger.map((one) => ({ kind: ISSUED, key: one.serial, value: writeIssued(one), was: null })),
      [],
    );
    await store.close();

    const asked = await run('certs', 'revoke', first.fingerprint, '--reason', 'keyCompromise');
    assert.equal(asked.exit, 2);
    const named = asked.stderr.split('\n').filter((line) => line.endsWith('mailed by the relay under the lost key'));
    for (const [index, one] of [second, third].entries()) assert.ok(named[index]?.includes(one.fingerprint.slice(0, 16)), asked.stderr);
    assert.equal(named.length, 2);
    assert.throws(list, /ENOENT/, 'nothing was revoked');
    // Not lost, but replaced: what came under it stays, and that is said.
    const other = await run('certs', 'revoke', third.fingerprint, '--reason', 'superseded');
    assert.deepEqual([other.exit, other.stderr], [0, '']);
    const middle = await run('certs', 'revoke', first.fingerprint, '--reason', 'superseded');
    assert.equal(middle.exit, 0, middle.stderr);
    assert.match(
      middle.stderr,
      new RegExp(
        `^sealpost: still valid, and mailed by the relay .*${second.fingerprint.slice(0, 16)}.*\n {2}hint: sealpost certs revoke `,
      ),
    );
    // Found out later that the key was lost: the first is revoked already, and what came under it is not.
    const later = await run('certs', 'revoke', first.fingerprint, '--reason', 'keyCompromise', '--yes');
    assert.equal(later.exit, 0, later.stderr);
    assert.deepEqual(reasonsIn(list()), { [first.serial]: 'superseded', [second.serial]: 'keyCompromise', [third.serial]: 'superseded' });
    assert.match((await run('certs', 'list')).stdout, new RegExp(byHand.fingerprint.slice(0, 8), 'i'), 'that was handed over in person');
  });

  test("another CA's list in the way, with the greatest number, and one from the future: no number is used up, and check tells", async (t) => {
    const { folder, authority, issue, run, list } = await site(t);
    await issue(ANNA);
    const file = path.join(folder, 'data/own-crls/in-house-issuing.crl');
    mkdirSync(path.dirname(file), { mode: 0o700 });
    const stranger = await makeAuthority({ name: 'Stranger', now: Date.now() });
    const times = { from: Date.now() - 1000, to: Date.now() + 86_400_000 };
    writeFileSync(file, writeCrl({ issuer: stranger, number: 0xffff_ffff, ...times, revoked: [] }));
    const { exit, stderr } = await run('certs', 'revoke', ANNA, '--reason', 'keyCompromise');
    assert.equal(exit, 0, stderr);
    assert.ok((readCrlFacts(list())?.number ?? Infinity) < 10);
    assert.equal((await run('certs', 'crl')).exit, 0);

    const number = readCrlFacts(list())?.number ?? 0;
    const year = 365 * 86_400_000;
    const ahead = { from: Date.now() + year, to: Date.now() + year + 86_400_000 };
    writeFileSync(file, writeCrl({ issuer: authority.issuing, number, ...ahead, revoked: namedIn(list()) }));
    assert.match((await run('check')).stdout, /in-house-issuing\.crl: certificates\.authority\.crl: is from the future: /);
    // Who comes back to revoke it again mends the list.
    assert.equal((await run('certs', 'revoke', ANNA, '--reason', 'keyCompromise')).exit, 1);
    assert.ok((readCrlFacts(list())?.thisUpdate ?? Infinity) <= Date.now());
  });

  test('the database was restored from before a revocation: what others were told is not taken back', async (t) => {
    const { folder, issue, run, list } = await site(t);
    const anna = await issue(ANNA);
    const ben = await issue('ben@clinic.example');
    assert.equal((await run('certs', 'revoke', ANNA, '--reason', 'keyCompromise')).exit, 0);
    for (const name of ['queue.sqlite', 'queue.sqlite-wal', 'queue.sqlite-shm', 'audit.jsonl'])
      rmSync(path.join(folder, 'data', name), { force: true });
    const before = readCrlFacts(list());
    assert.equal((await run('certs', 'revoke', 'ben@clinic.example', '--reason', 'superseded')).exit, 0);
    assert.deepEqual(reasonsIn(list()), { [anna.serial]: 'keyCompromise', [ben.serial]: 'superseded' });
    assert.ok((readCrlFacts(list())?.number ?? 0) > (before?.number ?? 0));
  });
});

test('certs crl: fresh lists of both CAs, a copy for others, and openssl verifies them', { skip: noOpenssl }, async (t) => {
  const { folder, run, list } = await site(t);
  const first = await run('certs', 'crl', '--out', 'public.crl');
  assert.equal(first.exit, 0, first.stderr);
  assert.match(
    first.stdout,
    /^list: data\/own-crls\/in-house-issuing\.crl, number 1, 0 revoked, .*\nlist: data\/own-crls\/in-house-root\.crl, number 1, /,
  );
  assert.deepEqual(readFileSync(path.join(folder, 'public.crl')), list());
  for (const [name, ca] of [
    ['issuing', 'intermediates/in-house-issuing'],
    ['root', 'anchors/in-house-root'],
  ]) {
    const args = ['crl', '-inform', 'DER', '-noout', '-in', `data/own-crls/in-house-${name}.crl`, '-CAfile', `certs/${ca}.pem`];
    assert.match(spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' }).stderr, /verify OK/, name);
  }
  const told = JSON.parse((await run('certs', 'crl', '--json')).stdout);
  assert.deepEqual(
    told.map(({ number }: { number: number }) => number),
    [2, 2],
  );

  // The key of the root is to be kept elsewhere: then its list stays as it is.
  rmSync(path.join(folder, 'keys/root.key'));
  assert.equal(JSON.parse((await run('certs', 'crl', '--json')).stdout).length, 1);
  assert.match((await run('check')).stdout, /^all well|\nall well/);
  rmSync(path.join(folder, 'data/own-crls/in-house-issuing.crl'));
  assert.match(
    (await run('check')).stdout,
    /in-house-issuing\.crl: certificates\.authority\.crl: is not there\n {2}mend: sealpost certs crl/,
  );
});
