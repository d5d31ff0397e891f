/** What is known of a folder: in memory, on disk, and at the next start. */
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  opendirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { pino } from 'pino';
import { readCertificates, certificateOctets } from '../../src/certificates/bundle.ts';
import { makeFileSource, openRecipientFolder, type RecipientFolder, type RecipientFolderOptions } from '../../src/certificates/files.ts';
import { addressHash, Catalogue } from '../../src/certificates/files/catalogue.ts';
import { decodeIndex, encodeIndex, indexPath, readIndex, writeIndex } from '../../src/certificates/files/index-file.ts';
import { makeScanner, type FileAccess, type Scanner } from '../../src/certificates/files/scan.ts';
import { eventually, mailboxOf, make, noOpenssl, run, temporaryFolder } from './openssl.ts';

const FOLDER = '/clinic/recipients';
const DAY_MS = 86_400_000;

const octets = (catalogue: Catalogue, folder = FOLDER): Buffer => {
  const whole = Buffer.concat([...encodeIndex(catalogue, folder)]);
  return Buffer.concat([whole, hash('sha256', whole, 'buffer')]);
};

function sample(files: number): Catalogue {
  const catalogue = new Catalogue();
  for (let number = 0; number < files; number++) {
    const fingerprint = hash('sha256', `certificate ${number}`, 'buffer');
    const entry = {
      fingerprint,
      at: number,
      length: 900,
      hashes: [addressHash(`reader${number}@clinic.example`), addressHash('all@clinic.example')],
    };
    catalogue.add({
      path: `ward/${number}.pem`,
      stamp: number % 3 === 0 ? undefined : [1n, BigInt(number), 900n, 2n ** 64n - 1n, 5n],
      digest: hash('sha256', `file ${number}`, 'buffer'),
      entries: number % 4 === 0 ? [entry, { ...entry, length: 0 }] : [entry],
      faults: number % 5 === 0 ? ['line 1: it is cut off'] : [],
      since: number % 4 === 0 ? performance.now() : undefined,
    });
  }
  return catalogue.finish();
}

describe('the index of a folder', () => {
  test('says after a restart what it said before', () => {
    const before = sample(100);
    const after = decodeIndex(octets(before), FOLDER);
    assert.ok(after !== undefined);
    for (let row = 0; row < 100; row++) {
      assert.equal(after.rowOf(`ward/${row}.pem`), row);
      assert.deepEqual(after.entries(row), before.entries(row));
      assert.deepEqual(after.faults.get(row), before.faults.get(row));
      assert.equal(after.since.has(row), before.since.has(row));
      assert.equal(after.hasStamp(row, [1n, BigInt(row), 900n, 2n ** 64n - 1n, 5n]), row % 3 !== 0);
      assert.deepEqual(
        after.named(addressHash(`reader${row}@clinic.example`), 10),
        before.named(addressHash(`reader${row}@clinic.example`), 10),
      );
    }
    assert.equal(after.named(addressHash('all@clinic.example'), 1000).length, 125);
    assert.equal(after.named(addressHash('all@clinic.example'), 20).length, 20);
    assert.deepEqual(after.named(addressHash('nobody@clinic.example'), 10), []);
  });

  test('P5: an index with one octet changed, cut or lengthened anywhere is not believed', () => {
    const whole = octets(sample(7));
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const damaged = Buffer.from(whole);
        damaged[at] = (damaged[at] ?? 0) ^ change;
        assert.equal(decodeIndex(damaged, FOLDER), undefined);
        assert.equal(decodeIndex(whole.subarray(0, at), FOLDER), undefined);
        assert.equal(decodeIndex(Buffer.concat([whole, whole.subarray(0, at + 1)]), FOLDER), undefined);
      }),
    );
  });

  test('octets of a stranger with a checksum that fits never throw, and what is believed holds together', () => {
    const whole = octets(sample(7));
    const body = whole.subarray(0, -32);
    const edits = fc.array(fc.tuple(fc.nat(body.length - 1), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(edits, fc.nat(40), (changes, cut) => {
        const forged = Buffer.from(body.subarray(0, body.length - cut));
        for (const [at, octet] of changes) forged[at % forged.length] = octet;
        const catalogue = decodeIndex(Buffer.concat([forged, hash('sha256', forged, 'buffer')]), FOLDER);
        if (catalogue === undefined) return;
        assert.equal(catalogue.files, catalogue.paths.length);
        for (const path of catalogue.paths) assert.doesNotMatch(path, /(?:^|\/)\.{0,2}(?:\/|$)|\0/);
        for (let row = 0; row < catalogue.files; row++) {
          const [start, end]: readonly [number, number] = catalogue.certificatesOf(row);
          assert.ok(start <= end && end <= catalogue.certificates);
          assert.ok([...catalogue.fileOf.array.subarray(start, end)].every((file) => file === row));
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('an index of another folder, a path that leads away, and counts beyond the file are not believed', () => {
    assert.equal(decodeIndex(octets(sample(3)), '/clinic/others'), undefined);
    for (const path of ['../keys/ca.key', '/etc/passwd', 'a//b', './a', 'a\0b', '']) {
      const catalogue = new Catalogue();
      catalogue.add({ path, stamp: undefined, digest: Buffer.alloc(32), entries: [], faults: [], since: undefined });
      assert.equal(decodeIndex(octets(catalogue.finish()), FOLDER), undefined, JSON.stringify(path));
    }
    const body = octets(sample(3)).subarray(0, -32);
    for (const count of [1e15, -1, 0.5, NaN, Infinity]) {
      const forged = Buffer.from(body);
      forged.writeDoubleLE(count, forged.indexOf('\n') + 1);
      assert.equal(decodeIndex(Buffer.concat([forged, hash('sha256', forged, 'buffer')]), FOLDER), undefined, String(count));
    }
  });

  test('the file is for its owner alone, and refused where it is open to others or a link', () => {
    const file = indexPath(join(temporaryFolder(), 'data'), FOLDER);
    assert.deepEqual(readIndex(file, FOLDER), { kind: 'none' });
    writeIndex(file, encodeIndex(sample(3), FOLDER));
    writeIndex(file, encodeIndex(sample(4), FOLDER));
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(readdirSync(join(file, '..')).length, 1, 'nothing is left beside it');
    const answer = readIndex(file, FOLDER);
    assert.equal(answer.kind === 'read' && answer.catalogue.files, 4);
    symlinkSync(file, `${file}.link`);
    assert.equal(readIndex(`${file}.link`, FOLDER).kind, 'refused');
    chmodSync(file, 0o644);
    assert.equal(readIndex(file, FOLDER).kind, 'refused');
  });
});

describe('a folder over restarts', { skip: noOpenssl }, () => {
  const made = temporaryFolder();
  for (const name of ['anna', 'ben', 'carl']) make(made, { name });
  const pem = (name: string): string => readFileSync(join(made, `${name}.pem`), 'latin1');

  /** A file that is no longer young. */
  const place = (path: string, text: string): void => {
    writeFileSync(path, text);
    const then = new Date(Date.now() - DAY_MS);
    utimesSync(path, then, then);
  };
  const access = (read: string[]): FileAccess => ({
    list: (path) => {
      const folder = opendirSync(path);
      return folder;
    },
    stat: (path) => statSync(path, { bigint: true }),
    read: (path) => {
      read.push(path);
      return readFileSync(path);
    },
    begin: () => {},
    turn: () => {},
  });
  const scanner = (path: string, read: string[], known?: Catalogue): Scanner =>
    // As in three days: nothing is young any more, whatever the time of change of the inode.
    makeScanner({
      path,
      now: () => Date.now() + 3 * DAY_MS,
      delays: { loss: 5000, emptiness: 60_000 },
      access: access(read),
      hold: () => {},
      tell: () => {},
      known,
    });

  test('a restart reads what has changed and nothing else', async () => {
    const folder = temporaryFolder();
    for (const name of ['anna', 'ben', 'carl']) place(join(folder, `${name}.pem`), pem(name));
    const read: string[] = [];
    const first = scanner(folder, read);
    assert.equal((await first.scan()).kind, 'read');
    assert.equal(read.length, 3);
    const known = decodeIndex(octets(first.catalogue, folder), folder);
    assert.ok(known !== undefined);
    place(join(folder, 'ben.pem'), pem('ben') + pem('carl'));
    unlinkSync(join(folder, 'carl.pem'));
    const again: string[] = [];
    const second = scanner(folder, again, known);
    assert.equal((await second.scan()).kind, 'read');
    assert.deepEqual(again, [join(folder, 'ben.pem')]);
    assert.equal(second.catalogue.certificates, 3);
    const [one] = second.catalogue.named(addressHash('carl@example.org'), 10);
    assert.equal(second.catalogue.paths[second.catalogue.fileOf.array[one ?? 0] ?? 0], 'ben.pem');
  });

  test('P5: a folder that is empty at a restart is unavailable, as one that becomes empty is', async () => {
    const folder = temporaryFolder();
    place(join(folder, 'anna.pem'), pem('anna'));
    const first = scanner(folder, []);
    await first.scan();
    unlinkSync(join(folder, 'anna.pem'));
    assert.equal((await scanner(folder, [], first.catalogue).scan()).kind, 'unavailable');
    assert.equal((await scanner(folder, []).scan()).kind, 'read');
  });

  test('P5: a file that is moved during a scan, to where the scan has been, is not lost', async () => {
    const folder = temporaryFolder();
    for (const ward of ['a', 'b']) mkdirSync(join(folder, ward));
    place(join(folder, 'a/anna.pem'), pem('anna'));
    place(join(folder, 'b/ben.pem'), pem('ben'));
    const plain = access([]);
    let seen: string[] = [];
    let moved = false;
    const moving: FileAccess = {
      ...plain,
      list: function* (path) {
        const entries = readdirSync(path, { withFileTypes: true });
        seen.push(path);
        yield* entries;
        // Both are listed in either order: the second one's file goes to the first.
        const [, first, second] = seen;
        if (moved || second !== undefined || first === undefined || !known) return;
        moved = true;
        const other = first.endsWith('a') ? 'b' : 'a';
        const [file = ''] = readdirSync(join(folder, other));
        renameSync(join(folder, other, file), join(first, file));
      },
    };
    let known = false;
    const one = makeScanner({
      path: folder,
      now: () => Date.now() + 3 * DAY_MS,
      delays: { loss: 0, emptiness: 0 },
      access: moving,
      hold: () => {},
      tell: () => {},
    });
    await one.scan();
    [known, seen] = [true, []];
    await one.scan();
    assert.ok(moved);
    for (const name of ['anna', 'ben']) assert.equal(one.catalogue.named(addressHash(`${name}@example.org`), 5).length, 1, name);
  });
});

describe('a large folder that is running', { skip: noOpenssl }, () => {
  const made = temporaryFolder();
  for (const name of ['anna', 'ben', 'carl', 'caroline']) make(made, { name });
  const pem = (name: string): string => readFileSync(join(made, `${name}.pem`), 'latin1');
  const folders: RecipientFolder[] = [];
  const log: string[] = [];
  afterEach(async () => {
    for (const folder of folders.splice(0)) await folder.close();
    log.length = 0;
  });
  const open = (path: string, cache: string, options: Partial<RecipientFolderOptions> = {}): RecipientFolder => {
    const folder = openRecipientFolder({
      path,
      log: pino({ level: 'warn' }, { write: (line: string) => void log.push(line) }),
      cache: { folder: cache, writable: true },
      manyFiles: 2,
      ...options,
    });
    folders.push(folder);
    return folder;
  };
  const find = async (folder: RecipientFolder, name: string): Promise<string> => {
    const answer = await makeFileSource(folder).lookup(mailboxOf(`${name}@example.org`), AbortSignal.timeout(10_000));
    if (answer.kind !== 'found') return answer.kind;
    return answer.candidates.map(({ certificate, place }) => `${certificate.subject} ${place.replace(/^[^/]*\//, '')}`).join();
  };

  test('an index is written, used by the next start, and thrown away and written anew where it is damaged', async () => {
    const [path, cache] = [temporaryFolder(), temporaryFolder()];
    writeFileSync(join(path, 'anna.pem'), pem('anna'));
    writeFileSync(join(path, 'ben.pem'), pem('ben'));
    const first = open(path, cache);
    assert.equal(await find(first, 'anna'), 'CN=anna anna.pem');
    await first.close();
    const file = indexPath(cache, path);
    const whole = readFileSync(file);
    const second = open(path, cache);
    // Not held in memory: read from its place in the file.
    assert.equal(await find(second, 'anna'), 'CN=anna anna.pem');
    await second.close();
    assert.deepEqual(log, []);
    writeFileSync(file, whole.fill(7, whole.length / 2));
    const third = open(path, cache);
    assert.equal(await find(third, 'ben'), 'CN=ben ben.pem');
    assert.match(log.join(), /index of the certificate folder is not used/);
    assert.equal(readIndex(file, path).kind, 'read');
  });

  test('the index of a large folder rests, that of a small one follows each change, and a command writes none', async () => {
    const [path, cache] = [temporaryFolder(), temporaryFolder()];
    const place = (name: string): void => writeFileSync(join(path, `${name}.pem`), pem(name));
    const indexed = (): number => {
      const answer = readIndex(indexPath(cache, path), path);
      return answer.kind === 'read' ? answer.catalogue.files : -1;
    };
    place('anna');
    assert.equal(await find(open(path, cache, { cache: { folder: cache, writable: false } }), 'anna'), 'CN=anna anna.pem');
    assert.equal(indexed(), -1);
    const folder = open(path, cache, { manyFiles: 3 });
    for (const [name, files] of [
      ['ben', 2],
      ['carl', 3],
    ] as const) {
      place(name);
      await folder.refresh();
      assert.equal(indexed(), files, name);
    }
    place('caroline');
    await folder.refresh();
    assert.equal(indexed(), 3, 'the change of a large one is not written yet');
    assert.deepEqual(log, []);
  });

  test('P5: a folder that is empty at the first start is unavailable until that is believed, which is remembered', async () => {
    const [path, cache] = [temporaryFolder(), temporaryFolder()];
    const first = open(path, cache, { delays: { emptiness: 1500 } });
    assert.equal(await find(first, 'anna'), 'unavailable');
    assert.match(log.join(), /is empty at start/);
    assert.deepEqual(await first.survey(), { kind: 'read', broken: [] });
    const command = open(path, cache, { cache: { folder: cache, writable: false } });
    assert.equal(await find(command, 'anna'), 'absent', 'a command tells what is there now');
    assert.deepEqual(readdirSync(cache), []);
    await eventually(async () => (await find(first, 'anna')) === 'absent');
    await first.close();
    assert.equal(log.length, 1);
    const second = open(path, cache);
    assert.equal(await find(second, 'anna'), 'absent');
    writeFileSync(join(path, 'anna.pem'), pem('anna'));
    await second.refresh();
    await second.close();
    // The mount comes late.
    unlinkSync(join(path, 'anna.pem'));
    const third = open(path, cache);
    assert.equal(await find(third, 'anna'), 'unavailable');
    writeFileSync(join(path, 'ben.pem'), pem('ben'));
    await third.refresh();
    assert.equal(await find(third, 'anna'), 'absent');
  });

  test('P9: what changed, moved or went since the last scan is answered as it is now, not as the index has it', async () => {
    const [path, cache] = [temporaryFolder(), temporaryFolder()];
    mkdirSync(join(path, 'ward'));
    for (const name of ['anna', 'ben', 'caroline']) writeFileSync(join(path, `${name}.pem`), pem(name));
    await open(path, cache).refresh();
    await folders[0]?.close();
    // Nothing is held in memory, and the next scan is a second away.
    const folder = open(path, cache, { heldBytes: 0 });
    assert.equal(await find(folder, 'nobody'), 'absent');
    renameSync(join(path, 'anna.pem'), join(path, 'ward/anna.pem'));
    assert.equal(await find(folder, 'anna'), 'CN=anna ward/anna.pem');
    // In the place of hers stands another's, which is no longer.
    writeFileSync(join(path, 'caroline.pem'), `${pem('ben')}${pem('caroline')}`);
    assert.equal(await find(folder, 'caroline'), 'CN=caroline caroline.pem#2');
    unlinkSync(join(path, 'ben.pem'));
    assert.equal(await find(folder, 'ben'), 'CN=ben caroline.pem#1');
    unlinkSync(join(path, 'caroline.pem'));
    assert.equal(await find(folder, 'caroline'), 'absent');
  });

  test('P5: what stood in a file that is broken since the restart is unavailable, not absent', async () => {
    const [path, cache] = [temporaryFolder(), temporaryFolder()];
    for (const name of ['anna', 'ben']) writeFileSync(join(path, `${name}.pem`), pem(name));
    await open(path, cache).refresh();
    await folders[0]?.close();
    writeFileSync(join(path, 'anna.pem'), pem('anna').slice(0, 300));
    const folder = open(path, cache);
    assert.equal(await find(folder, 'anna'), 'unavailable');
    assert.equal(await find(folder, 'ben'), 'CN=ben ben.pem');
    writeFileSync(join(path, 'anna.pem'), pem('anna'));
    await eventually(async () => (await find(folder, 'anna')) === 'CN=anna anna.pem');
  });

  const explain = async (folder: RecipientFolder): Promise<string> => {
    const answer = await makeFileSource(folder).lookup(mailboxOf('anna@example.org'), AbortSignal.timeout(10_000));
    if (answer.kind === 'unavailable') return String(answer.cause);
    const found = answer.kind === 'found' ? answer.candidates.map(({ certificate }) => certificate.subject) : [answer.kind];
    return `${found.join(' ')}${answer.kind === 'found' && answer.incomplete !== undefined ? ', incomplete' : ''}`;
  };

  test('P5 P9: where a certificate of an address stood that cannot be read now, no other is taken in its place', async () => {
    make(made, { name: 'anna-new', extensions: ['subjectAltName=email:anna@example.org'] });
    const path = temporaryFolder();
    const whole = pem('anna') + pem('anna-new');
    writeFileSync(join(path, 'anna.pem'), whole);
    const folder = open(path, temporaryFolder(), { heldBytes: 0 });
    assert.equal(await explain(folder), 'CN=anna CN=anna-new');
    writeFileSync(join(path, 'anna.pem'), whole.slice(0, -300));
    await folder.refresh();
    assert.match(await explain(folder), /anna\.pem#2 held a certificate that cannot be read now/);
    // It is there still, in another file.
    writeFileSync(join(path, 'z.pem'), pem('anna-new'));
    await folder.refresh();
    assert.equal(await explain(folder), 'CN=anna CN=anna-new, incomplete');
  });

  test('a file that was replaced by another whole one is a renewal: the new certificate is used at once, over a restart too', async () => {
    make(made, { name: 'anna-next', extensions: ['subjectAltName=email:anna@example.org'] });
    const [path, cache] = [temporaryFolder(), temporaryFolder()];
    writeFileSync(join(path, 'anna.pem'), pem('anna'));
    const first = open(path, cache);
    assert.equal(await explain(first), 'CN=anna');
    await first.close();
    writeFileSync(join(path, 'anna.pem'), pem('anna-next'));
    const later = open(path, cache);
    assert.match(await explain(later), /^CN=anna-next/);
  });

  test('P5: what is found beside a file that cannot be read, or in a broken one, is not all there may be', async () => {
    const path = temporaryFolder();
    writeFileSync(join(path, 'anna.pem'), pem('anna') + pem('ben').slice(0, -300));
    const first = open(path, temporaryFolder());
    assert.equal(await explain(first), 'CN=anna, incomplete');
    assert.equal(await find(first, 'carl'), 'absent', 'a broken file says nothing of others');
    writeFileSync(join(path, 'anna.pem'), pem('anna'));
    await first.refresh();
    assert.equal(await explain(first), 'CN=anna');
    symlinkSync('anna-2026.pem', join(path, 'anna-2026.pem'));
    await first.refresh();
    assert.equal(await explain(first), 'CN=anna, incomplete');
  });

  test('all certificates come one by one in the order of their paths, and by address or fingerprint', async () => {
    const [path, cache] = [temporaryFolder(), temporaryFolder()];
    writeFileSync(join(path, 'b.pem'), pem('ben') + pem('anna'));
    for (let number = 0; number < 450; number++) writeFileSync(join(path, `c${String(number).padStart(3, '0')}.pem`), pem('carl'));
    writeFileSync(join(path, 'broken.pem'), 'nothing');
    const folder = open(path, cache);
    const collect = async (which?: Parameters<RecipientFolder['entries']>[0]): Promise<string[]> => {
      const found: string[] = [];
      for await (const { certificate, place } of folder.entries(which)) found.push(`${certificate.subject} ${place.replace(/^.*\//, '')}`);
      return found;
    };
    const all = await collect();
    assert.equal(all.length, 452);
    assert.deepEqual(all.slice(0, 3), ['CN=ben b.pem#1', 'CN=anna b.pem#2', 'CN=carl c000.pem']);
    assert.equal(all.at(-1), 'CN=carl c449.pem');
    assert.deepEqual(await collect({ address: 'anna@example.org' }), ['CN=anna b.pem#2']);
    const [ben] = readCertificates(Buffer.from(pem('ben'))).certificates;
    assert.deepEqual(await collect({ fingerprint: ben?.fingerprint.slice(0, 12) ?? '' }), ['CN=ben b.pem#1']);
    const survey = await folder.survey();
    assert.deepEqual(survey.kind === 'read' && survey.broken.map(({ faults }) => faults), [['no certificate in it']]);
  });

  test('a certificate is found again in its place, whatever the form of the file', () => {
    run('openssl', ['crl2pkcs7', '-nocrl', '-certfile', 'anna.pem', '-certfile', 'ben.pem', '-out', 'both.p7b'], made);
    run('openssl', ['crl2pkcs7', '-nocrl', '-certfile', 'anna.pem', '-certfile', 'ben.pem', '-outform', 'DER', '-out', 'both.p7c'], made);
    run('openssl', ['x509', '-in', 'anna.pem', '-outform', 'DER', '-out', 'anna.der'], made);
    const read = (name: string): Buffer => readFileSync(join(made, name));
    const files = [
      read('both.p7b'),
      read('both.p7c'),
      read('anna.der'),
      Buffer.from(`\u{feff}  ${pem('anna')}notes\r\n${pem('ben').replaceAll('\n', '\r\n')}`),
      Buffer.concat([Buffer.from('ä note\n'), read('anna.pem'), read('both.p7b')]),
    ];
    for (const [index, file] of files.entries()) {
      const { certificates, spans, faults } = readCertificates(file);
      assert.deepEqual(faults, []);
      assert.ok(certificates.length > 0);
      for (const [place, { der }] of certificates.entries()) {
        const { at = 0, length = 0 } = spans[place] ?? {};
        assert.ok(
          certificateOctets(file.subarray(at, at + length)).some((one) => one.equals(der)),
          `${index}: ${place}`,
        );
      }
    }
  });
});
