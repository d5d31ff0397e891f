import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { foldDomain, mailboxKey, parseMailbox } from '../../src/message/envelope.ts';

const read = (text: string) => {
  const verdict = parseMailbox(text);
  return verdict.kind === 'mailbox' ? verdict.mailbox.address : undefined;
};

test('one domain has one form', () => {
  for (const domain of ['bücher.example', 'BÜCHER.example', 'xn--bcher-kva.example', 'XN--BCHER-KVA.Example']) {
    assert.equal(foldDomain(domain), 'xn--bcher-kva.example', domain);
  }
});

test('A8 addresses that other parsers take apart in other ways are refused', () => {
  const hostile = [
    'a',
    '@b',
    'a@',
    'a@b@c.example',
    'a b@c.example',
    '<a@b.example>',
    'a@b.example,c@d.example',
    'a@b.example\r\nRCPT TO:<e@evil>',
    'a@b.example\n',
    '@x,@y:a@b.example',
    'x (comment)@b.example',
    'g: a@b.example;',
    'a@b..example',
    'a@-b.example',
    'a@b_c.example',
    '.a@b.example',
    'a..b@c.example',
    'a@1%2e2.example',
    'a%0d%0a@b.example@',
    'a\u2028b@c.example',
    'a\uff20b.example',
    'a@b\uff0eexample',
    'a\u200bb@c.example',
    '"a@b.example',
    '"a\r\n"@b.example',
    'a)(uid=*)@y',
    'a@[300.1.1.1.1]',
    `${'a'.repeat(65)}@b.example`,
    'ü'.repeat(33) + '@b.example',
    `a@${'b'.repeat(64)}.example`,
    'a@０.example',
    'a@1.2。3',
    '',
    ' ',
  ];
  for (const text of hostile) assert.equal(read(text), undefined, JSON.stringify(text));
});

test('addresses of real people', () => {
  for (const text of [
    "o'brien+tag=1@clinic.example",
    '"a b"@c.example',
    '"a@b"@c.example',
    'jörg@example.org',
    'a%b@c.example',
    'a!b@c.example',
    'a@[192.0.2.1]',
    'a@[IPv6:2001:db8::1]',
    'a@localhost',
  ]) {
    assert.equal(read(text), text);
  }
});

test('what is read is what was written: an ASCII mailbox comes back identical but for the case of its domain', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...Array.from('abAB01@.+-_"\\ <>,;:()[]%!=\r\n\0é\u202e')) }), (text) => {
      const address = read(text);
      if (address === undefined) return;
      assert.equal(address.slice(0, address.lastIndexOf('@')), text.slice(0, text.lastIndexOf('@')));
      assert.doesNotMatch(address, /[\r\n\0\u202e]/);
      assert.equal(read(address), address, 'reading again changes nothing');
    }),
    { numRuns: 5_000 },
  );
});

test('the key folds the case of ASCII local parts only', () => {
  const key = (text: string) => {
    const verdict = parseMailbox(text);
    return verdict.kind === 'mailbox' ? mailboxKey(verdict.mailbox) : undefined;
  };
  assert.equal(key('Anna@CLINIC.example'), 'anna@clinic.example');
  assert.equal(key('JÖRG@example.org'), 'JÖRG@example.org');
});
