/** LDIF as directories are dumped, and as nobody should write it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { kindOf } from '../../../src/certificates/import/kind.ts';
import { type LdifPart, looksLikeLdif, makeLdifReader, MAX_ENTRY_BYTES } from '../../../src/certificates/import/ldif.ts';

function read(text: string | Buffer, step = Infinity): LdifPart[] {
  const octets = Buffer.from(text);
  const reader = makeLdifReader();
  const parts: LdifPart[] = [];
  for (let at = 0; at < octets.length; at += step) parts.push(...reader.push(Buffer.from(octets.subarray(at, at + step))));
  return [...parts, ...reader.end()];
}

const told = (parts: readonly LdifPart[]): string[] =>
  parts.map((part) => `${part.line} ${part.kind === 'value' ? part.octets.toString('latin1') : part.fault}`);

const base64 = (text: string): string => Buffer.from(text).toString('base64');

describe('LDIF', () => {
  test('values of both attributes, by name and by number, with options, folded anywhere, with CRLF and comments', () => {
    const lines = [
      'version: 1',
      '',
      '# people',
      ' and their comment goes on',
      'dn: cn=Anna,dc=example',
      'cn: Anna',
      `userCertificate;binary:: ${base64('one')}`,
      `USERSMIMECERTIFICATE:: ${base64('two').slice(0, 2)}`,
      ` ${base64('two').slice(2)}`,
      'jpegPhoto:: AAAA',
      ' userCertificate:: AAAA',
      '',
      'dn: cn=Ben,dc=example',
      'userCert',
      ` ificate;binary:: ${base64('three')}`,
      `2.5.4.36:: ${base64('four')}`,
      'userCertificateList:: AAAA',
    ];
    const expected = ['7 one', '8 two', '14 three', '16 four'];
    assert.deepEqual(told(read(`${lines.join('\n')}\n`)), expected);
    assert.deepEqual(told(read(lines.join('\r\n'))), expected);
    for (const step of [1, 2, 7]) assert.deepEqual(told(read(lines.join('\r\n'), step)), expected, `in pieces of ${step}`);
  });

  test('what is no line is told with its number, and the rest is read', () => {
    const lines = [
      'dn: cn=a',
      'garbage',
      ' and more of it',
      `userCertificate:: ${base64('one')}`,
      '',
      ' lost',
      '=:',
      'userCertificate:: !',
      'userCertificate:',
    ];
    assert.deepEqual(told(read(lines.join('\n'))), [
      '2 no line of LDIF',
      '4 one',
      '6 no line of LDIF',
      '7 no line of LDIF',
      '8 its value is not base64',
      '9 an empty value',
    ]);
  });

  test('a URL is not fetched, and records of changes are not read unless they add an entry', () => {
    const value = `userCertificate:: ${base64('one')}`;
    const lines = [
      'dn: cn=a',
      'userCertificate:< file:///etc/passwd',
      '',
      'dn: cn=b',
      'changetype: modify',
      'delete: userCertificate',
      value,
      '-',
      '',
      'dn: cn=c',
      'changetype: add',
      value,
    ];
    assert.deepEqual(told(read(lines.join('\n'))), [
      '2 a value that stands elsewhere (a URL), which is not fetched',
      '4 a record of a change that adds no entry, which is not read',
      '12 one',
    ]);
  });

  test('an entry of more than it may have gives nothing, and the next one is read', () => {
    const value = `userCertificate:: ${base64('one')}`;
    const photo = `jpegPhoto:: ${'A'.repeat(76)}\n${` ${'A'.repeat(76)}\n`.repeat(MAX_ENTRY_BYTES / 76)}`;
    const fault = `1 an entry of more than ${MAX_ENTRY_BYTES} octets`;
    assert.deepEqual(told(read(`dn: cn=a\n${value}\n${photo}\ndn: cn=b\n${value}\n`)).slice(0, 1), [fault]);
    assert.match(told(read(`dn: cn=a\n${value}\n${photo}\ndn: cn=b\n${value}\n`))[1] ?? '', /^\d+ one$/);
    assert.deepEqual(told(read(`dn: cn=a${'x'.repeat(2 * MAX_ENTRY_BYTES)}\n\ndn: cn=b\n${value}`, 65_536)), [fault, '4 one']);
  });

  test('a file of garbage is told of a thousand times, and no more', () => {
    const parts = read('x\n'.repeat(5000));
    assert.equal(parts.length, 1001);
    assert.match(told(parts).at(-1) ?? '', /and more, which are not listed$/);
  });

  test('whatever comes: no crash, the same in every cut, one value at most for one line, in time that grows with the size', () => {
    const line = fc.oneof(
      fc.constantFrom(
        '',
        ' ',
        '-',
        '#',
        'dn: cn=a',
        'changetype: add',
        'userCertificate:',
        'userCertificate:: AAAA',
        ' AAAA',
        'userCertificate:<x',
        '\r',
      ),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 40 }), fc.integer({ min: 1, max: 30 }), (lines, step) => {
        const parts = read(lines.join('\n'));
        assert.deepEqual(read(lines.join('\n'), step), parts);
        const numbers = parts.flatMap((part) => (part.kind === 'value' ? [part.line] : []));
        assert.equal(new Set(numbers).size, numbers.length);
      }),
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (octets) => void read(Buffer.from(octets))));
    const begun = performance.now();
    read('a\n b\n'.repeat(200_000), 65_536);
    read('userCertificate:: A\n A\n'.repeat(100_000), 65_536);
    assert.ok(performance.now() - begun < 20_000);
  });

  test('a line that goes on with nothing, and never says what it is, costs no more for that', () => {
    const begun = performance.now();
    assert.deepEqual(told(read(`dn: x\nabc\n${' \n'.repeat(80_000)}`, 65_536)), ['2 no line of LDIF']);
    assert.deepEqual(told(read(`dn: x\nuserCert\n${' \n'.repeat(80_000)} ificate::\n \n  ${base64('one')}`)), ['2 one']);
    assert.ok(performance.now() - begun < 5000, 'a fraction of a second, where it was a minute');
  });

  test('what a file is, its beginning says: LDIF behind comments, PEM behind text, binary by its octets', () => {
    assert.ok(looksLikeLdif(Buffer.from('# extended LDIF\n#\ndn:: Y249YQ==\n')));
    assert.ok(!looksLikeLdif(Buffer.from('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\ndn: no\n')));
    assert.equal(kindOf(Buffer.from('dn: cn=a\n')), 'ldif');
    assert.equal(kindOf(Buffer.from('')), 'certificates');
    assert.equal(kindOf(Buffer.from('3080020103', 'hex')), 'pkcs12');
    assert.equal(kindOf(Buffer.from('3082010a020103', 'hex')), 'pkcs12');
    assert.equal(kindOf(Buffer.from('3082010a020100', 'hex')), 'key');
    assert.equal(kindOf(Buffer.from('3082010a30', 'hex')), 'certificates');
  });
});
