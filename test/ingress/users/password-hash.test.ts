import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { derive, fits, hashPassword, readHash, showHash } from '../../../src/ingress/users/password-hash.ts';

/** Of the reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 has t=2, m=65536. */
const REFERENCE = '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc';

test("a hash of the reference implementation fits its password, whatever the program's spelling of a letter", async () => {
  const read = readHash(REFERENCE);
  assert.equal(read.kind, 'value');
  assert.equal(await fits('password', read.value, derive), true);
  assert.equal(await fits('Password', read.value, derive), false);
  const made = await hashPassword('Bärenhöhle');
  assert.equal(await fits('Bärenhöhle'.normalize('NFD'), made, derive), true);
});

test('a hash is written as it is read, with the usual cost and a salt of its own', async () => {
  const [one, other] = [showHash(await hashPassword('same')), showHash(await hashPassword('same'))];
  assert.match(one, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assert.notEqual(one, other);
  const read = readHash(one);
  assert.equal(read.kind === 'value' && showHash(read.value), one);
});

test('what would cost too much, or too little, is refused before it costs anything', () => {
  const salted = (head: string): string => `${head}$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc`;
  for (const head of [
    '$argon2id$v=19$m=4194304,t=2,p=1', // 4 GiB
    '$argon2id$v=19$m=65537,t=1,p=1',
    '$argon2id$v=19$m=65536,t=5,p=1',
    '$argon2id$v=19$m=19456,t=1000000,p=1',
    '$argon2id$v=19$m=19456,t=2,p=5',
    '$argon2id$v=19$m=19456,t=1,p=1',
    '$argon2id$v=19$m=8,t=1,p=1',
    '$argon2id$v=19$m=19456,t=2,p=0',
    '$argon2id$v=16$m=19456,t=2,p=1',
    '$argon2i$v=19$m=19456,t=2,p=1',
    '$argon2d$v=19$m=19456,t=2,p=1',
    '$2y$10',
  ])
    assert.equal(readHash(salted(head)).kind, 'wrong', head);
  assert.equal(readHash(salted('$argon2id$v=19$m=19456,t=2,p=1')).kind, 'value');
  assert.equal(readHash('$argon2id$v=19$m=19456,t=2,p=1$c29tZQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc').kind, 'wrong', 'a short salt');
  assert.equal(readHash('$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO0').kind, 'wrong', 'a short hash');
  assert.equal(readHash(salted('$argon2id$v=19$m=19456,t=2,p=1').replace('c29tZXNhbHQ', 'c29tZXNhbHR')).kind, 'wrong', 'stray bits');
});

test('whatever is written, it is read or refused, never thrown, and a refusal holds nothing of it', () => {
  const part = fc.oneof(fc.string(), fc.constantFrom('$argon2id', '$v=19', '$m=19456,t=2,p=1', '$c29tZXNhbHQ', '$'));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(part).map((parts) => parts.join('')),
        fc.anything(),
      ),
      (written) => {
        const read = readHash(written);
        if (read.kind === 'value') assert.equal(showHash(read.value), written);
        else assert.doesNotMatch(read.wrong, /c29t/);
      },
    ),
    { numRuns: 2000 },
  );
});
