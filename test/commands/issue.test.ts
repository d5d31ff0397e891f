/** `certs issue` for one person: the ledger, who did it, what is handed out, and what is said where the CA cannot be opened. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chownSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { pino } from 'pino';
import { ISSUED, readIssued } from '../../src/certificates/authority/ledger.ts';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { openPkcs12 } from '../../src/certificates/pkcs12/keys.ts';
import { serveControl } from '../../src/control.ts';
import { queuePaths } from '../../src/queue/paths.ts';
import { openSqliteQueue } from '../../src/queue/sqlite.ts';
import { issuedHandlers } from '../../src/upkeep/issued.ts';
import { missingPrograms } from '../interop/programs.ts';
import { type IssuingSite, makeIssuingSite } from './issuing-site.ts';
import { sealpost, temporaryFolder } from './transcript.ts';

const ANNA = 'anna@clinic.example';

async function ledgerOf({ at }: IssuingSite) {
  const paths = queuePaths(at('data/queue.sqlite'), at('data/audit.jsonl'));
  const store = await openSqliteQueue({ ...paths, now: Date.now, log: pino({ level: 'silent' }) });
  try {
    return (await store.records.list(ISSUED)).map(({ value }) => readIssued(value));
  } finally {
    await store.close();
  }
}

const pairOf = ({ at }: IssuingSite, base: string) => {
  const [pair] = openPkcs12(readFileSync(at(`${base}.p12`)), readFileSync(at(`${base}.password`), 'utf8').trim());
  return pair ?? assert.fail('an empty PKCS#12');
};

test('before a relay has run: the ledger and its audit event are there, and nothing says the password', async (t) => {
  const site = await makeIssuingSite(t);
  const told = await site.certs(['issue', ANNA, '--key', 'ec', '--name', 'Anna Bär', '--days', '30', '--by', 'Dr Ben', '--json']);
  assert.equal(told.error, undefined);
  const row: unknown = JSON.parse(told.out);
  const { certificate, others } = pairOf(site, `issued/${ANNA}`);
  const { fingerprint, serial, notBefore, notAfter } = certificate;
  const files = {
    p12: site.at(`issued/${ANNA}.p12`),
    password_file: site.at(`issued/${ANNA}.password`),
    page: site.at(`issued/${ANNA}.html`),
  };
  const placed = site.at(`certs/recipients/${ANNA}.pem`);
  const made = { fingerprint, serial, key: 'P-256', not_after: notAfter.toISOString(), certificate: placed, ...files };
  assert.deepEqual(row, { line: null, address: ANNA, outcome: 'issued', reason: null, made });
  assert.equal(readCertificates(readFileSync(placed)).certificates[0]?.fingerprint, fingerprint);
  assert.equal(others.length, 2);
  for (const file of Object.values(files)) assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(site.at('issued')).mode & 0o777, 0o700);

  const [record, ...more] = await ledgerOf(site);
  assert.equal(more.length, 0);
  const times = { notBefore: notBefore.getTime(), notAfter: notAfter.getTime() };
  assert.partialDeepStrictEqual(record, {
    serial,
    fingerprint,
    address: ANNA,
    name: 'Anna Bär',
    key: 'P-256',
    ...times,
    revoked: null,
    renews: null,
  });
  assert.match(record?.issuedBy ?? '', /^Dr Ben, typed by /);
  const [event] = await site.events('certificate-issued');
  const issuer = 'CN=In-house issuing CA of the clinic';
  const facts = { recipient: ANNA, certificate_sha256: fingerprint, certificate_serial: serial, certificate_issuer: issuer };
  assert.partialDeepStrictEqual(event, { ...facts, operator: record?.issuedBy, key: 'P-256' });
  const secret = readFileSync(site.at(`issued/${ANNA}.password`), 'utf8').trim();
  for (const text of [told.out, told.err, readFileSync(site.at('data/audit.jsonl'), 'utf8'), readFileSync(files.page, 'utf8')])
    assert.equal(text.includes(secret), false);
});

test('who has one gets no other by mistake, also once the files were deleted; --again makes it', async (t) => {
  const site = await makeIssuingSite(t);
  await site.certs(['issue', ANNA, '--key', 'ec']);
  rmSync(site.at('issued'), { recursive: true });
  const { error, out } = await site.certs(['issue', ANNA, '--key', 'ec']);
  assert.equal(out, '');
  assert.equal(error?.code, 'already-issued');
  assert.match(error.message, /anna@clinic\.example: it has a certificate of the in-house CA, valid until /);
  assert.match(error.hint, /^sealpost certs renew anna@clinic\.example makes the next one; .* --again /);
  assert.equal((await ledgerOf(site)).length, 1);
  assert.match((await site.certs(['issue', ANNA, '--key', 'ec', '--again'])).out, /^issued: /);
  assert.equal((await ledgerOf(site)).length, 2);
});

test('a try and a look-up of who was revoked say so, in the words of a command', async (t) => {
  const site = await makeIssuingSite(t);
  await site.certs(['issue', ANNA, '--key', 'ec']);
  assert.equal((await site.certs(['revoke', ANNA, '--reason', 'keyCompromise'])).error, undefined);
  const tried = (await site.certs(['try', ANNA])).error;
  assert.equal(tried?.code, 'nothing-usable');
  assert.match(
    tried.message,
    /^there is no usable certificate: anna@clinic\.example; SHA-256 [0-9a-f]{16}: it was revoked on \S+ \(keyCompromise\)/,
  );
  assert.equal((await site.certs(['lookup', ANNA])).error?.code, 'nothing-usable');
});

test('under a pin it is said that a further one waits', async (t) => {
  const certificates = { pin: true, authority: { passphrase: 'file:keys/ca.passphrase' } };
  const site = await makeIssuingSite(t, { certificates });
  const { out } = await site.certs(['issue', ANNA, '--key', 'ec']);
  assert.match(out, /certificates\.pin is on: .* waits until sealpost certs approve ADDRESS/);
  assert.doesNotMatch(out, /in use within seconds/);
});

test('what cannot be mended afterwards is said before: an operator that was guessed, no list', async (t) => {
  const site = await makeIssuingSite(t);
  const before = readFileSync(site.at('sealpost.yaml'), 'utf8');
  const { err } = await site.certs(['issue', ANNA, '--key', 'ec']);
  assert.match(err, /note: certificates\.authority\.crl\.url is not set/);
  assert.doesNotMatch(err, /guessed/);
  const noted = /^note: certificates\.authority\.crl\.url is not set: .* it counts for later ones only$/m;
  assert.match((await sealpost(site.dir, ['check'])).stdout, noted);
  const guessed: Record<string, unknown> = { ...JSON.parse(before), operator: 'postmaster@relay.clinic.example' };
  const crl = { url: 'http://relay.clinic.example/in-house.crl' };
  guessed['certificates'] = { authority: { passphrase: 'file:keys/ca.passphrase', crl } };
  writeFileSync(site.at('sealpost.yaml'), JSON.stringify(guessed));
  const told = (await site.certs(['issue', 'ben@clinic.example', '--key', 'ec'])).err;
  assert.match(told, /note: the pages send readers to postmaster@relay\.clinic\.example, which sealpost init guessed/);
  assert.doesNotMatch(told, /crl\.url/);
  assert.doesNotMatch((await sealpost(site.dir, ['check'])).stdout, noted);
});

test('what is made lies beside the configuration, wherever the command is given; --out is of where it is given', async (t) => {
  const site = await makeIssuingSite(t);
  const elsewhere = await temporaryFolder(t);
  const config = site.at('sealpost.yaml');
  const { stdout, stderr } = await sealpost(elsewhere, ['-c', config, 'certs', 'issue', ANNA, '--key', 'ec']);
  assert.ok(stdout.includes(`private key  ${site.at(`issued/${ANNA}.p12`)}\n`), stderr);
  assert.deepEqual(readdirSync(elsewhere), []);
  await sealpost(elsewhere, ['-c', config, 'certs', 'issue', 'ben@clinic.example', '--key', 'ec', '--out', 'here']);
  assert.deepEqual(readdirSync(elsewhere), ['here']);
  await sealpost(elsewhere, ['-c', config, 'certs', 'renew', ANNA]);
  assert.ok(readdirSync(site.at('issued')).some((name) => name.startsWith('renewed-')));
});

test('beside a running relay: it writes the ledger', async (t) => {
  const site = await makeIssuingSite(t);
  const paths = queuePaths(site.at('data/queue.sqlite'), site.at('data/audit.jsonl'));
  const log = pino({ level: 'silent' });
  const store = await openSqliteQueue({ ...paths, now: Date.now, log });
  const control = await serveControl({ socket: paths.socket, handlers: issuedHandlers(store.records), log });
  try {
    assert.equal((await site.certs(['issue', ANNA, '--key', 'ec'])).error, undefined);
    assert.deepEqual(
      (await store.records.list(ISSUED)).map(({ key }) => key),
      [pairOf(site, `issued/${ANNA}`).certificate.serial],
    );
  } finally {
    await control.close();
    await store.close();
  }
});

test('a site of one level, made by an earlier release, issues as it did', async (t) => {
  const site = await makeIssuingSite(t, { single: true });
  assert.equal((await site.certs(['issue', ANNA])).error, undefined);
  assert.deepEqual(
    pairOf(site, `issued/${ANNA}`).others.map(({ fingerprint }) => fingerprint),
    readCertificates(readFileSync(site.at('certs/anchors/in-house-ca.pem'))).certificates.map(({ fingerprint }) => fingerprint),
  );
  assert.match((await site.certs(['list'])).out, /^anna@clinic\.example .* usable /);
});

test('without the key of the root certificates are issued and used', async (t) => {
  const site = await makeIssuingSite(t);
  rmSync(site.at('keys/root.key'));
  assert.equal((await site.certs(['issue', ANNA, '--key', 'ec'])).error, undefined);
  assert.match((await site.certs(['list'])).out, /^anna@clinic\.example .* usable /);
});

test('where the CA cannot be opened nothing is written, and the mend is said', async (t) => {
  const site = await makeIssuingSite(t, {
    certificates: { authority: { passphrase: 'env:CA_PASSPHRASE' } },
    env: { CA_PASSPHRASE: 'wrong' },
  });
  const wrong = await site.certs(['issue', ANNA]);
  assert.match(wrong.error?.message ?? '', /the passphrase does not open .*issuing\.key$/);
  assert.doesNotMatch(wrong.error?.message ?? '', /wrong/);
  const unnamed = await makeIssuingSite(t, { certificates: {} });
  const { error } = await unnamed.certs(['issue', ANNA]);
  assert.match(error?.message ?? '', /issuing\.key is encrypted and its passphrase is not known$/);
  assert.match(error?.hint ?? '', /certificates\.authority\.passphrase: file:keys\/ca\.passphrase/);
  for (const one of [site, unnamed]) {
    assert.deepEqual(readdirSync(one.at('certs/recipients')), []);
    assert.deepEqual(readdirSync(one.at('data')), []);
    assert.equal(existsSync(one.at('issued')), false);
  }
});

test('what is typed wrongly is said', async (t) => {
  const site = await makeIssuingSite(t);
  for (const [args, said] of [
    [['issue'], /an address, or --csv FILE/],
    [['issue', ANNA, '--csv', 'x.csv'], /an address, or --csv FILE/],
    [['issue', '--csv', 'x.csv', '--name', 'Anna'], /--name is for one person/],
    [['issue', '--csv', 'x.csv'], /x\.csv/],
    [['issue', ANNA, '--name', ' '], /the name is blank/],
    [['issue', ANNA, '--name', 'An\0na'], /the name holds a control character/],
    [['issue', ANNA, '--name', 'Anna\u202egro.elpmaxe'], /the name holds a control character, or one that .* turns the order of letters/],
    [['issue', ANNA, '--name', 'A'.repeat(65)], /the name is longer than 64 characters/],
  ] as const)
    assert.match((await site.certs(args)).error?.message ?? '', said);
  assert.equal(existsSync(site.at('issued')), false);
});

test('root makes no queue in the folder of another user', { skip: process.getuid?.() === 0 ? false : 'only root meets it' }, async (t) => {
  const site = await makeIssuingSite(t);
  chownSync(site.at('data'), 65_534, 65_534);
  const { error } = await site.certs(['issue', ANNA, '--key', 'ec']);
  assert.equal(error?.code, 'data-folder-unsafe');
  assert.match(error.hint, /sudo -u '#65534'/);
  assert.deepEqual(readdirSync(site.at('data')), []);
  assert.deepEqual(readdirSync(site.at('certs/recipients')), []);
});

test('what an interruption left is finished by the same command', async (t) => {
  const site = await makeIssuingSite(t);
  const kit = `issued/${ANNA}`;
  await site.certs(['issue', ANNA, '--key', 'ec']);
  const first = pairOf(site, kit).certificate.fingerprint;
  // Ended before the certificate was in place.
  rmSync(site.at(`certs/recipients/${ANNA}.pem`));
  assert.match((await site.certs(['issue', ANNA, '--key', 'ec'])).out, /^finished: anna@clinic\.example, P-256/);
  assert.equal(readCertificates(readFileSync(site.at(`certs/recipients/${ANNA}.pem`))).certificates[0]?.fingerprint, first);
  assert.equal((await ledgerOf(site)).length, 1);
  // Ended before the PKCS#12 was: the password may be of one that somebody moved, and is kept.
  rmSync(site.at(`certs/recipients/${ANNA}.pem`));
  rmSync(site.at(`${kit}.p12`));
  const password = readFileSync(site.at(`${kit}.password`), 'utf8');
  assert.match((await site.certs(['issue', ANNA, '--key', 'ec'])).out, /^issued: /);
  assert.equal(readFileSync(site.at(`${kit}.password.unfinished`), 'utf8'), password);
  assert.notEqual(pairOf(site, kit).certificate.fingerprint, first);
  // What was handed out in full is in the way.
  renameSync(site.at(`${kit}.password`), site.at('elsewhere'));
  const again = await site.certs(['issue', ANNA, '--key', 'ec', '--again']);
  assert.match(again.error?.message ?? '', /a file is in the way: issued\/anna@clinic\.example\.p12/);
});

test('where nothing can be handed out nothing is signed', async (t) => {
  const site = await makeIssuingSite(t);
  writeFileSync(site.at('issued'), 'no folder');
  assert.equal((await site.certs(['issue', ANNA, '--key', 'ec'])).error?.code, 'file-unwritable');
  assert.deepEqual(readdirSync(site.at('data')), []);
  assert.deepEqual(readdirSync(site.at('certs/recipients')), []);
});

test('at a terminal the passphrase is asked for, and not shown', { skip: missingPrograms({ script: 'bsdutils' }) }, async (t) => {
  const site = await makeIssuingSite(t, { certificates: {} });
  const passphrase = readFileSync(site.at('keys/ca.passphrase'), 'utf8').trim();
  const cli = resolve(import.meta.dirname, '../../src/cli.ts');
  const command = `${process.execPath} --disable-warning=ExperimentalWarning ${cli} certs issue ${ANNA} --key ec; echo exit $?`;
  const child = spawn('script', ['-qc', command, '/dev/null'], {
    cwd: site.dir,
    env: { PATH: process.env['PATH'] ?? '', HOME: site.dir, TERM: 'dumb' },
  });
  let shown = '';
  child.stdout.on('data', (chunk: Buffer) => {
    shown += chunk.toString();
    if (shown.endsWith('passphrase of the in-house CA: ')) child.stdin.write(`${passphrase}\r`);
  });
  await new Promise((done) => child.on('close', done));
  assert.match(shown, /passphrase of the in-house CA: \r?\n[\s\S]*issued: anna@clinic\.example[\s\S]*exit 0/);
  assert.equal(shown.includes(passphrase), false);
});
