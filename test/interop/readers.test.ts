/** The strangers themselves: what openssl sealed opens where it should, and nowhere else. Without this, a reader that opens anything proves nothing. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { bouncyCastle } from './bouncy.ts';
import { makeReaders, type Reader, type ReaderName, type Readers } from './fixtures.ts';
import { succeed } from './programs.ts';
import { cmsOf, gpgsm, nss, openssl, recipientInfos, serialNumberOf, type MailProgram, type MailProgramKind } from './readers.ts';
import { streamNamed } from './streams.ts';

const missingOpenssl = openssl.missing();
const ENTITY = streamNamed('multipart-with-pdf-and-png');
const AES_256_CBC = '-aes-256-cbc';
const AES_256_GCM = '-aes-256-gcm';
const OAEP = ['-keyopt', 'rsa_padding_mode:oaep', '-keyopt', 'rsa_oaep_md:sha256', '-keyopt', 'rsa_mgf1_md:sha256'];

let dir: string;
let readers: Readers;

before(async () => {
  if (missingOpenssl !== undefined) return;
  dir = await mkdtemp(join(tmpdir(), 'readers-'));
  readers = await makeReaders(dir);
});
after(() => (missingOpenssl === undefined ? rm(dir, { recursive: true, force: true }) : undefined));

function sealed(cipher: string, to: ReaderName, keyOptions: readonly string[] = []): Promise<Buffer> {
  const recipient = ['-recip', readers.people[to].certificate, ...keyOptions];
  return succeed('openssl', ['cms', '-encrypt', '-binary', cipher, '-outform', 'SMIME', ...recipient], { input: ENTITY });
}

/** The message with one bit of its CMS changed, `fromEnd` octets before the end. */
function flipped(message: Buffer, fromEnd: number): Buffer {
  const der = cmsOf(message);
  const at = der.length - fromEnd;
  der.writeUInt8(der.readUInt8(at) ^ 1, at);
  const text = message.toString('latin1');
  return Buffer.from(`${text.slice(0, text.search(/\r?\n\r?\n/))}\n\n${der.toString('base64').replace(/.{1,64}/g, '$&\n')}`, 'latin1');
}

interface Case {
  readonly what: string;
  readonly cipher: string;
  readonly to: ReaderName;
  readonly keyOptions?: readonly string[];
}

const COMPATIBLE: Case = { what: 'RSA PKCS#1 v1.5, AES-256-CBC', cipher: AES_256_CBC, to: 'anna' };
const EVERYTHING: readonly Case[] = [
  COMPATIBLE,
  { what: 'RSA PKCS#1 v1.5, AES-128-CBC', cipher: '-aes-128-cbc', to: 'anna' },
  { what: 'RSA OAEP, AES-256-CBC', cipher: AES_256_CBC, to: 'anna', keyOptions: OAEP },
  { what: 'RSA OAEP, AES-256-GCM', cipher: AES_256_GCM, to: 'anna', keyOptions: OAEP },
  { what: 'RSA PKCS#1 v1.5, AES-256-GCM', cipher: AES_256_GCM, to: 'anna' },
  { what: 'ECDH P-256, AES-256-CBC', cipher: AES_256_CBC, to: 'ben' },
  { what: 'ECDH P-384, AES-256-CBC', cipher: AES_256_CBC, to: 'carla' },
  { what: 'ECDH P-521, AES-256-GCM', cipher: AES_256_GCM, to: 'dora', keyOptions: ['-keyopt', 'ecdh_kdf_md:sha384'] },
];

/** Which program opens what; the compatible form is what all of them do. */
const kinds: readonly { kind: MailProgramKind; opens: readonly Case[] }[] = [
  { kind: openssl, opens: EVERYTHING },
  { kind: bouncyCastle, opens: EVERYTHING },
  { kind: nss, opens: [COMPATIBLE] },
  { kind: gpgsm, opens: [COMPATIBLE] },
];

for (const { kind, opens } of kinds) {
  const skip = missingOpenssl ?? kind.missing() ?? false;
  describe(kind.name, { skip }, () => {
    let program: MailProgram;
    before(async () => {
      program = await kind.start(readers);
    });
    after(() => program.close());

    for (const { what, cipher, to, keyOptions } of opens) {
      test(`opens ${what}`, async () => {
        const opened = await program.open(await sealed(cipher, to, keyOptions), readers.people[to]);
        assert.ok(opened.equals(ENTITY), `${opened.length} octets came out, ${ENTITY.length} went in`);
      });
    }

    test('refuses what was sealed for somebody else', async () => {
      // NSS and gpgsm look for any key they own, so the stranger is one whose key they do not have.
      const [to, as]: [ReaderName, Reader] = opens.length === 1 ? ['ben', readers.people.anna] : ['otto', readers.people.anna];
      await assert.rejects(program.open(await sealed(AES_256_CBC, to), as));
    });

    if (opens.length > 1) {
      for (const to of ['anna', 'ben'] as const) {
        test(`A14: notices one flipped bit of GCM, in tag and content, for ${to}`, async () => {
          const message = await sealed(AES_256_GCM, to);
          for (const fromEnd of [1, 16, 100, 100_000]) {
            await assert.rejects(program.open(flipped(message, fromEnd), readers.people[to]), `flipped ${fromEnd} octets before the end`);
          }
        });
      }
    }
  });
}

test('recipientInfos names every reader, by issuer and serial', { skip: missingOpenssl ?? false }, async () => {
  const two = ['cms', '-encrypt', AES_256_CBC, '-outform', 'SMIME', readers.people.anna.certificate, readers.people.ben.certificate];
  const names = await recipientInfos(await succeed('openssl', two, { input: ENTITY }));
  const serials = [await serialNumberOf(readers.people.anna.certificate), await serialNumberOf(readers.people.ben.certificate)];
  assert.deepEqual(
    names.map(({ type, serial }) => [type, serial]),
    [
      ['ktri', serials[0]],
      ['kari', serials[1]],
    ],
  );
  assert.match(names[0]?.issuer ?? '', /Interop test CA/);
});

test('recipientInfos refuses a reader named by key identifier', { skip: missingOpenssl ?? false }, async () => {
  const byKey = ['cms', '-encrypt', '-keyid', AES_256_CBC, '-outform', 'SMIME', readers.people.anna.certificate];
  await assert.rejects(recipientInfos(await succeed('openssl', byKey, { input: ENTITY })), /key identifier/);
});
