/** `sealpost certs` as people run it: what they type, what they read, the exit code, what is on the disk. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { before, describe, test } from 'node:test';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { isKeyOf, openPkcs12 } from '../../src/certificates/pkcs12/keys.ts';
import { createAuthority } from '../../src/commands/certificates/authority.ts';
import { caExtensions, make, noOpenssl, run, temporaryFolder } from '../certificates/openssl.ts';

const CLI = resolve(import.meta.dirname, '../../src/cli.ts');

interface Told {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

describe('sealpost certs', { skip: noOpenssl }, () => {
  const site = temporaryFolder();
  const made = temporaryFolder();
  const at = (...parts: readonly string[]): string => join(site, ...parts);
  const recipients = (): string[] => readdirSync(at('certs/recipients')).sort();
  const certs = (args: readonly string[], input = ''): Told => {
    const { SEALPOST_CONFIG: _, ...env } = process.env;
    const done = spawnSync(process.execPath, [CLI, 'certs', ...args], { cwd: site, encoding: 'utf8', input, env });
    return { code: done.status, out: done.stdout, err: done.stderr };
  };
  const pem = (name: string): string => readFileSync(join(made, `${name}.pem`), 'latin1');

  before(async () => {
    for (const folder of ['recipients', 'anchors', 'intermediates']) mkdirSync(at('certs', folder), { recursive: true });
    const site = { hostname: 'relay.example.org', operator: 'postmaster@example.org' };
    const ends = { listen: [{ host: '127.0.0.1', port: 2525 }], upstream: [{ host: '127.0.0.1', port: 25 }] };
    writeFileSync(
      at('sealpost.yaml'),
      JSON.stringify({ ...site, ...ends, certificates: { authority: { passphrase: 'file:keys/ca.passphrase' } } }),
    );
    const places = { anchors: at('certs/anchors'), intermediates: at('certs/intermediates'), keys: at('keys') };
    await createAuthority(places, 'the clinic', Date.now());
    make(made, { name: 'partner', extensions: caExtensions });
    writeFileSync(at('certs/anchors/partner.pem'), pem('partner'));
    make(made, { name: 'carl', issuer: 'partner' });
    make(made, { name: 'dora', issuer: 'partner', to: '20250101000000Z' });
    make(made, { name: 'emil' });
    make(made, { name: 'carl2', issuer: 'partner', extensions: ['subjectAltName=email:carl@example.org'] });
  });

  test('an empty site says what to do', () => {
    assert.deepEqual(certs(['list']), {
      code: 0,
      out: '',
      err: 'sealpost: no certificates yet: sealpost certs add FILE, or sealpost certs issue ADDRESS\n',
    });
  });

  test('issue: the certificate is listed, the PKCS#12 opens with the password, both files are for their owner alone', () => {
    const { code, out } = certs(['issue', 'Anna@example.org']);
    assert.equal(code, 0);
    assert.match(out, /^issued: Anna@example\.org, RSA-2048, valid until \d{4}-\d\d-\d\d\n/);
    assert.match(out, /next: hand the \.p12 and its page to the reader/);
    const password = readFileSync(at('issued/Anna@example.org.password'), 'utf8');
    assert.match(password, /^([a-hj-km-np-z2-9]{4}-){4}[a-hj-km-np-z2-9]{4}\n$/);
    assert.equal(out.includes(password.trim()), false);
    const [pair] = openPkcs12(readFileSync(at('issued/Anna@example.org.p12')), password.trim());
    assert.ok(pair !== undefined && isKeyOf(pair.key, pair.certificate));
    const [certificate] = readCertificates(readFileSync(at('certs/recipients/anna@example.org.pem'))).certificates;
    assert.equal(certificate?.fingerprint, pair.certificate.fingerprint);
    for (const name of ['Anna@example.org.p12', 'Anna@example.org.password'])
      assert.equal(statSync(at('issued', name)).mode & 0o777, 0o600);
    for (const name of ['ca.passphrase', 'root.key', 'issuing.key']) assert.equal(statSync(at('keys', name)).mode & 0o777, 0o600, name);
    assert.match(
      certs(['list']).out,
      /^anna@example\.org {2}RSA-2048 {2}\d{4}-\d\d-\d\d {2}usable {2}certs\/recipients\/anna@example\.org\.pem {2}[0-9a-f]{16}\n$/,
    );
  });

  test('issue: nothing is overwritten, and nothing is issued then', () => {
    const before = readFileSync(at('certs/recipients/anna@example.org.pem'));
    const { code, err } = certs(['issue', 'Anna@example.org', '--again']);
    assert.equal(code, 1);
    assert.match(err, /^sealpost: a file is in the way: issued\/Anna@example\.org\.p12\n {2}hint: move it away/m);
    assert.deepEqual(readFileSync(at('certs/recipients/anna@example.org.pem')), before);
  });

  test('issue: EC, a name, days, another folder; an address in UTF-8 and one that looks like a path', () => {
    assert.equal(certs(['issue', 'ben@example.org', '--key', 'p384', '--name', 'Ben Bär', '--days', '30', '--out', 'handout']).code, 0);
    const [row] = JSON.parse(certs(['show', 'certs/recipients/ben@example.org.pem', '--json']).out);
    assert.equal(row.key, 'P-384');
    assert.equal(row.subject, 'CN=Ben Bär');
    assert.equal(Math.round((Date.parse(row.not_after) - Date.now()) / 86_400_000), 30);
    assert.equal(certs(['issue', 'ödön@bücher.example', '--key', 'ec']).code, 0);
    assert.equal(certs(['issue', '../../up/and=away@example.org', '--key', 'ec']).code, 1, 'dots may not stand together');
    assert.equal(certs(['issue', 'up/and=away@example.org', '--key', 'ec']).code, 0);
    assert.ok(recipients().includes('up%2fand=away@example.org.pem'));
    assert.match(certs(['lookup', 'up/and=away@example.org']).out, /used: SHA-256/);
    assert.match(certs(['lookup', 'ödön@bücher.example']).out, /^ödön@xn--bcher-kva\.example\n {2}used: SHA-256/);
  });

  test('issue: what is typed wrongly is said', () => {
    const days = certs(['issue', 'x@example.org', '--days', '0']);
    assert.equal(days.code, 2);
    assert.match(days.err, /whole number from 1 to/);
    assert.equal(certs(['issue', 'x@example.org', '--key', 'dsa']).code, 2);
    const address = certs(['issue', 'x']);
    assert.equal(address.code, 1);
    assert.match(address.err, /not a mail address: x: no @ in it/);
  });

  test('add: a PEM, the same again, a second one for the address, a PKCS#7 from standard input', () => {
    assert.match(
      certs(['add', join(made, 'carl.pem')]).out,
      /^added: carl@example\.org, valid until 2099-12-31, in certs\/recipients\/carl@example\.org\.pem\n$/,
    );
    const again = certs(['add', join(made, 'carl.pem')]);
    assert.equal(again.code, 0);
    assert.match(again.out, /^already there: carl@example\.org/);
    const pkcs7 = run('openssl', ['crl2pkcs7', '-nocrl', '-certfile', 'carl2.pem', '-certfile', 'partner.pem'], made);
    const { code, out, err } = certs(['add', '-'], pkcs7);
    assert.equal(code, 0);
    assert.match(out, /^added: carl@example\.org/);
    assert.match(err, /CN=partner is a CA and was left out/);
    assert.equal(readCertificates(readFileSync(at('certs/recipients/carl@example.org.pem'))).certificates.length, 2);
    assert.equal(
      recipients().some((name) => name.startsWith('.')),
      false,
      'no temporary is left',
    );
  });

  test('add: what cannot be used is refused with its reason, the rest is taken, and the exit code says so', () => {
    make(made, { name: 'fritz', issuer: 'partner' });
    writeFileSync(at('broken.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    const files = ['dora', 'emil', 'fritz'].map((name) => join(made, `${name}.pem`));
    const { code, out, err } = certs(['add', ...files, 'broken.pem']);
    assert.equal(code, 1);
    assert.match(out, /^added: fritz@example\.org.*\n$/);
    assert.match(err, /dora@example\.org was not added: it expired on 2025-01-01/);
    assert.match(err, /emil@example\.org was not added: no path to an anchor.*\n {2}hint: where you trust its CA/);
    assert.match(err, /broken\.pem: line 1: /);
    assert.match(err, /3 of 4 not added\n {2}hint: the reasons stand above/);
    assert.equal(existsSync(at('certs/recipients/dora@example.org.pem')), false);
  });

  test('list and show tell why a certificate is not used', () => {
    writeFileSync(at('certs/recipients/dora.pem'), pem('dora'));
    assert.match(
      certs(['list']).out,
      /^dora@example\.org +P-256 +2025-01-01 +not usable: it expired on 2025-01-01 +certs\/recipients\/dora\.pem +[0-9a-f]{16}$/m,
    );
    assert.match(certs(['show', 'certs/recipients/dora.pem']).out, /state {6}not usable: it expired/);
    assert.match(certs(['show', join(made, 'emil.pem')]).out, /not usable: no path to an anchor/);
    const rows: unknown = JSON.parse(certs(['list', '--json']).out);
    assert.ok(Array.isArray(rows) && rows.some((row) => row.usable === false && row.reason === 'it expired on 2025-01-01'));
    assert.match(certs(['show', 'nobody@example.org']).err, /hint: sealpost certs lookup nobody@example\.org/);
    assert.equal(certs(['show', 'no-such-file']).code, 1);
  });

  const fingerprintOf = (name: string): string =>
    readCertificates(readFileSync(join(made, `${name}.pem`))).certificates[0]?.fingerprint ?? '';
  /** The site with more keys in its configuration, for one look. */
  const withKeys = (keys: object, act: () => void): void => {
    const before = readFileSync(at('sealpost.yaml'), 'utf8');
    writeFileSync(at('sealpost.yaml'), JSON.stringify({ ...JSON.parse(before), ...keys }));
    try {
      act();
    } finally {
      writeFileSync(at('sealpost.yaml'), before);
    }
  };

  test('lookup: what is used and what not, of every source, and what each answered', () => {
    mkdirSync(at('second'));
    writeFileSync(at('second/dora.pem'), pem('dora'));
    make(made, { name: 'dora2', issuer: 'partner', extensions: ['subjectAltName=email:dora@example.org'] });
    writeFileSync(at('second/new.pem'), pem('dora2'));
    withKeys({ certificates: { sources: [{ files: 'certs/recipients' }, { files: 'second' }] } }, () => {
      const [first, second] = [`files ${at('certs/recipients')}`, `files ${at('second')}`];
      const expired = (source: string, place: string): string => `  not used: SHA-256 ${fingerprintOf('dora')}
    it expired on 2025-01-01
    P-256, 2020-01-01 to 2025-01-01, in ${source}: ${place}
    CN=dora, signed by CN=partner
`;
      assert.deepEqual(certs(['lookup', 'Dora@example.org']), {
        code: 0,
        err: '',
        out: `Dora@example.org
  used: SHA-256 ${fingerprintOf('dora2')}
    P-256, 2020-01-01 to 2099-12-31, in ${second}: second/new.pem
    CN=dora2, signed by CN=partner
    revocation: unknown: the certificate names no list; it names no OCSP responder
${expired(first, 'recipients/dora.pem')}${expired(second, 'second/dora.pem')}  asked ${first}: found
  asked ${second}: found
`,
      });
    });
    const none = certs(['lookup', 'dora@example.org']);
    assert.equal(none.code, 1);
    assert.match(none.out, /^dora@example\.org\n {2}none that can be used\n {2}not used: SHA-256/);
    assert.match(none.err, /^sealpost: there is no usable certificate: dora@example\.org\n {2}hint: sealpost certs add FILE/);
    const wrong = certs(['lookup', 'dora']);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /"dora": no @ in it\n {2}hint: sealpost certs lookup/);
  });

  test('lookup: a source that does not answer is told, behind what the others have', () => {
    withKeys({ certificates: { sources: [{ files: 'nowhere' }, { files: 'second' }] } }, () => {
      const { code, out, err } = certs(['lookup', 'dora@example.org']);
      assert.equal(code, 1);
      assert.match(out, /\n {2}unavailable: files .*nowhere gives no usable answer\n/);
      assert.match(out, /not used: SHA-256 .*\n {4}files .*nowhere is asked first and gives no answer\n/);
      assert.match(out, /\n {2}asked files .*nowhere: unavailable\n {4}ENOENT.*\n {2}asked files .*second: found\n$/);
      assert.match(err, /look-up is unavailable.*nowhere/);
    });
  });

  test('lookup: aliases, groups and domains, with who is left out; check tells of them too', () => {
    const book = {
      aliases: { 'sales@example.org': 'anna@example.org', 'lost@example.org': 'nobody@example.org' },
      groups: { 'info@example.org': ['anna@example.org', 'ben@example.org', 'nobody@example.org'] },
      domains: { 'example.net': 'anna@example.org' },
    };
    withKeys({ certificates: book }, () => {
      assert.match(
        certs(['lookup', 'Sales@example.org']).out,
        /^Sales@example\.org\n {2}by alias, the certificate of anna@example\.org\n {2}used:/,
      );
      const group = certs(['lookup', 'info@example.org']);
      assert.equal(group.code, 0);
      for (const name of ['anna', 'ben'])
        assert.match(group.out, new RegExp(`\\n {2}member of the group: ${name}@example\\.org\\n {2}used: SHA-256`));
      assert.match(group.out, /member of the group: nobody@example\.org\n {2}none that can be used\n/);
      assert.match(group.out, /note: nobody@example\.org has no usable certificate: the message is sealed to the other members\n/);
      assert.match(group.out, /note: RSA and EC keys in one message/);
      assert.equal(certs(['lookup', 'dora@example.net']).code, 1);
      for (const use of ['fallback', 'only'])
        assert.match(
          certs(['lookup', 'dora@example.net', '--domain', use]).out,
          /\n {2}the certificate of the domain: anna@example\.org\n {2}used: SHA-256/,
        );
      assert.match(
        certs(['lookup', 'ed@other.example', '--domain', 'only']).out,
        /the certificate of the domain: domain-confidentiality-authority@other\.example\n {2}none/,
      );
      const json: unknown = JSON.parse(certs(['lookup', 'info@example.org', '--json']).out);
      assert.partialDeepStrictEqual(json, {
        address: 'info@example.org',
        state: 'found',
        by: 'group',
        addresses: [
          { address: 'anna@example.org', by: 'group', state: 'found', candidates: [{ verdict: 'used', reason: null, key: 'RSA-2048' }] },
          {
            address: 'ben@example.org',
            candidates: [
              {
                verdict: 'used',
                key: 'P-384',
                revocation:
                  'unknown: the certificate names no list; it names no OCSP responder; ' +
                  'CN=In-house issuing CA of the clinic: the certificate names no list; it names no OCSP responder',
              },
            ],
          },
          { address: 'nobody@example.org', state: 'absent', candidates: [] },
        ],
      });
      const env = { PATH: process.env['PATH'] };
      const checked = spawnSync(process.execPath, [CLI, 'check'], { cwd: site, encoding: 'utf8', env }).stdout;
      assert.match(checked, /note: the alias lost@example\.org of nobody@example\.org: no usable certificate\n/);
      assert.match(checked, /note: the group info@example\.org: nobody@example\.org has no usable certificate/);
      assert.doesNotMatch(checked, /example\.net/);
    });
  });

  test('lookup: what stands in a certificate or a file name reaches the terminal as marks, and JSON as escapes', () => {
    const subject = '/CN=gerd\u202egro.elpmaxe\u009b2J';
    make(made, { name: 'gerd', issuer: 'partner', subject });
    writeFileSync(at('certs/recipients/a\u001b]0;x\u0007.pem'), pem('gerd'));
    const { out } = certs(['lookup', 'gerd@example.org']);
    assert.match(out, /used: SHA-256/);
    assert.doesNotMatch(out, /(?!\n)[\p{Cc}\p{Cf}]/u);
    const json = certs(['lookup', 'gerd@example.org', '--json']).out;
    assert.doesNotMatch(json, /(?!\n)[\p{Cc}\p{Cf}]/u);
    const read: unknown = JSON.parse(json);
    assert.partialDeepStrictEqual(read, { addresses: [{ candidates: [{ place: 'recipients/a\u001b]0;x\u0007.pem' }] }] });
  });

  test('list names a broken file and goes on', () => {
    writeFileSync(at('certs/recipients/zz.pem'), 'nonsense');
    const { code, out, err } = certs(['list']);
    assert.equal(code, 0);
    assert.match(err, /recipients\/zz\.pem is broken: no certificate in it/);
    assert.match(out, /anna@example\.org/);
  });

  test('remove: by fingerprint one of two, by address the rest', () => {
    const file = at('certs/recipients/carl@example.org.pem');
    const [first, second] = readCertificates(readFileSync(file)).certificates;
    assert.equal(certs(['remove', first?.fingerprint.slice(0, 12) ?? '']).code, 0);
    assert.deepEqual(
      readCertificates(readFileSync(file)).certificates.map(({ fingerprint }) => fingerprint),
      [second?.fingerprint],
    );
    assert.match(certs(['remove', 'CARL@example.org']).out, /^removed: carl@example\.org/);
    assert.equal(existsSync(file), false);
    const none = certs(['remove', 'carl@example.org']);
    assert.equal(none.code, 1);
    assert.match(none.err, /certs list shows what is there/);
    assert.equal(certs(['remove', 'abc']).code, 2);
  });

  describe('remove, of what the relay keeps itself', () => {
    const own = at('data/certs/carl@example.org.pem');
    const config = (): string => at('own.yaml');
    const removing = (what: string, extra: object = {}): Told => {
      const { SEALPOST_CONFIG: _, ...env } = process.env;
      const args = [CLI, '-c', config(), 'certs', 'remove', what];
      const done = spawnSync(process.execPath, args, { cwd: site, encoding: 'utf8', env, ...extra });
      return { code: done.status, out: done.stdout, err: done.stderr };
    };
    before(() => {
      const given: unknown = JSON.parse(readFileSync(at('sealpost.yaml'), 'utf8'));
      const sources = [{ files: [at('certs/recipients'), at('data/certs')] }];
      writeFileSync(config(), JSON.stringify({ ...Object(given), certificates: { sources } }));
      mkdirSync(at('data/certs'), { recursive: true, mode: 0o700 });
    });

    test('all folders are looked into, and what lies in two goes from both', () => {
      writeFileSync(own, pem('carl'));
      writeFileSync(at('certs/recipients/carl@example.org.pem'), pem('carl') + pem('carl2'));
      const both = removing('carl@example.org');
      assert.equal(both.code, 0, both.err);
      assert.match(
        both.out,
        /from certs\/recipients\/carl@example\.org\.pem\nremoved: .* from certs\/recipients.*\nremoved: .* from data\/certs/,
      );
      assert.ok(!existsSync(own) && !existsSync(at('certs/recipients/carl@example.org.pem')));
      assert.deepEqual(readdirSync(at('data/certs')), [], 'no lock is left');
      assert.match(removing('carl@example.org').err, /carl@example\.org in certs\/recipients, data\/certs\n/);
    });

    test(
      'whoever may not look into the folder of the relay is told that something may be left there',
      { skip: process.getuid?.() !== 0 },
      () => {
        writeFileSync(own, pem('carl'));
        writeFileSync(at('certs/recipients/carl@example.org.pem'), pem('carl'));
        chmodSync(site, 0o755);
        chmodSync(at('certs/recipients'), 0o777);
        chmodSync(at('data'), 0o700);
        for (const removed of [/^removed: carl/, /^$/]) {
          const { code, out, err } = removing('carl@example.org', { uid: 65_534, gid: 65_534 });
          assert.equal(code, 1);
          assert.match(out, removed);
          assert.match(
            err,
            /a file cannot be read: data\/certs\n {2}hint: what the relay keeps there is used on; be its user: sudo -u '#0' sealpost/,
          );
        }
        assert.ok(existsSync(own));
      },
    );
  });

  test('without a site, and with another CA key, the mend is said', () => {
    const nowhere = spawnSync(process.execPath, [CLI, '-c', '/nowhere/sealpost.yaml', 'certs', 'list'], { encoding: 'utf8' });
    assert.equal(nowhere.status, 1);
    assert.match(nowhere.stderr, /\/nowhere\/sealpost\.yaml \(ENOENT\)\n {2}hint: sealpost init/);
    writeFileSync(at('keys/issuing.key'), readFileSync(join(made, 'emil.key')));
    const { code, err } = certs(['issue', 'gina@example.org']);
    assert.equal(code, 1);
    assert.match(err, /issuing\.key is not the key of .*in-house-issuing\.pem/);
    assert.equal(existsSync(at('issued/gina@example.org.p12')), false);
  });
});
