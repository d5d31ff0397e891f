import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type Invocation, readArguments } from '../../../src/commands/sendmail/arguments.ts';

const plain = readArguments(['a@b.example']);

const spellings: readonly (readonly [words: string, expected: Partial<Invocation>])[] = [
  ['-t -i', { fromHeader: true, dotEnds: false }],
  ['-ti', { fromHeader: true, dotEnds: false }],
  ['-it', { fromHeader: true, dotEnds: false }],
  ['-t -oi', { fromHeader: true, dotEnds: false }],
  ['-o i -t', { fromHeader: true, dotEnds: false }],
  ['-O IgnoreDots -t', { fromHeader: true, dotEnds: false }],
  ['-OIgnoreDots=true -t', { fromHeader: true, dotEnds: false }],
  ['-tf a@b.example', { fromHeader: true, sender: 'a@b.example' }],
  ['-f a@b.example', { sender: 'a@b.example' }],
  ['-fa@b.example', { sender: 'a@b.example' }],
  ['-r a@b.example', { sender: 'a@b.example' }],
  ['-ra@b.example', { sender: 'a@b.example' }],
  ['-f <>', { sender: '<>' }],
  ['-F Form', { name: 'Form' }],
  ['-FForm', { name: 'Form' }],
  ['-N success,delay', { notify: 'SUCCESS,DELAY' }],
  ['-Nnever', { notify: 'NEVER' }],
  ['-R hdrs', { ret: 'HDRS' }],
  ['-Rfull', { ret: 'FULL' }],
  ['-B 8BITMIME', { body: '8BITMIME' }],
  ['-B7bit', { body: '7BIT' }],
  ['-V QQ314', { envid: 'QQ314' }],
  ['-Va+b=c', { envid: 'a+2Bb+3Dc' }],
  ['-bs', { mode: 'smtp' }],
  ['-b s', { mode: 'smtp' }],
  ['-bm', { mode: 'deliver' }],
  ['-oem -odb -om', {}],
  ['-oee -odi -odq', {}],
  ['-o em', {}],
  ['-em', {}],
  ['-oeq', { quiet: true }],
  ['-eq', { quiet: true }],
  ['-O ErrorMode=q', { quiet: true }],
  ['-O DeliveryMode=b -OTimeout.queuereturn=5d -o7 -oA/etc/aliases', {}],
  ['-q', {}],
  ['-q15m -t', { fromHeader: true }],
  ['-bs -q', { mode: 'smtp' }],
  ['-v', { verbose: true }],
  ['-G -U -m -n -Ac -A m -L tag -h 5 -p SMTP', {}],
  ['-C /etc/s.yaml', { config: '/etc/s.yaml' }],
  ['-c/etc/s.yaml', { config: '/etc/s.yaml' }],
  ['--config=/etc/s.yaml', { config: '/etc/s.yaml' }],
  ['--config /etc/s.yaml', { config: '/etc/s.yaml' }],
  ['-i --', { dotEnds: false }],
  ['--help', { mode: 'help' }],
];

for (const [words, expected] of spellings) {
  test(`sendmail ${words}`, () => {
    assert.deepEqual(readArguments([...words.split(' '), 'a@b.example']), { ...plain, ...expected });
  });
}

test('-q runs the queue only where no message is to be sent', () => {
  for (const words of [['-q'], ['-q15m'], ['-qf', '-i']]) assert.equal(readArguments(words).mode, 'queue-run');
  for (const words of [
    ['-q15m', '-t'],
    ['-t', '-q'],
    ['-qf', '--', 'a@b.example'],
  ])
    assert.equal(readArguments(words).mode, 'deliver');
});

test('behind -- everything is a recipient', () => {
  assert.deepEqual(readArguments(['-i', '--', '-f', 'a@b.example']).recipients, ['-f', 'a@b.example']);
});

test('an empty -f is the null sender, and its value may be a word of its own', () => {
  assert.equal(readArguments(['-f', '', 'a@b.example']).sender, '');
});

const refused: readonly (readonly [words: string, said: RegExp])[] = [
  ['-Y', /-Y is not known/],
  ['-tz', /-z is not known/],
  ['--bogus', /--bogus is not known/],
  ['-f', /-f wants a value/],
  ['-X /tmp/log', /-X would write the mail to a file in clear/],
  ['-bd', /-bd does not work here/],
  ['-bp', /-bp does not work here/],
  ['-bi', /-bi does not work here/],
  ['-N sometimes', /-N "sometimes" is not known/],
  ['-N never,success', /-N "never,success" is not known/],
  ['-R all', /-R "all" is not known/],
  ['-B binary', /-B "binary" is not known/],
  ['-V \u00fc', /-V wants a short id/],
  ['a@b.example -f c@d.example', /-f stands behind a recipient/],
];

for (const [words, said] of refused) {
  test(`a usage error that says which: sendmail ${words}`, () => {
    assert.throws(() => readArguments(words.split(' ')), { code: 'usage', message: said });
  });
}

test('A9 whatever the words, they are read or refused, and what reaches SMTP holds no blank and no line end', () => {
  const word = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.stringMatching(/^-[A-Za-z]{0,4}.{0,8}$/),
    fc.constantFrom('-N', '-V', '-R', '-B', '-f', 'x\r\nRCPT TO:<e@evil>'),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 6 }), (words) => {
      try {
        const { notify, ret, envid, body } = readArguments(words);
        for (const value of [notify, ret, envid, body]) assert.match(value ?? '-', /^[\x21-\x7e]+$/);
      } catch (error) {
        assert.ok(error instanceof Error && 'code' in error && error.code === 'usage', String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
