/** What is signed is the entity as it came, whatever it is, and the signature holds as another reader of ours understands it. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { oid } from '../../src/certificates/encode.ts';
import { judgeSignedData, type SignedDataVerdict } from '../../src/certificates/harvest/signed-data.ts';
import { signedAttributeOids } from '../../src/certificates/oids.ts';
import { readSigned } from '../../src/message/signed.ts';
import type { SignPolicy } from '../../src/message/sign-policy.ts';
import type { Identity } from '../../src/sign/identity.ts';
import { makeSigners } from '../../src/sign/identities.ts';
import type { SignedAbout } from '../../src/sign/signer.ts';
import { ecKeys, rsaKeys } from '../certificates/pki.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { DIGITAL_SIGNATURE, identityFor, KEY_ENCIPHERMENT } from './people.ts';

const AT = Date.parse('2026-11-23T10:15:00Z');
const STAMP = 'X-Sealpost-Id: QID7; 2026-11-23T10:15:00.000Z\r\n';
const HEADER = 'Content-Type: text/plain; charset=utf-8\r\n\r\n';
const about: SignedAbout = { queueId: 'QID7', at: AT, date: AT, author: mailboxOf('Forms@Clinic.example'), randomBytes };
const plain = { form: 'detached', recode: 'none' } as const;

const identities: readonly Identity[] = [
  identityFor('rsa', { keys: rsaKeys(2048), usage: [DIGITAL_SIGNATURE, KEY_ENCIPHERMENT] }),
  ...['P-256', 'P-384', 'P-521'].map((curve) => identityFor(curve, { keys: ecKeys(curve) })),
];

async function sign(policy: SignPolicy, header: string, pieces: readonly Buffer[], own = identities, said = about): Promise<Buffer> {
  const signer = makeSigners(
    () => own,
    () => AT,
  ).begin(policy, said);
  const out = [...(await signer.start(Buffer.from(header)))];
  for (const piece of pieces) out.push(...(await signer.write(piece)));
  out.push(...(await signer.end()));
  return Buffer.concat(out);
}

test('P9: whatever the form, the signer says whose certificate it signs with', () => {
  const signers = makeSigners(
    () => identities,
    () => AT,
  );
  for (const { name, certificate } of identities)
    for (const form of ['detached', 'opaque'] as const)
      for (const recode of ['none', '7bit'] as const)
        assert.equal(signers.begin({ identity: name, form, recode }, about).fingerprint, certificate.fingerprint);
});

interface Read {
  readonly content: Buffer | undefined;
  readonly signature: Buffer;
  readonly verdict: SignedDataVerdict;
}

async function read(entity: Buffer): Promise<Read> {
  async function* mail(): AsyncGenerator<Buffer> {
    yield Buffer.concat([Buffer.from('From: forms@clinic.example\r\n'), entity]);
  }
  const signed = await readSigned(mail());
  assert.ok(signed.kind === 'signed', JSON.stringify(signed));
  return { content: signed.content, signature: signed.signature, verdict: judgeSignedData(signed.signature, signed.content) };
}

/** In pieces of these lengths, over and over. */
function cut(octets: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, turn = 0; at < octets.length; turn++) {
    const size = sizes[turn % sizes.length] ?? octets.length;
    pieces.push(octets.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

describe('a signature', () => {
  for (const form of ['detached', 'opaque'] as const)
    for (const { name } of identities)
      test(`${form}, by ${name}, is right, and names its signer`, async () => {
        const { verdict, content } = await read(await sign({ identity: name, form, recode: 'none' }, HEADER, [Buffer.from('Grüße\r\n')]));
        assert.ok(verdict.kind === 'right', JSON.stringify(verdict));
        const [signer] = verdict.signers;
        assert.deepEqual(signer?.certificate.addresses, ['forms@clinic.example']);
        // AES-256-CBC first and GCM last: what the site's own readers open.
        assert.deepEqual(
          signer?.capabilities,
          ['42', '2', '46'].map((arc) => `2.16.840.1.101.3.4.1.${arc}`),
        );
        // The issuing CA is in it, and no root.
        assert.deepEqual(verdict.certificates.map(({ subject }) => subject).sort(), ['CN=Clinic forms', 'CN=Issuing CA']);
        if (form === 'detached') assert.equal(content?.toString(), `${STAMP}${HEADER}Grüße\r\n`);
      });

  test('says to which certificate answers are sealed only where mail may be sealed to it', async () => {
    const own = [identityFor('both'), identityFor('signs', { usage: [DIGITAL_SIGNATURE] })];
    for (const identity of own) {
      const { verdict } = await read(await sign({ identity: identity.name, ...plain }, HEADER, [], own));
      assert.ok(verdict.kind === 'right');
      const preferred = verdict.signers[0]?.preferred;
      assert.equal(preferred !== undefined, identity.name === 'both');
    }
  });

  test('tells its time only where Date says about the same: else Thunderbird would call it invalid', async () => {
    const MINUTE = 60_000;
    for (const form of ['detached', 'opaque'] as const)
      for (const [date, told] of [
        [AT + 45 * MINUTE, true],
        [AT - 45 * MINUTE, true],
        [AT + 55 * MINUTE, false],
        [AT - 55 * MINUTE, false],
        [undefined, false],
      ] as const) {
        const policy = { identity: 'rsa', form, recode: 'none' } as const;
        const { verdict, signature } = await read(await sign(policy, HEADER, [], identities, { ...about, date }));
        assert.equal(verdict.kind, 'right');
        assert.equal(signature.includes(oid(signedAttributeOids.signingTime)), told, `${form} ${date}`);
      }
  });

  test('whatever is signed, in whatever pieces it comes: the octets stay as they are', async () => {
    const line = fc.string({ unit: fc.constantFrom('a', '-', '--', ' ', '=', '\t', '.', 'é', '\r\n'), maxLength: 40 });
    const sizes = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 8 }),
        sizes,
        fc.constantFrom('detached' as const, 'opaque' as const),
        async (lines, each, form) => {
          const body = Buffer.from(lines.join('\r\n'));
          const entity = await sign({ identity: 'P-256', form, recode: 'none' }, HEADER, cut(body, each));
          const { verdict, content } = await read(entity);
          assert.ok(verdict.kind === 'right', JSON.stringify(verdict));
          if (form === 'detached') assert.ok(content?.equals(Buffer.concat([Buffer.from(STAMP + HEADER), body])));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('does not hold where one octet of the text is another', async () => {
    const entity = await sign({ identity: 'rsa', ...plain }, HEADER, [Buffer.from('ten drops a day\r\n')]);
    const at = entity.indexOf('ten drops');
    entity.write('two', at);
    assert.equal((await read(entity)).verdict.kind, 'wrong');
  });

  test('the empty body, and a body that is its header alone', async () => {
    for (const form of ['detached', 'opaque'] as const) {
      const { verdict } = await read(await sign({ identity: 'P-256', form, recode: 'none' }, '\r\n', []));
      assert.equal(verdict.kind, 'right');
    }
  });

  test('the header of the entity goes under the signature; the new top says multipart/signed and no more', async () => {
    const secret = 'Subject: HIV test\r\nX-Patient: 4711\r\nContent-Disposition: attachment; filename="hiv.pdf"\r\n';
    for (const form of ['detached', 'opaque'] as const) {
      const entity = await sign({ identity: 'P-256', form, recode: 'none' }, secret + HEADER, [Buffer.from('x')]);
      const top = entity.toString('latin1').split('\r\n\r\n')[0] ?? '';
      assert.doesNotMatch(top, /hiv|4711|QID7/i);
      assert.match(top, /^MIME-Version: 1\.0\r\nContent-Type: /);
    }
  });

  test('a multipart says no less of itself than its entity', async () => {
    for (const [label, said] of [
      ['8bit', '8bit'],
      ['binary', 'binary'],
      ['"8bit"', '8bit'],
      ['7bit', undefined],
      ['base64', undefined],
    ] as const) {
      const header = `Content-Transfer-Encoding: ${label}\r\n${HEADER}`;
      const top = (await sign({ identity: 'P-256', ...plain }, header, [])).toString('latin1').split('\r\n\r\n')[0] ?? '';
      assert.equal(/Transfer-Encoding: (\S+)/.exec(top)?.[1], said);
    }
  });

  test('by an identity that is not there, has expired or is not valid yet: try again later', () => {
    const over = identityFor('over', { to: new Date(AT - 1000) });
    const early = identityFor('early', { from: new Date(AT + 1000) });
    const signers = makeSigners(
      () => [over, early],
      () => AT,
    );
    for (const [identity, said] of [
      ['nobody', /not there/],
      ['over', /expired on 2026-11-23/],
      ['early', /not valid before/],
    ] as const)
      assert.throws(() => signers.begin({ identity, ...plain }, about), { code: 'identity-unusable', temporary: true, message: said });
  });

  test('under a From that the certificate does not name: try again later, and no address in what is said', () => {
    const signers = makeSigners(
      () => identities,
      () => AT,
    );
    for (const author of [mailboxOf('other@clinic.example'), undefined])
      assert.throws(() => signers.begin({ identity: 'rsa', ...plain }, { ...about, author }), {
        code: 'identity-unusable',
        temporary: true,
        message: /^(?!.*@).*does not name the From that is shown/s,
      });
  });

  test('two messages never share a boundary', async () => {
    const boundaryOf = (entity: Buffer): string => /boundary="([^"]+)"/.exec(entity.toString('latin1'))?.[1] ?? '';
    const seen = new Set<string>();
    for (let count = 0; count < 20; count++) seen.add(boundaryOf(await sign({ identity: 'P-256', ...plain }, HEADER, [])));
    assert.equal(seen.size, 20);
  });

  test('25 MB go through without being held', async () => {
    const signer = makeSigners(
      () => identities,
      () => AT,
    ).begin({ identity: 'rsa', form: 'detached', recode: '7bit' }, about);
    const digits = createHash('shake256', { outputLength: 48 * 1024 })
      .update('x')
      .digest('base64');
    const noise = Buffer.from(digits.replace(/.{76}/g, '$&\r\n'));
    let out = 0;
    let most = 0;
    for (const part of await signer.start(Buffer.from('Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n')))
      out += part.length;
    for (let sent = 0; sent < 25 * 1024 * 1024; sent += noise.length) {
      for (const part of await signer.write(noise)) out += part.length;
      most = Math.max(most, sent + noise.length - out);
    }
    assert.ok(most < 256 * 1024, `${most} octets were held`);
  });
});
