/** What becomes of each recipient of one message: held, refused, passed, archived, beside what is sealed. An outbox that only remembers. */
import assert from 'node:assert/strict';
import { createPrivateKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import type { AuditEvent } from '../../src/audit.ts';
import { makeAddressBook } from '../../src/certificates/address-book.ts';
import { readCertificates } from '../../src/certificates/bundle.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import type { Lookup } from '../../src/certificates/directory.ts';
import { makeNotices } from '../../src/delivery/notices.ts';
import { wireForm } from '../../src/delivery/wire.ts';
import { type ErrorCode, SealpostError } from '../../src/errors.ts';
import { readHeld } from '../../src/path/held.ts';
import { insideAs } from '../../src/release/inside.ts';
import { type AddressPattern, anyOf, parsePattern } from '../../src/message/pattern.ts';
import { parseMailbox, plainRecipient, type Envelope, type Mailbox } from '../../src/message/envelope.ts';
import { readMessage } from '../../src/message/header.ts';
import { outerBlock } from '../../src/message/outer.ts';
import { makePath, type PathParts } from '../../src/path.ts';
import { Passing } from '../../src/path/passing.ts';
import { ALWAYS, type Condition } from '../../src/policy/condition.ts';
import { makeRuleSet, type Rule } from '../../src/policy/decide.ts';
import type { NewMessage, NewRecipient } from '../../src/queue/queue.ts';
import { parseSpoolKeys } from '../../src/queue/spool/key.ts';
import { makeSpool, readSpoolFacts } from '../../src/queue/spool/spool.ts';
import { chooseForm } from '../../src/seal/algorithms.ts';
import { openMessage } from '../../src/seal/open.ts';
import { makeReaders, type ReaderName, type Readers } from '../interop/fixtures.ts';
import { missingPrograms } from '../interop/programs.ts';
import { chunked, collect } from '../message/sources.ts';

function mailbox(text: string): Mailbox {
  const verdict = parseMailbox(text);
  assert.equal(verdict.kind, 'mailbox', text);
  return verdict.mailbox;
}

function patternOf(text: string): AddressPattern {
  const verdict = parsePattern(text);
  assert.equal(verdict.kind, 'pattern', text);
  return anyOf([verdict.pattern]);
}

const to = (text: string): Condition => ({ kind: 'recipient', pattern: patternOf(text) });

const seal = { then: 'seal', missing: 'refuse', unavailable: 'retry', subject: { kind: 'replace', template: 'New message' } } as const;
const everything: Rule = { name: 'everything', when: ALWAYS, ...seal };
const CANARY = 'Kanarienvogel';
const letter = `From: forms@clinic.example\r\nTo: anna@clinic.example\r\nDate: Mon, 23 Nov 2026 08:00:00 +0000\r\nMessage-ID: <1@web>\r\nSubject: ${CANARY}\r\n\r\n${CANARY}\r\n.\r\n`;

/** `anna` and `otto` have certificates, nobody else here has. */
const KNOWN: readonly string[] = ['anna@clinic.example', 'otto@clinic.example', 'archive@clinic.example'];
const DOWN = 'down@clinic.example';

describe('what becomes of each recipient', { skip: missingPrograms({ openssl: 'openssl' }) ?? false }, () => {
  let dir: string;
  let readers: Readers;
  const spool = makeSpool({ keys: parseSpoolKeys(Buffer.alloc(32, 7).toString('base64'), 'test'), randomBytes });
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'sealpost-plans-'));
    readers = await makeReaders(dir);
  });
  after(() => rm(dir, { recursive: true, force: true }));

  const certificateOf = (name: ReaderName): Certificate => {
    const [certificate] = readCertificates(readFileSync(readers.people[name].certificate)).certificates;
    assert.ok(certificate);
    return certificate;
  };

  function lookup({ address }: Mailbox): Lookup {
    if (address === DOWN) return { kind: 'unavailable', source: 'ldap', cause: new Error('down'), asked: [], rejected: [] };
    if (!KNOWN.includes(address)) return { kind: 'absent', rejected: [], asked: [] };
    const certificate = certificateOf(address.startsWith('otto') ? 'otto' : address.startsWith('archive') ? 'ben' : 'anna');
    return {
      kind: 'found',
      chosen: [{ certificate, source: 't', place: 'p', path: [certificate], revocation: 'off' }],
      rejected: [],
      asked: [],
    };
  }

  interface Sent {
    readonly message: NewMessage;
    readonly events: readonly AuditEvent[];
    readonly notices: readonly NewMessage[];
    row(address: string): NewRecipient;
    /** What whoever has this key reads. */
    open(address: string, name: ReaderName): string;
    wire(address: string): Promise<string>;
    spooled(address: string): Promise<string>;
  }

  interface Kept {
    readonly queued: Sent[];
    bodies: number;
  }

  /** Sends one message by these rules; `kept` tells of what is left where it is refused. */
  async function send(
    rules: readonly Rule[],
    recipients: readonly string[],
    {
      text = letter,
      sizes,
      parts = {},
      envelope: said = {},
      kept = { queued: [], bodies: 0 },
    }: {
      text?: string | Buffer;
      sizes?: readonly number[];
      parts?: Partial<PathParts>;
      envelope?: Partial<Envelope>;
      kept?: Kept;
    } = {},
  ): Promise<Sent> {
    const path = makePath({
      hostname: 'relay.clinic.example',
      rules: () => makeRuleSet(rules),
      addressBook: makeAddressBook({ lookup: async (one) => lookup(one) }),
      chooseForm: (list, policy) => chooseForm(list, 'compatible', policy),
      hold: () => certificateOf('dora'),
      spool,
      outbox: {
        newBody() {
          const chunks: Buffer[] = [];
          kept.bodies++;
          let open = true;
          return {
            write: async (octets) => void chunks.push(octets),
            finish: async () => {
              const bytes = Buffer.concat(chunks);
              return { length: bytes.length, sha256: Buffer.alloc(32), content: { kind: 'inline', bytes } };
            },
            discard: async () => {
              if (open) kept.bodies--;
              open = false;
            },
          };
        },
        enqueue: async (message, events, _uses, notices = []) => void kept.queued.push(sentOf(message, events, notices)),
      },
      largest: () => undefined,
      now: () => Date.parse('2026-11-23T09:00:00Z'),
      randomBytes,
      log: pino({ level: 'silent' }),
      ...parts,
    });
    const client = { address: '192.0.2.7', helo: 'web.clinic.example', tls: null, user: null };
    const asked = recipients.map((address) => plainRecipient(mailbox(address)));
    const envelope = { sender: mailbox('forms@clinic.example'), recipients: asked, envid: null, client, protocol: 'ESMTP', ...said };
    await path.accept(envelope, chunked(text, sizes));
    const [sent] = kept.queued;
    assert.ok(sent);
    return sent;
  }

  function sentOf(message: NewMessage, events: readonly AuditEvent[], notices: readonly NewMessage[]): Sent {
    const row = (address: string): NewRecipient => {
      const [found, ...others] = message.recipients.filter((one) => one.address === address);
      assert.ok(found !== undefined && others.length === 0, `one row for ${address}`);
      return found;
    };
    const bodyOf = (address: string): Buffer => {
      const content = message.bodies[row(address).body]?.content;
      assert.equal(content?.kind, 'inline');
      return content.bytes;
    };
    const sealed = (address: string): Promise<Buffer> => collect(wireForm(row(address), Readable.from([bodyOf(address)])));
    return {
      message,
      events,
      notices,
      row,
      open(address, name) {
        const { header, prefix, suffix } = row(address);
        const der = Buffer.concat([prefix, bodyOf(address), suffix]);
        const octets = Buffer.concat([header, Buffer.from(der.toString('base64').replace(/.{76}/g, '$&\r\n')), Buffer.from('\r\n')]);
        const key = createPrivateKey(readFileSync(readers.people[name].key));
        return openMessage(octets, [{ key, certificate: certificateOf(name) }]).entity.toString();
      },
      wire: async (address) => (await sealed(address)).toString('latin1'),
      async spooled(address) {
        const { sender, kept } = row(address);
        const passed = { queueId: message.id, sender, recipient: address };
        return (await collect(spool.read(Readable.from([bodyOf(address)]), passed, kept?.facts ?? ''))).toString('latin1');
      },
    };
  }

  const told = ({ events }: Sent, name: string): AuditEvent[] => events.filter(({ event }) => event === name);

  /** The message is refused with this code, and nothing of it is left. */
  async function refuses(code: ErrorCode, ...[rules, recipients, options]: Parameters<typeof send>): Promise<void> {
    const kept: Kept = { queued: [], bodies: 0 };
    await assert.rejects(send(rules, recipients, { ...options, kept }), { code });
    assert.deepEqual([kept.queued, kept.bodies], [[], 0], 'something is left');
  }

  describe('hold', () => {
    const patients: Rule = { ...everything, name: 'patients', missing: 'hold', unavailable: 'hold' };

    test('who has no certificate, and whose look-up fails, is held; both share the body of who is sealed now', async () => {
      const sent = await send([patients], ['anna@clinic.example', 'visitor@gmail.example', DOWN]);
      for (const [address, because] of [
        ['visitor@gmail.example', 'missing'],
        [DOWN, 'unavailable'],
      ] as const) {
        const { kept } = sent.row(address);
        assert.equal(kept?.kind, 'held');
        const facts = readHeld(kept.facts);
        const about = { rule: 'patients', because, client: '192.0.2.7', user: null, size: null, cipher: 'aes-256-cbc', archive: false };
        assert.partialDeepStrictEqual(facts, about);
        assert.ok(!kept.facts.includes(CANARY));
        assert.equal(sent.open(address, 'dora'), sent.open('anna@clinic.example', 'anna'));
        assert.throws(() => sent.open(address, 'anna'), { code: 'message-not-for-key' });
        assert.partialDeepStrictEqual(
          told(sent, 'held').find(({ recipient }) => recipient === address),
          { rule: 'patients', because },
        );
        // The release asks by it whether the stored ciphertext serves: in the same dress it does, in another it does not.
        assert.equal(insideAs(facts.inside, patients), facts.inside);
        assert.notEqual(insideAs(facts.inside, { subject: { kind: 'keep' } }), facts.inside);
      }
      assert.equal(sent.message.bodies.length, 1);
      assert.equal(sent.row('anna@clinic.example').kept, undefined);
      assert.match(sent.open(DOWN, 'dora'), new RegExp(`^Subject: ${CANARY}\r\n\r\n${CANARY}\r\n`));
    });

    test('P5 without a hold certificate it is put off, and nothing is kept', async () => {
      await refuses('hold-unavailable', [patients], ['anna@clinic.example', DOWN], { parts: { hold: () => undefined } });
    });
  });

  describe('refusals that DATA tells', () => {
    const rules: readonly Rule[] = [{ ...everything, name: 'no-bills', when: to('bills@clinic.example'), then: 'refuse' }, everything];

    test('all_or_none: one refusal refuses the whole message', async () => {
      await refuses('policy-refused', rules, ['anna@clinic.example', 'bills@clinic.example']);
    });

    test('P5 a temporary failure anywhere puts off the whole message, split or not', async () => {
      for (const mixed of ['all_or_none', 'split'] as const)
        await refuses('lookup-unavailable', rules, ['bills@clinic.example', 'anna@clinic.example', DOWN], { parts: { mixed } });
    });

    test('split: the others are taken, and a notice in the same transaction tells who is not', async () => {
      const domain = parsePattern('*@clinic.example');
      assert.equal(domain.kind, 'pattern');
      const notices = makeNotices({
        hostname: 'relay.clinic.example',
        operator: 'postmaster@clinic.example',
        domains: anyOf([domain.pattern]),
        delay: 1,
        rate: { count: 10, per: 1000 },
        maxAge: 1,
        sealer: { seal: async (notice) => notice },
        newId: () => 'NOTICE',
        now: Date.now,
        elapsed: () => performance.now(),
        log: pino({ level: 'silent' }),
      });
      const sent = await send(rules, ['anna@clinic.example', 'bills@clinic.example', 'visitor@gmail.example'], {
        parts: { mixed: 'split', notices },
      });
      assert.deepEqual(
        sent.message.recipients.map(({ address }) => address),
        ['anna@clinic.example'],
      );
      const [bills, visitor] = told(sent, 'bounced');
      assert.partialDeepStrictEqual(bills, { recipient: 'bills@clinic.example', rule: 'no-bills', notice: 'NOTICE' });
      assert.partialDeepStrictEqual(visitor, { recipient: 'visitor@gmail.example', rule: 'everything' });
      assert.equal(sent.notices.length, 2);
      const facts: unknown = JSON.parse(sent.notices[0]?.notice ?? '');
      assert.partialDeepStrictEqual(facts, { kind: 'failed', recipient: 'bills@clinic.example', status: '5.7.1', messageId: '<1@web>' });
      assert.deepEqual(
        sent.notices[0]?.recipients.map(({ address }) => address),
        ['forms@clinic.example', 'postmaster@clinic.example'],
      );
      assert.ok(!JSON.stringify([sent.events, sent.notices]).includes(CANARY));
    });

    test('split: where nobody is taken the client is told', async () => {
      await refuses('policy-refused', rules, ['bills@clinic.example', 'visitor@gmail.example'], { parts: { mixed: 'split' } });
    });
  });

  test('what a rule says of the algorithms goes before the profile of the site', async () => {
    const rules: readonly Rule[] = [
      { ...everything, name: 'strict', when: to('anna@clinic.example'), algorithms: { profile: 'strict' } },
      {
        ...everything,
        name: 'small',
        when: to('archive@clinic.example'),
        algorithms: { cipher: 'aes-128-cbc', keyTransport: 'rsaes-oaep' },
      },
      everything,
    ];
    const sent = await send(rules, ['anna@clinic.example', 'otto@clinic.example', 'archive@clinic.example']);
    const said = told(sent, 'sealed').map(({ rule, cipher, key }) => [rule, cipher, key]);
    assert.deepEqual(said, [
      ['strict', 'aes-256-gcm', 'rsaes-oaep'],
      ['everything', 'aes-256-cbc', 'rsaes-pkcs1'],
      ['small', 'aes-128-cbc', 'ecdh'],
    ]);
    assert.equal(sent.message.bodies.length, 3);
    for (const [address, name] of [
      ['anna@clinic.example', 'anna'],
      ['otto@clinic.example', 'otto'],
      ['archive@clinic.example', 'ben'],
    ] as const)
      assert.match(sent.open(address, name), new RegExp(CANARY));
  });

  test('P9 it is sealed by the look-up of the rule that decides, not by one that an earlier rule asked for behind it', async () => {
    const house = 'domain-confidentiality-authority@clinic.example';
    const addressBook = makeAddressBook({
      lookup: async (one) => lookup(one.address === house ? mailbox('otto@clinic.example') : one),
    });
    const asks = (name: string, domainCertificate?: 'only'): Rule => {
      const rule: Rule = { ...everything, name, when: { kind: 'certificate', is: 'absent' }, then: 'refuse' };
      return domainCertificate === undefined ? rule : { ...rule, domainCertificate };
    };
    const sent = await send([asks('own'), asks('house', 'only'), everything], ['anna@clinic.example'], { parts: { addressBook } });
    assert.match(sent.open('anna@clinic.example', 'anna'), new RegExp(CANARY));
  });

  test('the original subject goes into the text where the rule says so, for those readers alone', async () => {
    const shows: Rule = { ...everything, name: 'shows', when: to('anna@clinic.example'), subject: { ...seal.subject, show: true } };
    const sent = await send([shows, everything], ['anna@clinic.example', 'otto@clinic.example'], { sizes: [5] });
    assert.ok(sent.open('anna@clinic.example', 'anna').endsWith(`\r\n\r\nSubject: ${CANARY}\r\n\r\n${CANARY}\r\n.\r\n`));
    assert.ok(sent.open('otto@clinic.example', 'otto').endsWith(`Subject: ${CANARY}\r\n\r\n${CANARY}\r\n.\r\n`));
    assert.equal(sent.message.bodies.length, 2);
  });

  test('P9 the audit log names for each recipient the certificate that was chosen, whose it is and whence', async () => {
    const sent = await send([everything], ['anna@clinic.example', 'otto@clinic.example']);
    const chosen = (['anna', 'otto'] as const).map((name) => {
      const { fingerprint, issuer, serial } = certificateOf(name);
      return {
        recipient: `${name}@clinic.example`,
        rule: 'everything',
        certificate_sha256: fingerprint,
        certificate_issuer: issuer,
        certificate_serial: serial,
        certificate_source: 't: p',
        revocation: 'off',
      };
    });
    assert.partialDeepStrictEqual(told(sent, 'sealed'), chosen);
    assert.notEqual(chosen[0]?.certificate_sha256, chosen[1]?.certificate_sha256);
  });

  describe('signing', () => {
    const sign = { identity: 'clinic', form: 'detached', recode: '7bit' } as const;
    const signs: Rule = { ...everything, name: 'signs', when: to('anna@clinic.example'), sign };
    /** Shows who signed what, and where it begins and ends. */
    const signers: PathParts['signers'] = {
      begin: ({ identity, form, recode }, { queueId, at }) => ({
        fingerprint: `of ${identity}`,
        start: async (header) => [Buffer.from(`[${identity} ${form} ${recode} ${queueId} ${at} `), header],
        write: async (body) => [body],
        end: async () => [Buffer.from(']')],
      }),
    };
    const signed = (sent: Sent): string => sent.open('anna@clinic.example', 'anna');

    test('the inside is signed for those whose rule says so, and sealed then; the audit log names the identity', async () => {
      const sent = await send([signs, everything], ['anna@clinic.example', 'otto@clinic.example'], { parts: { signers } });
      assert.match(
        signed(sent),
        new RegExp(`^\\[clinic detached 7bit ${sent.message.id} 1795424400000 Subject: ${CANARY}\r\n\r\n[^]*\\]$`),
      );
      assert.ok(!sent.open('otto@clinic.example', 'otto').startsWith('['));
      assert.equal(sent.message.bodies.length, 2);
      assert.partialDeepStrictEqual(told(sent, 'sealed'), [
        { rule: 'signs', signed_by: 'clinic', signed_form: 'detached', signed_certificate_sha256: 'of clinic' },
        { rule: 'everything' },
      ]);
      assert.equal(told(sent, 'sealed')[1]?.['signed_by'], undefined);
    });

    test('what came signed is signed around as it is, and gets no subject into its text', async () => {
      const text = letter.replace('\r\n\r\n', '\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n');
      const rule: Rule = { ...signs, subject: { ...seal.subject, show: true } };
      const sent = await send([rule], ['anna@clinic.example'], { text, parts: { signers } });
      assert.match(signed(sent), /^\[clinic detached none /);
      assert.ok(!signed(sent).includes(`Subject: ${CANARY}\r\n\r\nx`));
    });

    test('P5 an identity that cannot sign now puts the message off', async () => {
      const expired: PathParts['signers'] = {
        begin: () => {
          throw new SealpostError('identity-unusable');
        },
      };
      await refuses('identity-unusable', [signs, everything], ['otto@clinic.example', 'anna@clinic.example'], {
        parts: { signers: expired },
      });
    });
  });

  describe('archive', () => {
    const archive = mailbox('archive@clinic.example');
    const kept: Rule = { ...everything, name: 'kept', archive };

    test('P8 one copy for all recipients; nothing of theirs names it, and nothing of it names them', async () => {
      const bcc = 'otto@clinic.example';
      const sent = await send([kept], ['anna@clinic.example', bcc]);
      assert.deepEqual(
        sent.message.recipients.map(({ address }) => address),
        ['anna@clinic.example', bcc, archive.address],
      );
      assert.equal(sent.open(archive.address, 'ben'), sent.open('anna@clinic.example', 'anna'));
      for (const address of ['anna@clinic.example', bcc]) assert.ok(!(await sent.wire(address)).includes('archive'), address);
      const copy = (await sent.wire(archive.address)) + sent.open(archive.address, 'ben');
      assert.ok(!copy.includes('otto'));
      assert.deepEqual(sent.row(archive.address).notify, new Set());
      assert.partialDeepStrictEqual(told(sent, 'archived'), [{ recipient: archive.address, rule: 'kept' }]);
      assert.equal(told(sent, 'sealed').length, 3);
    });

    test('a copy that cannot be made stops the message, unless the rule lets it be held', async () => {
      const nobody = { ...kept, archive: mailbox('old-archive@clinic.example') };
      await refuses('archive-unavailable', [nobody], ['anna@clinic.example']);
      await refuses('archive-unavailable', [{ ...kept, archive: mailbox(DOWN) }], ['anna@clinic.example']);
      const held: Rule = { ...nobody, missing: 'hold' };
      await refuses('hold-unavailable', [held], ['anna@clinic.example'], { parts: { hold: () => undefined } });
      const sent = await send([held], ['anna@clinic.example']);
      const row = sent.row('old-archive@clinic.example');
      assert.equal(row.kept?.kind, 'held');
      assert.equal(readHeld(row.kept.facts).archive, true);
      assert.match(sent.open(row.address, 'dora'), new RegExp(CANARY));
    });
  });

  describe('pass', () => {
    const news: Rule = { ...everything, name: 'news', when: to('*@gmail.example'), then: 'pass', subject: { kind: 'keep' } };
    const rules = [news, everything];
    const visitor = 'visitor@gmail.example';

    test('A11 P8 it goes on as it came, but for what names others and what is ours to write; in the queue nothing can be read', async () => {
      const head = 'From: forms@clinic.example\r\nX-Odd:  folded\r\n\there\r\nSubject: Kanarienvogel\r\n';
      const dropped = 'Bcc: otto@clinic.example\r\nX-Sealpost-Rule: pass\r\nDKIM-Signature: v=1\r\nX-Envelope-To: otto@clinic.example\r\n';
      const trace = 'Received: from a (b) by c with ESMTP id 1 for <otto@clinic.example>; Mon, 23 Nov 2026 08:00:00 +0000\r\n';
      const body = '\r\n..two dots\r\n.\r\nKanarienvogel\r\n';
      const sent = await send(rules, [visitor, 'anna@clinic.example'], { text: trace + dropped + head + body });
      const passed = await sent.spooled(visitor);
      assert.ok(passed.endsWith(head + body), passed);
      assert.match(
        passed,
        /^Received: from web\.clinic\.example \(\[192\.0\.2\.7\]\)\r\n\tby relay\.clinic\.example with ESMTP id [0-9a-z]+;/,
      );
      assert.ok(!/otto|sealpost-rule|dkim/i.test(passed), passed);
      assert.ok(!sent.open('anna@clinic.example', 'anna').includes('X-Sealpost'), 'A11');
      const row = sent.row(visitor);
      assert.deepEqual(
        [row.header, row.prefix, row.suffix].map(({ length }) => length),
        [0, 0, 0],
      );
      assert.equal(row.kept?.kind, 'spooled');
      assert.deepEqual(readSpoolFacts(row.kept.facts), { size: passed.length, eightBit: false, smtputf8: false });
      for (const { content } of sent.message.bodies)
        assert.ok(content.kind === 'inline' && !content.bytes.includes('Kanarienvogel') && !content.bytes.includes('Subject'));
      assert.partialDeepStrictEqual(told(sent, 'passed'), [{ recipient: visitor, rule: 'news', came_sealed: false }]);
    });

    test('what the upstream must be able to do is said: 8-bit octets, and UTF-8 in the header', async () => {
      const facts = async (text: string | Buffer, said: Partial<Envelope> = {}): Promise<unknown> => {
        const { kept } = (await send(rules, [visitor], { text, envelope: said })).row(visitor);
        const { size: _, ...rest } = readSpoolFacts(kept?.facts ?? '');
        return rest;
      };
      assert.deepEqual(await facts('Subject: x\r\n\r\nGrüße\r\n'), { eightBit: true, smtputf8: false });
      assert.deepEqual(await facts('Subject: Grüße\r\n\r\nx\r\n'), { eightBit: true, smtputf8: true });
      assert.deepEqual(await facts(letter, { eightBit: true }), { eightBit: true, smtputf8: false });
    });

    test('A2 what no host must be handed is refused: bare line ends, long lines, a header in no charset', async () => {
      const long = 'x'.repeat(999);
      const bad: readonly (string | Buffer)[] = [
        'Subject: x\r\n\r\na\nb\r\n',
        `Subject: x\r\n\r\n${'line\r\n'.repeat(30_000)}a\rb\r\n`,
        `Subject: x\r\n\r\n${long}\r\n`,
        `Subject: ${long}\r\n\r\nx\r\n`,
        Buffer.from('Subject: Gr\xfc\xdfe\r\n\r\nx\r\n', 'latin1'),
      ];
      for (const text of bad) await refuses('pass-malformed', rules, ['anna@clinic.example', visitor], { text, sizes: [1000, 7] });
      await send(rules, [visitor], { text: `Subject: x\r\n\r\n${long.slice(1)}\r\n`, sizes: [1000] });
    });

    test('split: only those whose mail passes are refused for it; others get it mended', async () => {
      const sent = await send(rules, ['anna@clinic.example', visitor], {
        text: 'Subject: x\r\n\r\na\nb\r\n',
        parts: { mixed: 'split' },
      });
      assert.deepEqual([sent.message.recipients.length, sent.message.bodies.length], [1, 1]);
      assert.match(sent.open('anna@clinic.example', 'anna'), /\r\na\r\nb\r\n$/);
      assert.partialDeepStrictEqual(told(sent, 'bounced'), [{ recipient: visitor, rule: 'news', reason: '550 5.6.0 pass-malformed' }]);
      assert.deepEqual(told(sent, 'passed'), []);
      await refuses('pass-malformed', rules, [visitor], { text: 'Subject: x\r\n\r\na\nb\r\n', parts: { mixed: 'split' } });
    });

    test('P3 A11 what MAIL declares, or does not, lets nothing pass that the octets which came would not', async () => {
      const size = (bounds: { readonly over?: number; readonly under?: number }): Condition => ({ kind: 'size', ...bounds });
      const big = { text: letter + 'more\r\n'.repeat(20_000), sizes: [4096] };
      const declared = (size: number | null) => ({ envelope: size === null ? {} : { size } });
      const small: Rule = { ...news, when: { kind: 'not', of: size({ over: 1024 }) } };
      const sets: readonly (readonly Rule[])[] = [
        [small],
        [{ ...everything, name: 'large', when: size({ over: 1024 }) }, news],
        [{ ...news, name: 'large', when: size({ over: 1024 }), then: 'refuse' }, news],
      ];
      for (const rules of sets) {
        for (const octets of [null, 500]) await refuses('policy-refused', rules, [visitor], { ...big, ...declared(octets) });
        for (const octets of [null, 500, Buffer.byteLength(letter)]) {
          const sent = await send(rules, [visitor], declared(octets));
          assert.deepEqual(told(sent, 'passed').length, 1);
        }
      }
      const large: Rule = { ...news, when: size({ over: 100_000 }) };
      await refuses('policy-refused', [large], [visitor], declared(200_000));
      await refuses('policy-refused', [large], [visitor], big);
      await send([large], [visitor], { ...big, ...declared(big.text.length + 5) });
      // A wrong size that no rule asks for is nobody's business.
      await send([news], [visitor], { ...big, ...declared(1) });
      const sent = await send(
        [{ ...small, when: { kind: 'all', of: [to(visitor), small.when] } }, everything],
        [visitor, 'anna@clinic.example'],
        {
          ...big,
          parts: { mixed: 'split' },
        },
      );
      assert.partialDeepStrictEqual(told(sent, 'bounced'), [{ recipient: visitor, reason: '550 5.7.1 policy-refused' }]);
      assert.deepEqual(
        sent.message.recipients.map(({ address }) => address),
        ['anna@clinic.example'],
      );
    });

    describe('what came sealed (A12)', () => {
      const ready: Rule = { ...everything, name: 'ready', when: { kind: 'sealed', is: true }, then: 'pass', subject: { kind: 'keep' } };
      const sealedRules = [ready, everything];
      /** Sealed to anna by somebody else. */
      const toAnna = async (text = letter): Promise<string> =>
        (await send([everything], ['anna@clinic.example'], { text })).wire('anna@clinic.example');

      test('sealed to the recipient it passes as it came; another recipient gets it sealed again', async () => {
        const text = await toAnna();
        const sent = await send(sealedRules, ['anna@clinic.example', 'otto@clinic.example'], { text, sizes: [999] });
        const passed = await sent.spooled('anna@clinic.example');
        assert.equal(passed.slice(passed.indexOf('\r\n\r\n')), text.slice(text.indexOf('\r\n\r\n')));
        assert.partialDeepStrictEqual(told(sent, 'passed'), [{ recipient: 'anna@clinic.example', rule: 'ready', came_sealed: true }]);
        assert.match(sent.open('otto@clinic.example', 'otto'), /^Content-Type: application\/pkcs7-mime/m);
      });

      test('what only says so is sealed: a plain body, signed-data, an EnvelopedData for somebody else', async () => {
        const header =
          'Subject: x\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n\r\n';
        const signedData = Buffer.from('308006092a864886f70d010702a080308002010131000000', 'hex').toString('base64');
        for (const text of [`${header}${CANARY}\r\n`, `${header}${signedData}\r\n`, await toAnna()]) {
          const sent = await send(sealedRules, ['otto@clinic.example'], { text });
          assert.deepEqual(told(sent, 'passed'), []);
          assert.equal(sent.row('otto@clinic.example').kept, undefined);
        }
      });

      test('what is found wrong behind its start is refused, and nothing is kept', async () => {
        // More than the look-ahead holds, so that only the stream can tell.
        const text = await toAnna(letter + 'more\r\n'.repeat(20_000));
        const cut = text.slice(0, text.length - 80);
        for (const one of [cut, `${text}${CANARY}\r\n`, `${text}\r\nplain text behind it\r\n`])
          await refuses('sealed-malformed', [ready], ['anna@clinic.example'], { text: one, sizes: [4096] });
      });

      test('P3 whoever decided so, it passes to nobody whom it does not name', async () => {
        const message = await readMessage(chunked(await toAnna()));
        const client = { address: '192.0.2.7', helo: 'web.clinic.example', tls: null, user: null };
        const envelope = { sender: null, recipients: [], envid: null, client, protocol: 'ESMTP' };
        const about = { envelope, queueId: 'Q', hostname: 'relay.clinic.example', now: new Date() };
        const original = { id: 'Q', envelope, message, signed: false, outer: outerBlock(message.fields, about) };
        const stored = { length: 0, sha256: Buffer.alloc(32), content: { kind: 'inline', bytes: Buffer.alloc(0) } } as const;
        const outbox = { newBody: () => ({ write: async () => {}, finish: async () => stored, discard: async () => {} }) };
        const common = { kind: 'pass', rule: 'ready', sealed: true, envelopeFrom: undefined, archive: undefined } as const;
        const asked = { notify: null, orcpt: null };
        const reader = (address: string, certificates: readonly Certificate[]) => {
          return { ...common, asked, recipient: mailbox(address), certificates, passesAt: () => true };
        };
        const readers = [
          reader('anna@clinic.example', [certificateOf('anna')]),
          reader('otto@clinic.example', [certificateOf('otto')]),
          reader('nobody@clinic.example', []),
        ];
        const passing = new Passing(
          { hostname: 'relay.clinic.example', outbox, spool, largest: () => undefined, now: Date.now },
          original,
          readers,
        );
        await passing.begin();
        for await (const chunk of message.body) await passing.write(chunk);
        const { recipients, refused } = await passing.end(0, { bareEnds: false, octets: 1 });
        assert.deepEqual(
          recipients.map(({ address }) => address),
          ['anna@clinic.example'],
        );
        assert.deepEqual(
          refused.map(({ recipient, error }) => [recipient.address, error.code]),
          [
            ['otto@clinic.example', 'sealed-malformed'],
            ['nobody@clinic.example', 'sealed-malformed'],
          ],
        );
      });

      test('P3 whatever asked whether it came sealed, a pass that rests on it is checked to the last octet', async () => {
        const text = await toAnna(letter + 'more\r\n'.repeat(20_000));
        const forged = `${text}${`${CANARY}\r\n`.repeat(100)}`;
        const sealed = (is: boolean): Condition => ({ kind: 'sealed', is });
        const news: Condition = { kind: 'sender', pattern: patternOf('news@clinic.example') };
        const staff: Rule = { ...ready, name: 'staff', when: to('*@clinic.example') };
        const sets: readonly (readonly Rule[])[] = [
          [{ ...ready, when: { kind: 'any', of: [sealed(true), news] } }],
          [{ ...ready, when: { kind: 'not', of: sealed(false) } }],
          [{ ...everything, name: 'unsealed', when: sealed(false) }, staff],
          // What was looked up last is not what the seal was held against.
          [
            { ...everything, name: 'unsealed', when: sealed(false) },
            { ...everything, name: 'house', when: { kind: 'certificate', is: 'absent' }, then: 'refuse', domainCertificate: 'fallback' },
            staff,
          ],
        ];
        for (const rules of sets) {
          await refuses('sealed-malformed', rules, ['anna@clinic.example'], { text: forged, sizes: [4096] });
          const sent = await send(rules, ['anna@clinic.example'], { text, sizes: [4096] });
          assert.partialDeepStrictEqual(told(sent, 'passed'), [{ came_sealed: true }]);
        }
        // A rule that passes it whether it is sealed or not asks nothing of its end.
        const sent = await send([...(sets[0] ?? [])], ['anna@clinic.example'], {
          text: forged,
          sizes: [4096],
          envelope: { sender: mailbox('news@clinic.example') },
        });
        assert.partialDeepStrictEqual(told(sent, 'passed'), [{ came_sealed: false }]);
      });
    });

    test('a copy for the archive is sealed', async () => {
      const sent = await send([{ ...news, archive: mailbox('archive@clinic.example') }], [visitor]);
      assert.equal(sent.row(visitor).kept?.kind, 'spooled');
      assert.match(sent.open('archive@clinic.example', 'ben'), new RegExp(CANARY));
      assert.deepEqual([sent.row('archive@clinic.example').body, sent.row(visitor).body], [0, 1]);
    });

    test('P2 without a spool it is put off', async () => {
      await refuses('pass-unavailable', rules, ['anna@clinic.example', visitor], { parts: { spool: undefined } });
    });
  });
});
