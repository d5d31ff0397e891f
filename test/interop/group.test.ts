/** One message for several people: whose programs open it, with keys of one type and of two. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { readCertificates } from '../../src/certificates/bundle.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { sealBody } from '../../src/seal/sealer.ts';
import { makeReaders, type ReaderName, type Readers } from './fixtures.ts';
import { gpgsm, type MailProgramKind, nss, openssl } from './readers.ts';

const INSIDE = 'Content-Type: text/plain\r\n\r\nfor the group\r\n';

describe('the message of a group', { skip: openssl.missing() ?? false }, () => {
  let dir: string;
  let readers: Readers;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'group-'));
    readers = await makeReaders(dir);
  });
  after(() => rm(dir, { recursive: true, force: true }));

  async function sealedTo(...names: readonly ReaderName[]): Promise<Buffer> {
    const certificates = names.map((name): Certificate => {
      const [certificate] = readCertificates(readFileSync(readers.people[name].certificate)).certificates;
      assert.ok(certificate);
      return certificate;
    });
    const ciphertext: Buffer[] = [];
    const sealer = sealBody('aes-256-cbc', { write: async (chunk) => void ciphertext.push(chunk) }, randomBytes);
    await sealer.write(Buffer.from(INSIDE));
    const body = await sealer.end();
    const der = Buffer.concat([await body.prefixFor(certificates, 'rsaes-pkcs1'), ...ciphertext, body.suffix]);
    const header =
      'MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n\r\n';
    return Buffer.from(`${header}${der.toString('base64').replace(/.{76}/g, '$&\r\n')}\r\n`);
  }

  async function assertOpens(t: TestContext, kind: MailProgramKind, message: Buffer, names: readonly ReaderName[]): Promise<void> {
    const missing = kind.missing();
    if (missing !== undefined) return t.skip(missing);
    const program = await kind.start(readers);
    try {
      for (const name of names) assert.equal((await program.open(message, readers.people[name])).toString(), INSIDE, name);
    } finally {
      await program.close();
    }
  }

  for (const kind of [openssl, nss, gpgsm])
    test(`${kind.name} opens what is sealed to two RSA keys with either`, async (t) =>
      assertOpens(t, kind, await sealedTo('anna', 'otto'), ['anna', 'otto']));

  // NSS 3.87 cannot decode RecipientInfos of two types in one message, whoever reads: docs/certificates.md and `check` say so.
  test('openssl opens what is sealed to RSA and EC keys with each', async (t) =>
    assertOpens(t, openssl, await sealedTo('ben', 'anna', 'carla', 'dora'), ['anna', 'ben', 'carla', 'dora']));
  test('gpgsm opens what is sealed to RSA and EC keys with the RSA one', async (t) =>
    assertOpens(t, gpgsm, await sealedTo('ben', 'anna'), ['anna']));
});
