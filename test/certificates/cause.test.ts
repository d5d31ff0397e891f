import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { causeText } from '../../src/certificates/choose.ts';
import { makeDirectory } from '../../src/certificates/directory.ts';
import { SealpostError } from '../../src/errors.ts';
import { makeLog } from '../../src/log.ts';
import { mailboxOf } from './openssl.ts';

/** What the log says of a look-up whose source gives `cause`. */
async function logged(cause: unknown): Promise<{ readonly err: Record<string, unknown> }> {
  const lines: string[] = [];
  const log = makeLog({ level: 'info', format: 'json' }, { write: (line: string) => void lines.push(line) });
  const source = { name: 'ldap', close: () => {}, lookup: async () => ({ kind: 'unavailable', cause }) as const };
  const trust = { judge: async () => ({ kind: 'unavailable', cause }) as const };
  await makeDirectory({ sources: [source], trust, now: Date.now, log, patience: 1000 }).lookup(mailboxOf('anna@clinic.example'));
  assert.equal(lines.length, 1);
  return JSON.parse(lines[0] ?? '');
}

const LISTS = Array.from({ length: 5 }, (_, index) => `CRL http://lists.example:8081/${index}.crl is not used: lists.example:8081`).join(
  '; ',
);

describe('why a source is unavailable', () => {
  test('what is no fault of the program is logged without a place in it', async () => {
    const { err } = await logged(new Error('revocation is unknown', { cause: Object.assign(new Error('no file'), { code: 'ENOENT' }) }));
    assert.deepEqual(err, {
      name: 'Error',
      message: 'revocation is unknown',
      cause: { name: 'Error', code: 'ENOENT', message: 'no file' },
    });
  });

  test('a fault of the program keeps its place', async () => {
    const { err } = await logged(new TypeError('no function'));
    assert.ok(Array.isArray(err['at']) && err['at'].length > 0);
  });

  test('a reason with several lists is told whole, and a cut is marked', async () => {
    assert.equal((await logged(new Error(LISTS))).err['message'], LISTS);
    assert.equal(causeText(new Error(LISTS)), LISTS);
    const endless = 'x'.repeat(1000);
    assert.match(String((await logged(new Error(endless))).err['message']), /^x+…$/);
    assert.match(causeText(new Error(endless)), /^x+…$/);
  });

  test('of our own errors people read what happened, not the sentence for clients', () => {
    assert.equal(
      causeText(new SealpostError('lookup-unavailable', { detail: 'the resolver answers SERVFAIL' })),
      'the resolver answers SERVFAIL',
    );
  });
});
