/** `certs issue --csv`: tables as people write them, good rows beside bad ones, and a run that was killed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { pino } from 'pino';
import { ISSUED, readIssued } from '../../src/certificates/authority/ledger.ts';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { openPkcs12 } from '../../src/certificates/pkcs12/keys.ts';
import { inBatches } from '../../src/commands/certificates/issuing.ts';
import { readRoster } from '../../src/commands/certificates/roster.ts';
import { fileNameOf, writeAllNew } from '../../src/commands/certificates/store.ts';
import { queuePaths } from '../../src/queue/paths.ts';
import { openSqliteQueue } from '../../src/queue/sqlite.ts';
import { BATCH_LENGTH, BATCH_RECORDS } from '../../src/upkeep/issued.ts';
import { eventually } from '../certificates/openssl.ts';
import { type IssuingSite, makeIssuingSite } from './issuing-site.ts';

const recipients = ({ at }: IssuingSite): string[] => readdirSync(at('certs/recipients')).sort();

/** The certificates that are in use; each must open by what was handed out, and stand in the ledger. */
async function assertSound(site: IssuingSite, out: string): Promise<readonly string[]> {
  const paths = queuePaths(site.at('data/queue.sqlite'), site.at('data/audit.jsonl'));
  const store = await openSqliteQueue({ ...paths, now: Date.now, log: pino({ level: 'silent' }) });
  const ledger = new Set((await store.records.list(ISSUED)).map(({ value }) => readIssued(value).fingerprint));
  await store.close();
  const names = recipients(site).filter((name) => name.endsWith('.pem') && !name.startsWith('.'));
  for (const name of names) {
    const address = name.slice(0, -'.pem'.length);
    const certificates = readCertificates(readFileSync(site.at('certs/recipients', name))).certificates;
    assert.equal(certificates.length, 1);
    const [pair] = openPkcs12(
      readFileSync(site.at(out, `${address}.p12`)),
      readFileSync(site.at(out, `${address}.password`), 'utf8').trim(),
    );
    assert.equal(pair?.certificate.fingerprint, certificates[0]?.fingerprint);
    assert.ok(ledger.has(pair?.certificate.fingerprint ?? ''));
    assert.ok(existsSync(site.at(out, `${address}.html`)));
  }
  return names;
}

test('A21: a table as Excel writes it: good rows are made, each bad one is told with its line, and given again nothing is made twice', async (t) => {
  const site = await makeIssuingSite(t);
  const lines = [
    'Address;Name;Key;Days',
    'anna@clinic.example;Anna Bär;ec;30', // 2
    'ben@clinic.example;=cmd|calc;p384;', // 3: text like any other
    'nobody;X;ec;', // 4
    'carl@clinic.example;Carl;dsa;', // 5
    'dora@clinic.example;Do\u202era;ec;', // 6
    'emil@clinic.example;Em\0il;ec;', // 7
    'fritz@clinic.example;Fritz;ec;0', // 8
    'ANNA@clinic.example;;ec;', // 9
    'gina@clinic.example;"Gina;ec;', // 10
    'two blanks@clinic.example;;ec;', // 11
    'hans@clinic.example;ec', // 12
    '',
    `ida@clinic.example;${'I'.repeat(65)};ec;`, // 14
    '"jo@clinic.example";"Berg; ""Jo""";ec;', // 15
  ];
  writeFileSync(site.at('staff.csv'), `\ufeff${lines.join('\r\n')}\r\n`);
  const told = await site.certs(['issue', '--csv', 'staff.csv', '--key', 'ec', '--by', 'Dr Ben']);
  assert.deepEqual(told.err.trimEnd().split('\n'), [
    'sealpost: note: certificates.authority.crl.url is not set: what is issued now names no list of the revoked to others, and carries no policy',
    'sealpost: line 4: nobody: the address: no @ in it',
    'sealpost: line 5: carl@clinic.example: the key is none of rsa, rsa3072, rsa4096, ec, p384, p521',
    'sealpost: line 6: dora@clinic.example: the name holds a control character, or one that shows as nothing or turns the order of letters',
    'sealpost: line 7: emil@clinic.example: the name holds a control character, or one that shows as nothing or turns the order of letters',
    'sealpost: line 8: fritz@clinic.example: the days are not a whole number from 1 to 3652',
    'sealpost: line 9: ANNA@clinic.example: the address stands in line 2 already',
    'sealpost: line 10: a quote is not closed in its line',
    'sealpost: line 11: two blanks@clinic.example: the address: a blank, control or look-alike character before the @',
    'sealpost: line 12: hans@clinic.example: 2 fields where the header has 4',
    'sealpost: line 14: ida@clinic.example: the name is longer than 64 characters',
  ]);
  assert.match(told.out, /^issued: 3 of 13 rows\nrefused: 10\n {2}\.p12, \.password and \.html of each in issued\n\nnext: hand each/);
  assert.equal(told.error?.code, 'certificate-unusable');
  assert.match(told.error.message, /10 of 13 rows were refused/);
  assert.deepEqual(await assertSound(site, 'issued'), ['anna@clinic.example.pem', 'ben@clinic.example.pem', 'jo@clinic.example.pem']);
  const subjects = recipients(site).map(
    (name) => readCertificates(readFileSync(site.at('certs/recipients', name))).certificates[0]?.subject,
  );
  assert.deepEqual(subjects, ['CN=Anna Bär', 'CN==cmd|calc', 'CN=Berg\\; \\"Jo\\"']);
  assert.equal((await site.events('certificate-issued')).length, 3);

  const json = await site.certs(['issue', '--csv', 'staff.csv', '--key', 'ec', '--json']);
  const summed: { readonly results: readonly Readonly<Record<string, unknown>>[] } = JSON.parse(json.out);
  assert.partialDeepStrictEqual(summed, { issued: 0, finished: 0, already_there: 3, refused: 10 });
  assert.deepEqual(
    summed.results.filter(({ outcome }) => outcome === 'already-there').map(({ line }) => line),
    [2, 3, 15],
  );
  assert.equal(summed.results.filter(({ outcome }) => outcome === 'refused').length, 10);
  assert.equal((await site.events('certificate-issued')).length, 3);

  writeFileSync(site.at('again.csv'), 'address\nanna@clinic.example\n');
  const again = await site.certs(['issue', '--csv', 'again.csv', '--key', 'ec', '--again', '--out', 'second']);
  assert.equal(again.error, undefined);
  assert.match(again.out, /^issued: 1 of 1 rows\n/);
  assert.equal(readCertificates(readFileSync(site.at('certs/recipients/anna@clinic.example.pem'))).certificates.length, 2);
});

test('two long addresses that are alike in what a file name holds are two people; given again, nothing is made twice', async (t) => {
  const site = await makeIssuingSite(t);
  const long = (end: string): string => `${'a'.repeat(64)}@${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(40)}${end}.example`;
  writeFileSync(site.at('staff.csv'), `address\n${long('x')}\nanna@clinic.example\n${long('y')}\n`);
  const { error, out } = await site.certs(['issue', '--csv', 'staff.csv', '--key', 'ec']);
  assert.equal(error, undefined);
  assert.match(out, /^issued: 3 of 3 rows\n/);
  assert.equal((await assertSound(site, 'issued')).length, 3);
  const again = await site.certs(['issue', '--csv', 'staff.csv', '--key', 'ec']);
  assert.equal(again.error, undefined);
  assert.equal((await assertSound(site, 'issued')).length, 3);
  assert.equal(fileNameOf('anna@clinic.example'), 'anna@clinic.example');
  assert.notEqual(fileNameOf(long('x')), fileNameOf(long('y')));
  for (const name of [long('x'), `${'ö'.repeat(32)}@${'b'.repeat(63)}.example`]) assert.ok(fileNameOf(name).length <= 200);
});

test('where two are given one name at a time, one has it whole and the other alone is refused', async (t) => {
  const site = await makeIssuingSite(t);
  const file = (name: string, content: string) => ({ path: site.at(name), content, mode: 0o600 });
  const both = await Promise.allSettled(['one', 'two'].map((who) => writeAllNew([file('a.password', who), file('a.p12', who)])));
  const [refused, ...others] = both.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
  assert.deepEqual(others, []);
  assert.equal(refused.code, 'file-exists');
  assert.equal(readFileSync(site.at('a.p12'), 'utf8'), readFileSync(site.at('a.password'), 'utf8'));
  assert.deepEqual(
    readdirSync(site.dir).filter((name) => name.endsWith('.tmp')),
    [],
  );
});

test('from standard input; who has a certificate from before there was a ledger is left alone too', async (t) => {
  const site = await makeIssuingSite(t, { single: true });
  await site.certs(['issue', 'anna@clinic.example', '--key', 'ec']);
  rmSync(site.at('data'), { recursive: true });
  const { out, error } = await site.certs(['issue', '--csv', '-', '--key', 'ec'], 'address\nanna@clinic.example\nben@clinic.example\n');
  assert.match(out, /^issued: 1 of 2 rows\nleft as they are: 1 that have a certificate of the in-house CA already; --again makes others\n/);
  assert.equal(error, undefined);
});

test('rows that Excel left empty are passed over, its names of the address column taken, and a header alone is told of', async (t) => {
  const site = await makeIssuingSite(t);
  const { out, error } = await site.certs(
    ['issue', '--csv', '-', '--key', 'ec'],
    'E-Mail;name;key\r\nanna@clinic.example;Anna;\r\n;;\r\n; ;;;\r\n',
  );
  assert.equal(error, undefined);
  assert.match(out, /^issued: 1 of 1 rows\n/);
  const empty = await site.certs(['issue', '--csv', '-', '--key', 'ec'], 'address;name;key\n;;\n');
  assert.equal(empty.out, 'issued: 0 of 0 rows\n');
  assert.match(empty.error?.message ?? '', /there is no row below its header/);
});

test('what is no such table is refused whole, with its mend', () => {
  const usual = { key: 'ec', days: 30 } as const;
  for (const [text, said] of [
    ['', /staff\.csv: it is empty$/],
    ['anna@clinic.example,Anna\n', /its header names "anna@clinic\.example", which is no column$/],
    ['name,key\nAnna,ec\n', /its header names no address$/],
    ['address,address\n', /its header names address twice$/],
    ['address,"na\n', /a quote is not closed in its line$/],
  ] as const)
    assert.throws(() => readRoster(Buffer.from(text), 'staff.csv', usual), { code: 'file-unreadable', message: said });
  assert.throws(
    () => readRoster(Buffer.from('address,name\na@b.example,Bär\n', 'latin1'), 'staff.csv', usual),
    /line 2 is not UTF-8; save it as "CSV UTF-8"/,
  );
});

test('what goes to the ledger at one time fits the control socket', () => {
  const ids = { serial: 'a'.repeat(32), fingerprint: 'f'.repeat(64), issuer: 'f'.repeat(64), revoked: null, renews: null };
  const times = { notBefore: 1, notAfter: 2, issuedAt: 1 };
  const who = { address: `${'ö'.repeat(32)}@${'x'.repeat(180)}`, name: '😀'.repeat(64), issuedBy: 'y'.repeat(900) };
  const record = { ...ids, ...times, ...who, key: 'RSA-2048' };
  const batches = inBatches(Array.from({ length: 120 }, () => record));
  assert.equal(batches.flat().length, 120);
  for (const batch of batches) assert.ok(Buffer.byteLength(JSON.stringify(batch)) <= BATCH_LENGTH + 1 && batch.length <= BATCH_RECORDS);
  const short = { ...record, address: 'a@b.example', name: null, issuedBy: 'root' };
  assert.deepEqual(
    inBatches(Array.from({ length: 120 }, () => short)).map(({ length }) => length),
    [50, 50, 20],
  );
});

test(
  'killed again and again, then run to its end: everybody has one certificate, which what they were handed opens',
  { timeout: 240_000 },
  async (t) => {
    const site = await makeIssuingSite(t);
    const count = 120;
    const people = Array.from({ length: count }, (_, index) => `p${index}@clinic.example`);
    writeFileSync(site.at('staff.csv'), `address\n${people.join('\n')}\n`);
    const cli = resolve(import.meta.dirname, '../../src/cli.ts');
    const args = ['--disable-warning=ExperimentalWarning', cli, 'certs', 'issue', '--csv', 'staff.csv', '--key', 'ec'];
    const seen = (folder: string): number => (existsSync(site.at(folder)) ? readdirSync(site.at(folder)).length : 0);
    // While the first kits are written, while certificates are placed, and later.
    for (const reached of [() => seen('issued') > 20, () => recipients(site).length > 60, () => seen('issued') > 250]) {
      const child = spawn(process.execPath, args, { cwd: site.dir, stdio: 'ignore', env: { PATH: process.env['PATH'] ?? '' } });
      let ended = false;
      const closed = new Promise<void>((done) => child.on('close', () => done(((ended = true), undefined))));
      await eventually(async () => ended || reached(), 60_000);
      child.kill('SIGKILL');
      await closed;
      await assertSound(site, 'issued');
    }
    const { error, out } = await site.certs(['issue', '--csv', 'staff.csv', '--key', 'ec']);
    assert.equal(error, undefined, out);
    assert.equal((await assertSound(site, 'issued')).length, count);
    assert.deepEqual(
      readdirSync(site.at('issued')).filter((name) => name.endsWith('.tmp')),
      [],
      'no password is left behind',
    );
  },
);
