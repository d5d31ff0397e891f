/** Held mail is decided again and sealed to its reader; what cannot be, stays held, and whoever asked knows why. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { oid } from '../../src/certificates/encode.ts';
import { makeHoldPair } from '../../src/certificates/hold.ts';
import { signedAttributeOids } from '../../src/certificates/oids.ts';
import { parsePattern } from '../../src/message/pattern.ts';
import { cipherNames } from '../../src/seal/algorithms.ts';
import { makeSigners } from '../../src/sign/identities.ts';
import { codeOf } from '../ingress/front.ts';
import { identityFor } from '../sign/people.ts';
import { mailbox, makeWorld, type Pair, rule } from './world.ts';

const FORM = 'From: Forms <forms@clinic.example>\r\nSubject: of Anna\r\nX-Kind: intake\r\nContent-Type: text/plain\r\n\r\nhello\r\n';

describe('the release of held mail', () => {
  let hold: Pair;
  let anna: Pair;
  let other: Pair;
  before(async () => {
    const pair = (name: string) => makeHoldPair(name, Date.now());
    [hold, anna, other] = await Promise.all([pair('Clinic'), pair('Anna'), pair('Anna, another')]);
  });
  const known = (): [string, Pair['certificate']][] => [['anna@clinic.example', anna.certificate]];

  for (const cipher of cipherNames)
    for (const octets of [10, 300_000])
      test(`${cipher}, ${octets} octets: a new prefix in front of the very ciphertext that was stored`, async (t) => {
        const world = await makeWorld(t, hold);
        world.today.cipher = cipher;
        const body = 'x'
          .repeat(60)
          .concat('\r\n')
          .repeat(Math.ceil(octets / 62));
        const queueId = await world.accept(FORM.replace('hello\r\n', body));
        const [held] = await world.held();
        assert.ok(held);
        const before = await world.ciphertextOf(held);
        world.today.certificates = new Map(known());
        assert.deepEqual(await world.release(held), { kind: 'released', rule: 'forms', reencrypted: false });
        const sent = await world.delivered(anna);
        assert.ok(sent.ciphertext.equals(before), 'the same octets');
        assert.equal(sent.inside, FORM.replace('hello\r\n', body).replace('From: Forms <forms@clinic.example>\r\n', ''));
        assert.match(sent.header, new RegExp(`\r\nSubject: sealed \\[${queueId}\\]\r\n`));
        assert.equal(sent.header.match(/^Received:/gm)?.length, 1, 'no hop more than there was');
        assert.equal(sent.header.match(/^From: Forms <forms@clinic\.example>\r$/gm)?.length, 1);
        assert.deepEqual([sent.sender, sent.recipient], ['forms@clinic.example', 'anna@clinic.example']);
        assert.deepEqual(await world.held(), []);
        const events = (await world.audit()).filter(({ queue_id }) => queue_id === queueId);
        assert.deepEqual(
          events.map(({ event }) => event),
          ['accepted', 'held', 'released', 'sealed'],
        );
        assert.partialDeepStrictEqual(events[2], {
          recipient: 'anna@clinic.example',
          rule: 'forms',
          operator: 'tester',
          reencrypted: false,
        });
        assert.partialDeepStrictEqual(events[3], { certificate_sha256: anna.certificate.fingerprint, cipher });
      });

  test('P9 A22 a certificate that was changed is told of at release as on the path; under a pin the message stays held', async (t) => {
    for (const pinned of [false, true]) {
      const world = await makeWorld(t, hold, { pinned });
      world.today.certificates = new Map(known());
      await world.accept(FORM);
      world.today.certificates = new Map();
      const queueId = await world.accept(FORM);
      const [held] = await world.held(queueId);
      assert.ok(held);
      world.today.certificates = new Map([['anna@clinic.example', other.certificate]]);
      if (pinned) await assert.rejects(world.release(held), { code: 'lookup-unavailable' });
      else assert.equal((await world.release(held)).kind, 'released');
      assert.equal((await world.held(queueId)).length, pinned ? 1 : 0);
      const events = (await world.audit()).filter(({ event }) => event === 'certificate-changed');
      const fingerprints = events.map(({ certificate_sha256 }) => certificate_sha256);
      assert.deepEqual(fingerprints, pinned ? [] : [other.certificate.fingerprint]);
    }
  });

  test('another cipher than the one that is stored: encrypted anew, the old body is gone', async (t) => {
    for (const octets of [10, 300_000]) {
      const world = await makeWorld(t, hold);
      const body = 'y'.repeat(octets);
      await world.accept(FORM.replace('hello', body));
      const [held] = await world.held();
      assert.ok(held);
      const before = await world.ciphertextOf(held);
      world.today.cipher = 'aes-256-gcm';
      world.today.certificates = new Map(known());
      assert.deepEqual(await world.release(held), { kind: 'released', rule: 'forms', reencrypted: true });
      const stats = await world.store.stats();
      const sent = await world.delivered(anna);
      assert.equal(stats.bodyBytes, sent.ciphertext.length);
      assert.ok(!sent.ciphertext.subarray(0, 16).equals(before.subarray(0, 16)));
      assert.match(sent.header, /smime-type=authEnveloped-data/);
      assert.match(sent.inside, /^Subject: of Anna\r\nX-Kind: intake\r\n/);
      assert.ok(sent.inside.endsWith(`${body}\r\n`));
      await world.store.close();
    }
  });

  test('a rule that hides today what was shown when it was held: nothing is lost, and nothing shown', async (t) => {
    const world = await makeWorld(t, hold);
    world.today.rules = [rule({ name: 'shown', subject: { kind: 'keep' } })];
    await world.accept(FORM);
    const [held] = await world.held();
    assert.ok(held);
    assert.match(held.header.toString(), /Subject: of Anna/);
    world.today.rules = [rule({ name: 'hidden' })];
    world.today.certificates = new Map(known());
    assert.deepEqual(await world.release(held), { kind: 'released', rule: 'hidden', reencrypted: true });
    const sent = await world.delivered(anna);
    assert.doesNotMatch(sent.header, /Anna/);
    assert.match(sent.inside, /^Subject: of Anna\r\n/m);
    assert.equal(sent.header.match(/^Received:/gm)?.length, 1);
  });

  test('a rule that shows today what was hidden, and another author: the ciphertext serves', async (t) => {
    const world = await makeWorld(t, hold);
    await world.accept(FORM);
    const [held] = await world.held();
    assert.ok(held);
    const before = await world.ciphertextOf(held);
    world.today.rules = [rule({ name: 'shown', subject: { kind: 'keep' }, envelopeFrom: mailbox('bounces@clinic.example') })];
    world.today.certificates = new Map(known());
    assert.deepEqual(await world.release(held), { kind: 'released', rule: 'shown', reencrypted: false });
    const sent = await world.delivered(anna);
    assert.ok(sent.ciphertext.equals(before));
    assert.match(sent.header, /^Subject: of Anna\r$/m);
    assert.equal(sent.sender, 'bounces@clinic.example');

    const other = await makeWorld(t, hold);
    await other.accept(FORM);
    const [row] = await other.held();
    assert.ok(row);
    const from = { replace: { name: 'Clinic', mailbox: mailbox('noreply@clinic.example') }, original: 'reply_to' } as const;
    other.today.rules = [rule({ name: 'author', from })];
    other.today.certificates = new Map(known());
    assert.deepEqual(await other.release(row), { kind: 'released', rule: 'author', reencrypted: true });
    const replaced = await other.delivered(anna);
    assert.match(replaced.header, /^From: Clinic <noreply@clinic\.example>\r$/m);
    assert.match(replaced.header, /^Reply-To: Forms <forms@clinic\.example>\r$/m);
    assert.match(replaced.inside, /^From: Forms <forms@clinic\.example>\r$/m);
  });

  test('rules see what they saw: the subject and fields from inside the seal, the client, the size', async (t) => {
    const pattern = (source: string) => ({ source, matches: (text: string) => text.includes(source) });
    const world = await makeWorld(t, hold);
    await world.accept(FORM, undefined, { size: 4711 });
    const [held] = await world.held();
    assert.ok(held);
    world.today.certificates = new Map(known());
    const seen = {
      kind: 'all',
      of: [
        { kind: 'subject', pattern: pattern('of Anna') },
        { kind: 'header', name: 'x-kind', pattern: pattern('intake') },
        { kind: 'client', source: '192.0.2.7', matches: (address: string) => address === '192.0.2.7' },
        { kind: 'size', over: 4710, under: 4712 },
        { kind: 'user', source: 'nobody', matches: (name: string | null) => name === null },
      ],
    } as const;
    world.today.rules = [rule({ name: 'seen', when: seen }), rule({ name: 'others', then: 'refuse' })];
    assert.partialDeepStrictEqual(await world.release(held), { kind: 'released', rule: 'seen' });
  });

  test('what cannot be released stays as it is, and why is told', async (t) => {
    const world = await makeWorld(t, hold);
    const { today } = world;
    await world.accept(FORM);
    const [held] = await world.held();
    assert.ok(held);
    assert.deepEqual(await world.release(held), { kind: 'stays', why: 'missing', rule: 'forms' });
    today.down = true;
    assert.deepEqual(await world.release(held), { kind: 'stays', why: 'unavailable', rule: 'forms' });
    today.rules = [rule({ name: 'forms', unavailable: 'retry' })];
    assert.deepEqual(await world.release(held), { kind: 'stays', why: 'unavailable', rule: 'forms' });
    today.down = false;
    today.certificates = new Map(known());
    today.rules = [rule({ name: 'no', then: 'refuse' })];
    assert.deepEqual(await world.release(held), { kind: 'stays', why: 'refused', rule: 'no' });
    today.rules = [];
    assert.deepEqual(await world.release(held), { kind: 'stays', why: 'refused', rule: null });
    today.rules = [rule({ name: 'clear', then: 'pass' })];
    assert.deepEqual(await world.release(held), { kind: 'stays', why: 'passes', rule: 'clear' });
    assert.equal((await world.store.stats()).states.held, 1);
    today.rules = [rule({ name: 'forms' })];
    assert.partialDeepStrictEqual(await world.release(held), { kind: 'released' });
    assert.deepEqual(await world.release(held), { kind: 'gone' });
  });

  test('what a rule holds goes out by an operator’s word alone, in the dress of that rule', async (t) => {
    const world = await makeWorld(t, hold);
    world.today.certificates = new Map(known());
    world.today.rules = [rule({ name: 'patients', then: 'hold', subject: { kind: 'replace', template: 'a letter' } })];
    await world.accept(FORM);
    const [held] = await world.held();
    assert.ok(held);
    assert.deepEqual(await world.release(held, { byHand: false }), { kind: 'stays', why: 'rule', rule: 'patients' });
    assert.deepEqual(await world.release(held), { kind: 'released', rule: 'patients', reencrypted: false });
    assert.match((await world.delivered(anna)).header, /^Subject: a letter\r$/m);
  });

  test('a copy for the archive is only looked up; a rule that is gone does not matter', async (t) => {
    const world = await makeWorld(t, hold);
    world.today.rules = [rule({ name: 'kept', archive: mailbox('archive@clinic.example') })];
    const queueId = await world.accept(FORM);
    const rows = await world.held(queueId);
    assert.deepEqual(
      rows.map(({ recipient }) => recipient),
      ['anna@clinic.example', 'archive@clinic.example'],
    );
    world.today.rules = [rule({ name: 'other', then: 'refuse' })];
    world.today.certificates = new Map([['archive@clinic.example', anna.certificate]]);
    const [mail, copy] = rows;
    assert.ok(mail && copy);
    assert.partialDeepStrictEqual(await world.release(mail), { kind: 'stays', why: 'refused' });
    assert.deepEqual(await world.release(copy), { kind: 'released', rule: 'kept', reencrypted: false });
    const sent = await world.delivered(anna);
    assert.doesNotMatch(sent.header, /of Anna/);
    assert.match(sent.inside, /^Subject: of Anna\r$/m);
    const events = (await world.audit()).map(({ event }) => event);
    assert.equal(events.filter((event) => event === 'archived').length, 1, 'it was archived once');
  });

  describe('and the site’s signature', () => {
    const identity = identityFor('clinic');
    const signers = makeSigners(() => [identity], Date.now);
    const sees = {
      kind: 'all',
      of: [
        { kind: 'header', name: 'x-kind', pattern: { source: 'intake', matches: (text: string) => text === 'intake' } },
        { kind: 'subject', pattern: { source: 'Anna', matches: (text: string) => text.includes('Anna') } },
        { kind: 'signed', is: false },
      ],
    } as const;
    for (const form of ['detached', 'opaque'] as const)
      test(`what was signed (${form}) when it was taken keeps its signature and its ciphertext; rules read through it`, async (t) => {
        const world = await makeWorld(t, hold, { signers });
        const sign = { identity: 'clinic', form, recode: 'none' } as const;
        world.today.rules = [rule({ name: 'signs', sign })];
        await world.accept(FORM.replace('hello', 'h'.repeat(100_000)));
        const [held] = await world.held();
        assert.ok(held);
        const before = await world.ciphertextOf(held);
        world.today.certificates = new Map(known());
        world.today.rules = [rule({ name: 'sees', when: sees, subject: { kind: 'keep' } }), rule({ name: 'others', then: 'refuse' })];
        assert.deepEqual(await world.release(held), { kind: 'released', rule: 'sees', reencrypted: false });
        const sent = await world.delivered(anna);
        assert.ok(sent.ciphertext.equals(before));
        assert.match(sent.header, /^Subject: of Anna\r$/m);
        assert.match(sent.inside, form === 'detached' ? /^Content-Type: multipart\/signed/m : /smime-type=signed-data/);
      });

    test('stands under no From that its certificate does not name: not at release, and for no reader of a shared body', async (t) => {
      const world = await makeWorld(t, hold, { signers });
      const sign = { identity: 'clinic', form: 'detached', recode: 'none' } as const;
      const showing = (address: string) => ({
        name: address,
        sign,
        from: { replace: { name: '', mailbox: mailbox(address) }, original: 'inside' } as const,
      });
      await world.accept(FORM);
      const [held] = await world.held();
      assert.ok(held);
      world.today.certificates = new Map(known());
      world.today.rules = [rule(showing('other@clinic.example'))];
      await assert.rejects(world.release(held), { code: 'identity-unusable' });
      assert.equal((await world.held()).length, 1, 'it stays held');

      const to = parsePattern('anna@clinic.example');
      assert.ok(to.kind === 'pattern');
      world.today.certificates.set('otto@clinic.example', anna.certificate);
      world.today.rules = [
        rule({ ...showing('forms@clinic.example'), when: { kind: 'recipient', pattern: to.pattern } }),
        ...world.today.rules,
      ];
      await assert.rejects(world.accept(FORM, ['anna@clinic.example', 'otto@clinic.example']), { code: 'identity-unusable' });
      await world.accept(FORM);
      world.today.rules = [rule({ name: 'as it came', sign })];
      await world.accept(FORM);
      await assert.rejects(world.accept(FORM.replace('forms@', 'vera@')), { code: 'identity-unusable' });
    });

    test('tells its time only where it is that of the Date field', async (t) => {
      const world = await makeWorld(t, hold, { signers });
      world.today.certificates = new Map(known());
      world.today.rules = [rule({ name: 'signs', sign: { identity: 'clinic', form: 'detached', recode: 'none' } })];
      const { now } = world.site.clock;
      const near = new Date(now).toUTCString().replace('GMT', '+0000 (UTC)');
      for (const [field, told] of [
        ['', true],
        [`Date: ${near}\r\n`, true],
        [`Date: ${new Date(now - 7_200_000).toUTCString()}\r\n`, false],
        ['Date: yesterday\r\n', false],
      ] as const) {
        await world.accept(field + FORM);
        const [, , signature = ''] = (await world.delivered(anna)).inside.split(/\r\n--=_[^\r]*/);
        const der = Buffer.from(signature.split('\r\n\r\n')[1] ?? '', 'base64');
        assert.equal(der.includes(oid(signedAttributeOids.signingTime)), told, field);
      }
    });

    test('a rule that signs today, and one that hides what stands outside a signature', async (t) => {
      const world = await makeWorld(t, hold, { signers });
      await world.accept(FORM);
      const [unsigned] = await world.held();
      assert.ok(unsigned);
      world.today.certificates = new Map(known());
      const sign = { identity: 'clinic', form: 'detached', recode: 'none' } as const;
      world.today.rules = [rule({ name: 'signs', sign })];
      assert.deepEqual(await world.release(unsigned), { kind: 'released', rule: 'signs', reencrypted: true });
      const sent = await world.delivered(anna);
      assert.match(sent.inside, /^Content-Type: multipart\/signed[^]*\r\nSubject: of Anna\r\nX-Kind: intake\r\n[^]*hello/m);
      assert.doesNotMatch(sent.header, /of Anna/);

      world.today.certificates = new Map();
      world.today.rules = [rule({ name: 'signs', sign, subject: { kind: 'keep' } })];
      await world.accept(FORM);
      const [signed] = await world.held();
      assert.ok(signed);
      world.today.certificates = new Map(known());
      world.today.rules = [rule({ name: 'hides', sign })];
      assert.deepEqual(await world.release(signed), { kind: 'released', rule: 'hides', reencrypted: true });
      const hidden = await world.delivered(anna);
      assert.doesNotMatch(hidden.header, /of Anna/);
      assert.match(
        hidden.inside,
        /^Subject: of Anna\r\nMIME-Version: 1\.0\r\nContent-Type: multipart\/signed/,
        'in front of what is signed',
      );
      assert.equal(hidden.inside.match(/application\/pkcs7-signature; name/g)?.length, 1, 'signed once');
    });
  });

  test('a subject that is shown in the text is shown once', async (t) => {
    const shows = { kind: 'replace', template: 'a form', show: true } as const;
    for (const shown of [true, false]) {
      const world = await makeWorld(t, hold);
      world.today.rules = [rule({ name: 'first', ...(shown ? { subject: shows } : {}) })];
      await world.accept(FORM);
      const [held] = await world.held();
      assert.ok(held);
      world.today.certificates = new Map(known());
      world.today.rules = [rule({ name: 'shows', subject: shows })];
      world.today.cipher = shown ? 'aes-256-gcm' : 'aes-256-cbc';
      assert.deepEqual(await world.release(held), { kind: 'released', rule: 'shows', reencrypted: true });
      const { inside } = await world.delivered(anna);
      assert.equal(inside.slice(inside.indexOf('\r\n\r\n')).match(/of Anna/g)?.length, 1);
      await world.store.close();
    }
  });

  test('a key that is not the one changes nothing and is told as nothing else', async (t) => {
    for (const cipher of cipherNames) {
      const world = await makeWorld(t, hold);
      world.today.cipher = cipher;
      await world.accept(FORM.replace('hello', 'z'.repeat(100_000)));
      world.today.certificates = new Map(known());
      const [held] = await world.held();
      assert.ok(held);
      // PKCS#1 v1.5 gives octets whatever the key: only what they open tells (RFC 3218).
      assert.deepEqual(await world.release(held, { key: { key: anna.key } }), { kind: 'wrong-key' });
      for (let attempt = 0; attempt < 50; attempt++) {
        const contentKey = randomBytes(cipher === 'aes-128-cbc' ? 16 : 32);
        const wish = { contentKey, operator: 'tester', byHand: true };
        assert.deepEqual(await world.releasing.release(held, wish), { kind: 'wrong-key' });
        assert.ok(
          contentKey.every((octet) => octet === 0),
          'the key is forgotten',
        );
      }
      assert.equal((await world.store.stats()).states.held, 1);
      assert.partialDeepStrictEqual(await world.release(held), { kind: 'released' });
      await world.store.close();
    }
  });

  test('a body that the disk changed is noticed before anything is made of it (P10)', async (t) => {
    const world = await makeWorld(t, hold);
    await world.accept(FORM.replace('hello', 'z'.repeat(300_000)));
    world.today.certificates = new Map(known());
    const [held] = await world.held();
    assert.ok(held);
    const [name = ''] = readdirSync(world.site.paths.bodies);
    const file = join(world.site.paths.bodies, name);
    const octets = readFileSync(file);
    octets[200_000] = (octets[200_000] ?? 0) ^ 1;
    writeFileSync(file, octets);
    for (const cipher of ['aes-256-cbc', 'aes-256-gcm'] as const) {
      world.today.cipher = cipher;
      await assert.rejects(world.release(held), (error: unknown) => codeOf(error) === 'queue-item-damaged');
    }
    assert.equal((await world.store.stats()).states.held, 1);
    assert.equal(readdirSync(world.site.paths.bodies).length, 1, 'nothing of an attempt is left');
  });
});
