/** Sources that fail in every way: who depends on them is told to come back, and nobody else notices. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { encode } from 'dns-packet';
import { pino } from 'pino';
import { makeAddressBook } from '../../src/certificates/address-book.ts';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { makeDirectory } from '../../src/certificates/directory.ts';
import type { CertificateSource, SourceAnswer } from '../../src/certificates/source.ts';
import { decideRecipient } from '../../src/path/decision.ts';
import { contentFacts } from '../../src/message/facts.ts';
import { ALWAYS } from '../../src/policy/condition.ts';
import { makeRuleSet } from '../../src/policy/decide.ts';
import { refusal } from '../../src/policy/decide.ts';
import { craft, nest, rfc822 } from '../certificates/craft.ts';
import { AD, answerTo, fakeResolver, type Reply, smimeaAnswer, TC } from '../certificates/smimea/fake.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from '../relay/site.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';

const LOOKUP_MS = 1_000;
/** What is added to it by a machine that does much besides. */
const LITTLE_MS = 3_000;

const certificate = parseCertificate(craft({}));
const found = (count: number): SourceAnswer => ({
  kind: 'found',
  candidates: Array.from({ length: count }, () => ({ certificate, source: 'odd', place: 'odd' })),
});

const odd: readonly (readonly [what: string, lookup: CertificateSource['lookup']])[] = [
  [
    'throws',
    () => {
      throw new Error('x');
    },
  ],
  ['rejects', () => Promise.reject(new Error('x'))],
  ['rejects with nothing', () => Promise.reject()],
  ['never answers', () => new Promise(() => {})],
  ['answers behind the time box', () => sleep(LOOKUP_MS + 500, found(1), { ref: false })],
  ['answers a hundred thousand candidates', async () => found(100_000)],
];
for (const [what, lookup] of odd) {
  test(`P5, P6: a source that ${what}: 451 in time, and who stands in an earlier source is sealed to`, async () => {
    const log = pino({ level: 'silent' });
    const trust = { judge: async () => ({ kind: 'trusted', path: [certificate], revocation: 'off' }) as const };
    const own: CertificateSource = {
      name: 'own',
      close: () => {},
      lookup: async ({ localPart }) => (localPart === 'anna' ? found(1) : { kind: 'absent' }),
    };
    const sources = [own, { name: 'odd', close: () => {}, lookup }];
    const addressBook = makeAddressBook(makeDirectory({ sources, trust, now: Date.now, log, patience: LOOKUP_MS }), {});
    const rules = makeRuleSet([
      { name: 'all', when: ALWAYS, then: 'seal', missing: 'refuse', unavailable: 'retry', subject: { kind: 'keep' } },
    ]);
    const content = contentFacts({ fields: [], lookAhead: Buffer.alloc(0), whole: true, body: Readable.from([]) });
    const around = { sender: null, client: { address: '127.0.0.1', user: null }, size: null, content };
    const decided = async (address: string) =>
      (await decideRecipient({ rules, addressBook }, { ...around, recipient: mailboxOf(address) })).decision;
    const started = performance.now();
    const waiting = decided('ben@example.org');
    assert.equal((await decided('anna@example.org')).kind, 'seal');
    const decision = await waiting;
    assert.ok(decision.kind === 'retry');
    assert.equal(refusal(decision).reply.code, 451);
    assert.ok(performance.now() - started < LOOKUP_MS + LITTLE_MS);
  });
}

const answering: Readonly<Record<string, Reply>> = {
  'silent.example': () => undefined,
  'garbage.example': () => Buffer.from('garbage'),
  'broken.example': (asked) => answerTo(asked, { flags: 0 }, 2),
  'refused.example': (asked) => answerTo(asked, { flags: 0 }, 5),
  'cut.example': (asked) => encode(answerTo(asked, { answers: [smimeaAnswer(asked.name, Buffer.alloc(200))] })).subarray(0, -50),
  'tcp.example': (asked) => (asked.overTcp ? undefined : answerTo(asked, { flags: AD | TC })),
};
/** What a domain publishes is a fact, however bad: no certificate of it can be used, and trying again changes nothing. */
const publishing: Readonly<Record<string, readonly Buffer[]>> = {
  'bombs.example': Array.from({ length: 10 }, (_, index) => Buffer.concat([nest(1_500), Buffer.of(index)])),
  'names.example': [
    craft({ names: [rfc822('x@names.example\0.evil.example')] }),
    craft({ names: [rfc822('x@names.example y@evil.example')] }),
  ],
  'others.example': [craft({ names: [rfc822('anna@clinic.example')] })],
};

test(
  'P5, A19, A21, A27: a resolver that is hostile in every way: 451 or the fact, in time; others are served meanwhile',
  { skip: missingPrograms({ openssl: 'openssl' }) ?? false },
  async (t) => {
    const resolver = await fakeResolver((asked, socket) => {
      const domain = asked.name.split('._smimecert.').at(-1) ?? '';
      const published = publishing[domain];
      if (published === undefined) return (answering[domain] ?? ((asked) => answerTo(asked)))(asked, socket);
      if (!asked.overTcp) return answerTo(asked, { flags: AD | TC });
      return answerTo(asked, { answers: published.map((der) => smimeaAnswer(asked.name, Buffer.concat([Buffer.of(3, 0, 0), der]))) });
    });
    t.after(() => resolver.close());
    const upstream = await keepingUpstream(t);
    const sources = [{ files: 'certs/recipients' }, { smimea: { resolver: `127.0.0.1:${resolver.port}`, trust: 'dnssec' } }];
    const site = await makeSite(t, { upstreamPort: upstream.port, config: { certificates: { sources }, timeouts: { lookup: '1s' } } });
    const relay = await site.serve();
    const asked = async (domain: string): Promise<readonly [string, number]> => {
      const client = await dialogue(relay.port, { waitMs: 20_000 });
      try {
        await client.expect(/^220/);
        await client.ask('EHLO web.clinic.example', /^250/);
        await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
        const started = performance.now();
        const [reply = ''] = await client.ask(`RCPT TO:<x@${domain}>`, /^[245]/);
        const took = performance.now() - started;
        await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
        return [reply.slice(0, 9), took];
      } finally {
        client.close();
      }
    };
    const waiting = Promise.all(
      [...Object.keys(answering), ...Object.keys(publishing), 'nothing.example'].map(
        async (domain) => [domain, ...(await asked(domain))] as const,
      ),
    );
    for (let count = 0; count < 3; count++) await send(relay.port, ['anna@clinic.example']);
    const answers = await waiting;
    const replies = Object.fromEntries(answers.map(([domain, reply]) => [domain, reply]));
    const later = Object.keys(answering).map((domain) => [domain, '451 4.4.3']);
    const never = [...Object.keys(publishing), 'nothing.example'].map((domain) => [domain, '550 5.7.1']);
    assert.deepEqual(replies, Object.fromEntries([...later, ...never]));
    for (const [domain, , took] of answers) assert.ok(took < LOOKUP_MS + LITTLE_MS, `${domain}: ${Math.round(took)} ms`);
    await until('three deliveries', () => upstream.deliveries().length === 3);
  },
);
