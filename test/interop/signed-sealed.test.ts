/**
 * Signed, then sealed, by the path itself: other people's programs open it, and believe the signature under it. What they find signed is,
 * octet for octet, what a program that knows nothing of sealpost says must be inside.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { simpleParser } from 'mailparser';
import { pino } from 'pino';
import { makeAddressBook } from '../../src/certificates/address-book.ts';
import { readCertificates } from '../../src/certificates/bundle.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import type { SignPolicy } from '../../src/message/sign-policy.ts';
import { plainRecipient } from '../../src/message/envelope.ts';
import { makeHeldOutbox } from '../../src/outbox.ts';
import { makePath } from '../../src/path.ts';
import { ALWAYS } from '../../src/policy/condition.ts';
import { makeRuleSet, type Rule } from '../../src/policy/decide.ts';
import { chooseForm } from '../../src/seal/algorithms.ts';
import { makeSigners } from '../../src/sign/identities.ts';
import { type Identity, readIdentity } from '../../src/sign/identity.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { bouncyCastle } from './bouncy.ts';
import { expectedEntity, missingPerl } from './expected-entity.ts';
import { makeReaders, type Reader, type Readers } from './fixtures.ts';
import { gpgsm, nss, openssl, type MailProgram, type MailProgramKind } from './readers.ts';
import { streamNamed } from './streams.ts';
import { gpgsmVerifier, nssVerifier, opensslVerifier, takeApart, type Verifier } from './verifiers.ts';

const missing = openssl.missing() ?? missingPerl();
const PICTURE = Buffer.from('89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489', 'hex');
const HTML_WITH_PICTURES = Buffer.from(
  [
    'From: Intake form <forms@clinic.example>',
    'To: anna@clinic.example',
    'Subject: New intake form',
    'Date: Mon, 23 Nov 2026 08:00:00 +0000',
    'Message-ID: <html@forms.clinic.example>',
    'MIME-Version: 1.0',
    'Content-Type: multipart/related; boundary="rel"',
    '',
    '--rel',
    'Content-Type: text/html; charset=utf-8',
    'Content-Transfer-Encoding: 8bit',
    '',
    '<p>Grüße <img src="cid:a"> <img src="cid:b"></p>',
    ...['a', 'b'].flatMap((id) => [
      '--rel',
      `Content-Type: image/png; name="${id}.png"`,
      `Content-ID: <${id}>`,
      'Content-Transfer-Encoding: base64',
      '',
      PICTURE.toString('base64'),
    ]),
    '--rel--',
    '',
  ].join('\r\n'),
);

interface Input {
  readonly what: string;
  readonly octets: () => Buffer;
  readonly form?: SignPolicy['form'];
  readonly recode?: SignPolicy['recode'];
}
const INPUTS: readonly Input[] = [
  { what: 'text', octets: () => streamNamed('text') },
  { what: 'text that ends without a line end', octets: () => streamNamed('no-final-newline') },
  { what: 'HTML with pictures', octets: () => HTML_WITH_PICTURES },
  { what: '8-bit text', octets: () => streamNamed('labelled-eight-bit') },
  { what: 'HTML with pictures, made 7-bit', octets: () => HTML_WITH_PICTURES, recode: '7bit' },
  { what: 'HTML with pictures, inside the signature', octets: () => HTML_WITH_PICTURES, form: 'opaque' },
];
const LARGE: Input = { what: '20 MiB', octets: () => streamNamed('attachment-20-mib') };
/** Time under the signature; certificates of the readers begin when the test does. */
const now = Date.now;

describe('signed, then sealed', { skip: missing ?? false }, () => {
  let dir: string;
  let readers: Readers;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'signed-'));
    readers = await makeReaders(dir);
  });
  after(() => rm(dir, { recursive: true, force: true }));

  const certificateOf = (reader: Reader): Certificate => {
    const [certificate] = readCertificates(readFileSync(reader.certificate)).certificates;
    assert.ok(certificate);
    return certificate;
  };
  function identityOf(reader: Reader): Identity {
    const verdict = readIdentity('site', { kind: 'pem', cert: readFileSync(reader.certificate), key: readFileSync(reader.key) });
    assert.ok(verdict.kind === 'identity', JSON.stringify(verdict));
    return verdict.identity;
  }

  /** To anna, by the path, signed by that reader; the whole message as it goes on the wire. */
  async function send(octets: Buffer, signer: Reader, { form = 'detached', recode = 'none' }: Partial<SignPolicy>): Promise<Buffer> {
    const rule: Rule = {
      name: 'signed',
      when: ALWAYS,
      then: 'seal',
      missing: 'refuse',
      unavailable: 'retry',
      subject: { kind: 'keep' },
      from: { replace: { name: 'Clinic', mailbox: mailboxOf(signer.address) }, original: 'inside' },
      messageId: 'per_recipient',
      sign: { identity: 'site', form, recode },
    };
    const certificate = certificateOf(readers.people.anna);
    const found = [{ certificate, source: 't', place: 'p', path: [certificate], revocation: 'off' }] as const;
    let wire: Buffer | undefined;
    const path = makePath({
      hostname: 'relay.clinic.example',
      rules: () => makeRuleSet([rule]),
      addressBook: makeAddressBook({ lookup: async () => ({ kind: 'found', chosen: [...found], rejected: [], asked: [] }) }),
      chooseForm: (list, policy) => chooseForm(list, 'compatible', policy),
      signers: makeSigners(() => [identityOf(signer)], now),
      outbox: makeHeldOutbox(async (_, sealed) => void (wire = await buffer(sealed))),
      largest: () => undefined,
      newId: () => 'QID7',
      now,
      randomBytes,
      log: pino({ level: 'silent' }),
    });
    const client = { address: '127.0.0.1', helo: 'localhost', tls: null, user: null };
    const envelope = { sender: mailboxOf('forms@clinic.example'), recipients: [plainRecipient(mailboxOf('anna@clinic.example'))] };
    await path.accept({ ...envelope, envid: null, client, protocol: 'LOCAL' }, Readable.from([octets]));
    assert.ok(wire !== undefined);
    return wire;
  }

  const sealed = new Map<string, Promise<Buffer>>();
  /** Each is sealed once, and opened by all. */
  function sealedOnce({ what, octets, ...how }: Input, signer: Reader): Promise<Buffer> {
    const key = `${what} ${signer.name}`;
    const message = sealed.get(key) ?? send(octets(), signer, how);
    sealed.set(key, message);
    return message;
  }

  /** What is signed is the stamp and the entity as it came. */
  async function assertContent(content: Buffer, { octets, recode, what }: Input): Promise<void> {
    const stamp = /^X-Sealpost-Id: QID7; \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\r\n/.exec(content.toString('latin1', 0, 200))?.[0];
    assert.ok(stamp !== undefined, content.toString('latin1', 0, 200));
    const entity = content.subarray(stamp.length);
    const expected = await expectedEntity(octets(), 'keep', 'replace');
    if (recode === undefined) {
      assert.ok(entity.equals(expected), `${what}: ${entity.length} octets are signed, ${expected.length} came`);
      return;
    }
    const [ours, theirs] = await Promise.all([simpleParser(entity), simpleParser(expected)]);
    assert.equal(ours.html, theirs.html);
    assert.deepEqual(
      ours.attachments.map(({ content: octets }) => octets),
      theirs.attachments.map(({ content: octets }) => octets),
    );
  }

  const kinds: readonly { readonly kind: MailProgramKind; readonly start: () => Promise<readonly [MailProgram, Verifier]> }[] = [
    { kind: openssl, start: () => Promise.all([openssl.start(readers), opensslVerifier.start(readers)]) },
    { kind: bouncyCastle, start: async () => twice(await bouncyCastle.start(readers)) },
    { kind: nss, start: () => Promise.all([nss.start(readers), nssVerifier.start(readers)]) },
    { kind: gpgsm, start: () => Promise.all([gpgsm.start(readers), gpgsmVerifier.start(readers)]) },
  ];
  for (const { kind, start } of kinds) {
    describe(kind.name, { skip: kind.missing() ?? false }, () => {
      let program: MailProgram;
      let judge: Verifier;
      before(async () => {
        [program, judge] = await start();
      });
      after(() => Promise.all([...new Set([program, judge])].map((one) => one.close())));

      async function assertBelieved(input: Input, signer: Reader): Promise<void> {
        const entity = await program.open(await sealedOnce(input, signer), readers.people.anna);
        await assertContent(await judge.verify(takeApart(entity), signer), input);
      }
      for (const name of ['otto', 'ben'] as const)
        test(`opens and believes what ${name === 'otto' ? 'an RSA' : 'a P-256'} key signed`, async () => {
          for (const input of INPUTS) await assertBelieved(input, readers.people[name]);
        });
      test('20 MiB', () => assertBelieved(LARGE, readers.people.otto));

      test('does not believe it where one octet is another', async () => {
        for (const form of ['detached', 'opaque'] as const) {
          const input: Input = { what: `to be changed, ${form}`, octets: () => streamNamed('text'), form };
          const entity = Buffer.from(await program.open(await sealedOnce(input, readers.people.otto), readers.people.anna));
          const signed = takeApart(entity);
          // The text, which stands within the signature where it is opaque.
          const text = signed.beside ?? signed.signature;
          const at = text.indexOf('Hello');
          assert.ok(at > 0);
          text.write('Hallo', at);
          const changed =
            form === 'detached' ? entity : Buffer.from(`${headOf(entity)}${text.toString('base64').replace(/.{1,76}/g, '$&\r\n')}`);
          await assert.rejects(judge.verify({ ...signed, entity: changed }, readers.people.otto), form);
        }
      });
    });
  }
});

/** One virtual machine does both. */
const twice = <T>(both: T): readonly [T, T] => [both, both];

const headOf = (entity: Buffer): string => entity.toString('latin1', 0, entity.indexOf('\r\n\r\n') + 4);
