import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeAddressBook } from '../../src/certificates/address-book.ts';
import { accountOf, certificateLines } from '../../src/commands/certificates/account.ts';
import { mailboxOf } from '../certificates/openssl.ts';

test('who gives no answer is named as what it is: a source, a certificate that is not judged, one that waits', async () => {
  const said = async (source: string): Promise<string | undefined> => {
    const lookup = { kind: 'unavailable', source, cause: new Error('a reason'), rejected: [], asked: [] } as const;
    const resolution = await makeAddressBook({ lookup: async () => lookup }).resolve(mailboxOf('anna@clinic.example'));
    return certificateLines(accountOf(resolution))[0];
  };
  assert.equal(await said('smimea 127.0.0.1'), 'unavailable: smimea 127.0.0.1 gives no usable answer');
  assert.equal(await said('trust'), 'unavailable: a certificate cannot be judged now');
  assert.equal(await said('pin'), 'unavailable: a changed certificate waits for approval: sealpost certs pending');
});
