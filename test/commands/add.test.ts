/** `sealpost certs add` from everything people keep certificates in, and from what they should not. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { setImmediate } from 'node:timers/promises';
import { before, beforeEach, describe, test } from 'node:test';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { certificatePem } from '../../src/certificates/pem.ts';
import { makeFolderLock } from '../../src/commands/certificates/folder-lock.ts';
import { caExtensions, derOf, eventually, make, noOpenssl, run, temporaryFolder } from '../certificates/openssl.ts';
import { root } from '../certificates/pki.ts';

const CLI = resolve(import.meta.dirname, '../../src/cli.ts');
const ESCAPE = '\u001b';

interface Told {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

describe('sealpost certs add', { skip: noOpenssl }, () => {
  const made = temporaryFolder();
  const sites = temporaryFolder();
  const { SEALPOST_CONFIG: _, ...env } = process.env;
  let site = '';
  const at = (...parts: readonly string[]): string => join(site, ...parts);
  const add = (args: readonly string[], input: string | Buffer = '', extra: object = {}): Told => {
    const options = { cwd: site, encoding: 'utf8', input, env, timeout: 60_000, ...extra } as const;
    const done = spawnSync(process.execPath, [CLI, 'certs', 'add', ...args], options);
    return { code: done.status, out: done.stdout, err: done.stderr };
  };
  const taken = (): string[] => readdirSync(at('certs/recipients')).sort();
  const pem = (name: string): string => readFileSync(join(made, `${name}.pem`), 'latin1');
  const openssl = (...args: readonly string[]): string => run('openssl', args, made);
  const pkcs12 = (out: string, name: string, ...more: readonly string[]): void =>
    void openssl('pkcs12', '-export', '-inkey', `${name}.key`, '-in', `${name}.pem`, '-out', out, ...more);

  before(() => {
    make(made, { name: 'ca', extensions: caExtensions });
    for (const name of ['anna', 'ben', 'carl']) make(made, { name, issuer: 'ca' });
    make(made, { name: 'old', issuer: 'ca', to: '20250101000000Z' });
    make(made, { name: 'stranger' });
  });
  beforeEach(() => {
    site = mkdtempSync(join(sites, 'site-'));
    for (const folder of ['recipients', 'anchors', 'intermediates']) mkdirSync(at('certs', folder), { recursive: true });
    const ends = { listen: [{ host: '127.0.0.1', port: 2525 }], upstream: [{ host: '127.0.0.1', port: 25 }] };
    writeFileSync(at('sealpost.yaml'), JSON.stringify({ hostname: 'relay.example.org', operator: 'postmaster@example.org', ...ends }));
    writeFileSync(at('certs/anchors/ca.pem'), pem('ca'));
  });

  test('a folder, whatever its files are called: what passes is taken, the rest counted with its reason, and again it is all there', () => {
    mkdirSync(at('in/deep'), { recursive: true });
    writeFileSync(at('in/one.p7'), derOf(pem('anna')));
    writeFileSync(at('in/deep/two'), pem('ben') + pem('old') + pem('stranger'));
    for (const name of ['.hidden', 'notes.txt', 'x~']) writeFileSync(at('in', name), 'no certificate');
    const { code, out, err } = add(['in/']);
    assert.equal(code, 1);
    assert.match(out, /^added: ben@example\.org, valid until 2099-12-31, in certs\/recipients\/ben@example\.org\.pem$/m);
    assert.deepEqual(taken(), ['anna@example.org.pem', 'ben@example.org.pem']);
    assert.match(err, /^sealpost: in\/deep\/two: old@example\.org was not added: it expired on 2025-01-01$/m);
    assert.match(err, /^sealpost: 2 added, 0 already there, 2 refused\n {2}1 expired\n {2}1 with no path to an anchor$/m);
    assert.match(add(['in/one.p7', 'in/deep/two']).err, /^sealpost: 0 added, 2 already there, 2 refused$/m);
  });

  test('--dry-run says the same and writes nothing; --json is one object of all results and the sum', () => {
    const files = ['anna', 'anna', 'old', 'ca'].map((name) => join(made, `${name}.pem`));
    const dry = add(['--dry-run', ...files]);
    assert.match(dry.out, /^would be added: anna@example\.org/);
    assert.match(dry.err, /^sealpost: 1 to be added, 1 already there, 1 refused, 1 CA left out$/m);
    assert.deepEqual(taken(), []);
    const { code, out } = add(['--json', ...files]);
    assert.equal(code, 1);
    const { results, ...sum } = JSON.parse(out);
    assert.deepEqual(sum, {
      taken: 1,
      already_there: 1,
      refused: 1,
      refused_by_class: { expired: 1 },
      authorities_left_out: 1,
      private_keys_left_out: 0,
      dry_run: false,
      stopped: false,
    });
    const fingerprint = readCertificates(Buffer.from(pem('anna'))).certificates[0]?.fingerprint;
    assert.deepEqual(
      results.find(({ outcome }: { outcome: string }) => outcome === 'taken'),
      {
        outcome: 'taken',
        file: files[0],
        line: null,
        addresses: ['anna@example.org'],
        subject: 'CN=anna',
        fingerprint,
        not_after: '2099-12-31T23:59:59.000Z',
        path: 'certs/recipients/anna@example.org.pem',
        class: null,
        reason: null,
      },
    );
    assert.deepEqual(JSON.parse(add(['--json', '--dry-run', 'nowhere']).out).results.length, 1);
  });

  test('PKCS#12: its certificates and never its keys; old ciphers, two keys, no password, a wrong one', () => {
    openssl('pkcs12', '-export', '-nokeys', '-in', 'carl.pem', '-out', 'open.p12', '-passout', 'pass:');
    pkcs12('new.p12', 'anna', '-passout', 'pass:secret');
    pkcs12('old.p12', 'ben', '-legacy', '-certpbe', 'PBE-SHA1-RC2-40', '-keypbe', 'PBE-SHA1-3DES', '-passout', 'pass:older');
    writeFileSync(at('passwords'), 'secret\nolder\n');
    const all = ['open', 'new', 'old'].map((name) => join(made, `${name}.p12`));
    const none = add(all);
    assert.equal(none.code, 1);
    assert.match(none.err, /new\.p12: it needs a password: --password-file FILE\n/);
    assert.deepEqual(taken(), ['carl@example.org.pem']);
    const { code, err } = add(['--password-file', 'passwords', ...all]);
    assert.equal(code, 0, err);
    assert.match(err, /^sealpost: 2 added, 1 already there, 0 refused, 2 private keys left out$/m);
    assert.deepEqual(taken(), ['anna@example.org.pem', 'ben@example.org.pem', 'carl@example.org.pem']);
    for (const name of taken()) assert.doesNotMatch(readFileSync(at('certs/recipients', name), 'latin1'), /PRIVATE/);
    writeFileSync(at('wrong'), 'guess\n');
    const wrong = add(['--password-file', 'wrong', join(made, 'new.p12')]);
    assert.equal(wrong.code, 1);
    assert.match(wrong.err, /new\.p12: no password of the file opens it, or it is damaged/);
    assert.doesNotMatch(wrong.out + wrong.err, /guess/);
  });

  const noKeytool = spawnSync('keytool', ['-help']).error === undefined ? false : 'keytool is not installed';
  test('PKCS#12 with two keys: both certificates', { skip: noKeytool }, () => {
    for (const name of ['anna', 'ben']) {
      pkcs12(`${name}.p12`, name, '-name', name, '-passout', 'pass:secret');
      const from = ['-srckeystore', join(made, `${name}.p12`), '-srcstoretype', 'PKCS12', '-srcstorepass', 'secret'];
      const to = ['-destkeystore', 'two.p12', '-deststoretype', 'PKCS12', '-deststorepass', 'secret'];
      run('keytool', ['-importkeystore', '-noprompt', ...from, ...to], site);
    }
    writeFileSync(at('p'), 'secret\n');
    const { code, err } = add(['--password-file', 'p', 'two.p12']);
    assert.equal(code, 0);
    assert.match(err, /^sealpost: 2 added, 0 already there, 0 refused, 2 private keys left out$/m);
    assert.deepEqual(taken(), ['anna@example.org.pem', 'ben@example.org.pem']);
  });

  test('a private key beside a certificate is left out and said so', () => {
    writeFileSync(at('both.pem'), readFileSync(join(made, 'anna.key'), 'latin1') + pem('anna'));
    openssl('pkcs8', '-topk8', '-nocrypt', '-in', 'anna.key', '-outform', 'DER', '-out', 'key.der');
    const { code, err } = add(['both.pem', join(made, 'key.der')]);
    assert.equal(code, 0);
    assert.match(err, /both\.pem: line 1: a private key was left out: it belongs to its owner alone\n/);
    assert.match(err, /^sealpost: 1 added, 0 already there, 0 refused, 2 private keys left out$/m);
    assert.doesNotMatch(readFileSync(at('certs/recipients/anna@example.org.pem'), 'latin1'), /PRIVATE/);
  });

  test('LDIF from standard input: folded values of both attributes, garbage told with its line', () => {
    const folded = (octets: Buffer): string => octets.toString('base64').replace(/(.{70})(?=.)/g, '$1\n ');
    openssl('crl2pkcs7', '-nocrl', '-certfile', 'ben.pem', '-certfile', 'ca.pem', '-outform', 'DER', '-out', 'ben.p7');
    const lines = [
      '# a dump',
      'dn: cn=Anna',
      `userCertificate;binary:: ${folded(derOf(pem('anna')))}`,
      'garbage',
      '',
      'dn: cn=Ben',
      `userSMIMECertificate:: ${folded(readFileSync(join(made, 'ben.p7')))}`,
      'userCertificate:< file:///etc/passwd',
      '',
      'dn: cn=Cut',
      `userCertificate:: ${derOf(pem('carl')).subarray(0, 300).toString('base64')}`,
      '',
    ];
    const { code, err } = add(['-'], lines.join('\r\n'));
    assert.equal(code, 1);
    assert.deepEqual(taken(), ['anna@example.org.pem', 'ben@example.org.pem']);
    assert.match(err, /^sealpost: -: line \d+: no line of LDIF$/m);
    assert.match(err, /^sealpost: -: line \d+: a value that stands elsewhere \(a URL\), which is not fetched$/m);
    assert.match(err, /^sealpost: 2 added, 0 already there, 3 refused, 1 CA left out$/m);
  });

  test('a dump of more than any file may have streams past', () => {
    const entry = `dn: cn=Photo\njpegPhoto:: ${'A'.repeat(900_000)}\n\n`;
    const dump = `${entry.repeat(40)}dn: cn=Anna\nuserCertificate:: ${derOf(pem('anna')).toString('base64')}\n`;
    writeFileSync(at('dump.ldif'), dump);
    assert.equal(add(['dump.ldif']).code, 0);
    assert.equal(add(['-'], dump).code, 0);
    assert.deepEqual(taken(), ['anna@example.org.pem']);
  });

  test('a signal is heard in a dump that has nothing to take', async () => {
    const child = spawn(process.execPath, [CLI, 'certs', 'add', '-'], { cwd: site, env, stdio: ['pipe', 'ignore', 'pipe'] });
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    child.stdin.on('error', () => {});
    const photos = Buffer.from(`dn: cn=Photo\njpegPhoto:: ${'A'.repeat(60_000)}\n\n`);
    let written = 0;
    const ended = once(child, 'close');
    const feeding = (async () => {
      while (child.exitCode === null) {
        written += photos.length;
        if (child.stdin.write(photos)) await setImmediate();
        else await Promise.race([once(child.stdin, 'drain').catch(() => {}), ended]);
      }
    })();
    await eventually(async () => written > 20_000_000, 60_000);
    child.kill('SIGINT');
    assert.deepEqual(await ended, [1, null]);
    await feeding;
    assert.match(err, /stopped after 0/);
  });

  test('no file at all: pipes, devices, links in a circle and out of the folder, 1 GB, empty, cut; the rest is taken', () => {
    mkdirSync(at('in/loop'), { recursive: true });
    run('mkfifo', ['pipe'], at('in'));
    symlinkSync('..', at('in/loop/up'));
    symlinkSync('self', at('in/self'));
    symlinkSync('/etc/hostname', at('in/out'));
    symlinkSync('nothing', at('in/gone'));
    writeFileSync(at('in/large'), '');
    truncateSync(at('in/large'), 1_000_000_000);
    writeFileSync(at('in/empty'), '');
    writeFileSync(at('in/cut.pem'), pem('ben').slice(0, 200));
    writeFileSync(at('in/cut.der'), derOf(pem('ben')).subarray(0, 200));
    writeFileSync(at('in/real.pem'), pem('anna'));
    symlinkSync('real.pem', at('in/link'));
    const { code, err } = add(['in', '/dev/zero', 'missing']);
    assert.equal(code, 1);
    assert.deepEqual(taken(), ['anna@example.org.pem']);
    const reasons = [
      [/in\/pipe: no regular file/, /in\/self: a link that leads in a circle/, /in\/out: a link that leads out of the folder/],
      [
        /in\/gone: a link to nothing/,
        /in\/large: more than 1048576 octets/,
        /in\/empty: the file is empty/,
        /cut\.pem: line 1: BEGIN CERTIFICATE without/,
      ],
      [
        /cut\.der: a length that goes beyond its end/,
        /zero: no regular file but a device: sealpost certs add - reads one/,
        /missing: it is not there/,
      ],
    ];
    for (const reason of reasons.flat()) assert.match(err, reason);
    assert.match(err, /^sealpost: 1 added, 1 already there, 10 refused$/m);
  });

  test('addresses with blanks, NUL and controls refuse the certificate, and no name reaches the terminal raw (A21)', () => {
    const names = ['blank', 'nul', 'escape'];
    for (const [index, hex] of ['20', '00', '1b'].entries()) {
      const octets = Buffer.from(`6162${hex}40612e6465`, 'hex').toString('hex');
      const san = `subjectAltName=DER:${Buffer.from(`300a8108${octets}`, 'hex')
        .toString('hex')
        .replace(/(..)(?=.)/g, '$1:')}`;
      make(made, { name: names[index] ?? '', issuer: 'ca', extensions: [san] });
    }
    writeFileSync(at(`${ESCAPE}[2J.pem`), pem('escape'));
    const { code, out, err } = add([`${ESCAPE}[2J.pem`, ...['blank', 'nul'].map((name) => join(made, `${name}.pem`))]);
    assert.equal(code, 1);
    assert.match(err, /^sealpost: 0 added, 0 already there, 3 refused$/m);
    assert.ok(!(out + err).includes(ESCAPE) && !(out + err).includes('\0'));
    assert.match(err, /\\u001b\[2J\.pem/);
    assert.deepEqual(taken(), []);
  });

  test('a file of its address that is no good PEM is not overwritten', () => {
    writeFileSync(at('certs/recipients/anna@example.org.pem'), 'keep me');
    const { code, err } = add([join(made, 'anna.pem'), join(made, 'ben.pem')]);
    assert.equal(code, 1);
    assert.match(err, /anna@example\.org was not added: the file of its address is no PEM file/);
    assert.equal(readFileSync(at('certs/recipients/anna@example.org.pem'), 'utf8'), 'keep me');
    assert.ok(taken().includes('ben@example.org.pem'));
  });

  test('a folder, a pipe, a file without permission in the place of an address: that one is refused, the rest is taken', () => {
    mkdirSync(at('certs/recipients/anna@example.org.pem'));
    run('mkfifo', ['ben@example.org.pem'], at('certs/recipients'));
    const all = ['anna', 'ben', 'carl'].map((name) => join(made, `${name}.pem`));
    const { code, err } = add(all);
    assert.equal(code, 1);
    assert.match(err, /anna@example\.org was not added: something that is no file stands in the place of the file of its address/);
    assert.match(err, /ben@example\.org was not added: something that is no file/);
    assert.match(err, /^sealpost: 1 added, 0 already there, 2 refused\n {2}2 with another file in their place$/m);
    assert.ok(statSync(at('certs/recipients/carl@example.org.pem')).isFile());
    const uid = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
    for (const folder of [made, sites, site]) chmodSync(folder, 0o755);
    chmodSync(at('certs/recipients'), 0o777);
    make(made, { name: 'dora', issuer: 'ca' });
    writeFileSync(at('certs/recipients/dora@example.org.pem'), pem('dora'));
    chmodSync(at('certs/recipients/dora@example.org.pem'), 0);
    make(made, { name: 'dora2', issuer: 'ca', extensions: ['subjectAltName=email:dora@example.org'] });
    make(made, { name: 'emil', issuer: 'ca' });
    const closed = add(
      ['dora2', 'emil'].map((name) => join(made, `${name}.pem`)),
      '',
      uid,
    );
    assert.equal(closed.code, 1);
    assert.match(closed.err, /dora@example\.org was not added: a file that cannot be read \(EACCES\) stands in the place/);
    assert.match(closed.err, /^sealpost: 1 added, 0 already there, 1 refused$/m);
  });

  test('two at once, of other certificates for the same addresses: what either told as added is there', async () => {
    const authority = root('Import CA');
    writeFileSync(at('certs/anchors/import.pem'), certificatePem(authority.certificate));
    const addresses = Array.from({ length: 200 }, (_, number) => `reader${number}@example.org`);
    for (const folder of ['one', 'two']) {
      mkdirSync(at(folder));
      for (const address of addresses) writeFileSync(at(folder, address), certificatePem(authority.leaf(address)));
    }
    const added = await Promise.all(
      ['one', 'two'].map(async (folder) => {
        const child = spawn(process.execPath, [CLI, 'certs', 'add', folder], { cwd: site, env, stdio: ['ignore', 'pipe', 'inherit'] });
        let out = '';
        child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
        assert.deepEqual(await once(child, 'close'), [0, null]);
        return out.split('\n').filter((line) => line.startsWith('added: ')).length;
      }),
    );
    assert.deepEqual(added, [200, 200]);
    assert.deepEqual(readdirSync(at('certs/recipients')).length, 200, 'no lock and no temporary is left');
    const stand = taken().map((name) => readCertificates(readFileSync(at('certs/recipients', name))).certificates.length);
    assert.deepEqual(new Set(stand), new Set([2]));
  });

  test('while another command writes it waits, says so, and keeps what that one wrote; a signal ends the waiting', async () => {
    make(made, { name: 'anna2', issuer: 'ca', extensions: ['subjectAltName=email:anna@example.org'] });
    const place = at('certs/recipients/anna@example.org.pem');
    const start = (name: string) => {
      const child = spawn(process.execPath, [CLI, 'certs', 'add', join(made, `${name}.pem`)], { cwd: site, env });
      const said = { err: '' };
      child.stderr.setEncoding('utf8').on('data', (text: string) => (said.err += text));
      return {
        child,
        said,
        isWaiting: () => eventually(async () => said.err.includes('another command writes into certs/recipients'), 60_000),
      };
    };
    const lock = makeFolderLock(at('certs/recipients'), { stderr: process.stderr, cwd: site });
    await lock.hold(async () => {
      const stopped = start('ben');
      await stopped.isWaiting();
      stopped.child.kill('SIGINT');
      assert.deepEqual(await once(stopped.child, 'close'), [1, null]);
      assert.match(stopped.said.err, /waiting for it was stopped/);
    });
    let both: ReturnType<typeof start> | undefined;
    await lock.hold(async () => {
      both = start('anna2');
      await both.isWaiting();
      assert.match(both.said.err, new RegExp(`\\(process ${process.pid}\\): waiting for it`));
      writeFileSync(place, pem('anna'));
    });
    assert.ok(both !== undefined);
    assert.deepEqual(await once(both.child, 'close'), [0, null]);
    assert.equal(readCertificates(readFileSync(place)).certificates.length, 2);
    assert.deepEqual(taken(), ['anna@example.org.pem']);
  });

  test('of a hundred refusals of one kind ten are told, and --verbose tells all', () => {
    mkdirSync(at('in'));
    for (let number = 0; number < 30; number++) writeFileSync(at('in', `${number}`), 'nothing');
    const lines = (text: string): number => text.split('\n').filter((line) => line.endsWith('no certificate in it')).length;
    const few = add(['in']);
    assert.equal(lines(few.err), 10);
    assert.match(few.err, /30 of 30 not added\n {2}hint: --verbose tells all of them/);
    assert.equal(lines(add(['--verbose', 'in']).err), 30);
  });

  test('hundreds, with several for one address: written by threads, each once; killed in the middle, nothing is half-written', async () => {
    const authority = root('Import CA');
    writeFileSync(at('certs/anchors/import.pem'), certificatePem(authority.certificate));
    mkdirSync(at('in'));
    const addresses = Array.from({ length: 600 }, (_, number) => `reader${String(Math.floor(number / 2)).padStart(3, '0')}@example.org`);
    for (const [number, address] of addresses.entries())
      writeFileSync(at('in', `${(number * 7) % 600}`), certificatePem(authority.leaf(address)));
    const whole = (): string[] =>
      taken().flatMap((name) => {
        if (name.startsWith('.')) return [];
        const { certificates, faults } = readCertificates(readFileSync(at('certs/recipients', name)));
        assert.deepEqual(faults, []);
        return certificates.map(({ fingerprint }) => fingerprint);
      });
    const child = spawn(process.execPath, [CLI, 'certs', 'add', 'in'], { cwd: site, env, stdio: ['ignore', 'pipe', 'ignore'] });
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'close');
    const told = out.split('\n').filter((line) => line.startsWith('added: ')).length;
    assert.ok(told > 0 && whole().length >= told, `${told} were told as added`);
    const { code, err } = add(['in']);
    assert.equal(code, 0, err);
    assert.equal(new Set(whole()).size, 600);
    assert.equal(whole().length, 600);
  });

  test('a dry run does not call there what is not; an empty folder and a signed mail are told what they are', () => {
    for (const folder of ['in', 'none', 'none/deep']) mkdirSync(at(folder));
    for (const file of ['a', 'b']) writeFileSync(at('in', file), pem('anna'));
    const dry = add(['--dry-run', 'in']);
    assert.equal(dry.code, 0, dry.err);
    assert.match(dry.out, /^would be added: anna@.*\nwould be added once: anna@example\.org is in in\/b and in in\/a\n$/);
    assert.match(dry.err, /^sealpost: 1 to be added, 1 already there, 0 refused$/m);
    assert.equal(add(['in']).code, 0);
    assert.match(add(['--dry-run', 'in/b']).out, /^already there: anna@example\.org in certs\/recipients\/anna@example\.org\.pem\n$/);
    writeFileSync(at('none/deep/notes.txt'), '');
    const none = add(['none/']);
    assert.equal(none.code, 1);
    assert.match(
      none.err,
      /^sealpost: none: nothing to add in this folder\nsealpost: 0 added, 0 already there, 1 refused\n {2}1 with nothing to add in it$/m,
    );
    writeFileSync(join(made, 'text'), 'hello');
    openssl('cms', '-sign', '-in', 'text', '-signer', 'anna.pem', '-inkey', 'anna.key', '-out', 'anna.eml');
    writeFileSync(at('anna.eml'), `From: anna@example.org\r\n${readFileSync(join(made, 'anna.eml'), 'latin1')}`);
    assert.match(
      add(['anna.eml']).err,
      /^sealpost: anna\.eml: mail, whose certificate is taken by another command: sealpost certs harvest FILE$/m,
    );
  });

  test('a folder and a file without permission are told, and the rest is taken', () => {
    for (const folder of ['in', 'in/closed']) mkdirSync(at(folder));
    for (const file of ['in/anna', 'in/ben']) writeFileSync(at(file), pem(file.slice(3)));
    // Root reads everything: it is somebody else who runs this.
    const uid = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
    for (const folder of [sites, site]) chmodSync(folder, 0o755);
    chmodSync(at('certs/recipients'), 0o777);
    for (const closed of ['in/closed', 'in/ben']) chmodSync(at(closed), 0);
    const { code, err } = add(['in'], '', uid);
    assert.equal(code, 1);
    assert.match(err, /in\/closed: no permission to read it/);
    assert.match(err, /in\/ben: no permission to read it/);
    assert.deepEqual(taken(), ['anna@example.org.pem']);
  });

  test('stopped in the middle, what was told is whole, nothing is half-written, and the next run goes on', async (t) => {
    mkdirSync(at('in'));
    const names = Array.from({ length: 401 }, (_, number) => `${number}`.padStart(3, '0'));
    for (const name of names) writeFileSync(at('in', name), name === '399' ? pem('ben') : pem('anna'));
    const child = spawn(process.execPath, [CLI, 'certs', 'add', 'in', '-'], { cwd: site, env, stdio: ['pipe', 'pipe', 'pipe'] });
    t.after(() => child.kill('SIGKILL'));
    let [out, err] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    // The file behind Ben's is told: his is read, and standard input is waited for.
    await eventually(async () => out.split('already there').length > 399, 60_000);
    child.kill('SIGINT');
    child.stdin.end(pem('carl'));
    const [code] = await once(child, 'close');
    assert.equal(code, 1);
    assert.match(err, /stopped after/);
    assert.match(out, /^added: anna@example\.org/m);
    assert.deepEqual(taken(), ['anna@example.org.pem', 'ben@example.org.pem']);
    assert.equal(add(['in', join(made, 'carl.pem')]).code, 0);
    assert.deepEqual(taken(), ['anna@example.org.pem', 'ben@example.org.pem', 'carl@example.org.pem']);
  });
});
