/** `sealpost open` looks through the signature that was under the seal: its reader sees the text, the fields, and what the signature says. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { readEntity, showEntity } from '../../src/commands/entity.ts';
import { makeSigners } from '../../src/sign/identities.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { ecKeys } from '../certificates/pki.ts';
import { identityFor } from '../sign/people.ts';

const AT = Date.parse('2026-11-23T10:15:00Z');
const HEADER = 'Subject: intake of Anna\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n';
const OUTSIDE = Buffer.from('From: forms@clinic.example\r\nSubject: a form\r\n\r\n');

async function signed(form: 'detached' | 'opaque'): Promise<Buffer> {
  const own = identityFor('clinic', { keys: ecKeys('P-256') });
  const signers = makeSigners(
    () => [own],
    () => AT,
  );
  const about = { queueId: 'QID7', at: AT, date: AT, author: mailboxOf('forms@clinic.example'), randomBytes };
  const signer = signers.begin({ identity: 'clinic', form, recode: 'none' }, about);
  const pieces = [...(await signer.start(Buffer.from(HEADER))), ...(await signer.write(Buffer.from('the secret word is plover\r\n')))];
  return Buffer.concat([...pieces, ...(await signer.end())]);
}

for (const form of ['detached', 'opaque'] as const)
  test(`${form}: the text, the original Subject and who signed are shown`, async () => {
    const shown = showEntity(await readEntity(OUTSIDE, await signed(form)));
    assert.match(shown, /^Subject: intake of Anna {3}\(was under the seal\)$/m);
    assert.match(shown, /^signature: right, by [^\n]+, SHA-256 [0-9a-f]{64} \(whether that certificate is to be trusted was not asked\)$/m);
    assert.match(shown, /^the secret word is plover$/m);
    assert.doesNotMatch(shown, /smime\.p7/);
  });

test('a text that was changed under its signature is shown as such', async () => {
  const entity = (await signed('detached')).toString('latin1').replace('plover', 'xyzzy!');
  assert.match(showEntity(await readEntity(OUTSIDE, Buffer.from(entity, 'latin1'))), /^signature: WRONG: /m);
});

test('what is not signed says nothing of a signature', async () => {
  const shown = showEntity(await readEntity(OUTSIDE, Buffer.from(`${HEADER}the secret word is plover\r\n`)));
  assert.doesNotMatch(shown, /signature/);
  assert.match(shown, /plover/);
});
