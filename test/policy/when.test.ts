/** Conditions as operators write them, and what they match. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contentFacts } from '../../src/message/facts.ts';
import { readMessage } from '../../src/message/header.ts';
import { parseMailbox } from '../../src/message/envelope.ts';
import type { Facts, Truth } from '../../src/policy/condition.ts';
import { matchRule, type Rule } from '../../src/policy/decide.ts';
import { loadRules, readRules } from '../../src/policy/rules.ts';
import { traceRules } from '../../src/policy/trace.ts';
import { signedAuthors } from '../../src/policy/sign.ts';
import { folderWith } from './folder.ts';

function mailbox(address: string) {
  const verdict = parseMailbox(address);
  assert.ok(verdict.kind === 'mailbox');
  return verdict.mailbox;
}

async function* sourceOf(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}

const found = { state: 'found', sealedFor: false } as const;
async function factsOf(header: string, more: Partial<Facts> = {}): Promise<Facts> {
  const content = contentFacts(await readMessage(sourceOf(`${header}\r\n\r\nbody`)));
  const parties = { sender: mailbox('forms@clinic.example'), recipient: mailbox('anna@clinic.example') };
  return { ...parties, client: '192.0.2.7', user: 'forms', size: 5000, content, lookedUp: { never: found }, ...more };
}

const HEADER =
  'From: Forms <forms@clinic.example>\r\nSubject: New intake form\r\nList-Id: <news.clinic.example>\r\nContent-Type: text/plain';

const table: readonly (readonly [when: string, expected: Truth, more?: Partial<Facts>])[] = [
  ['{ sender: forms@clinic.example }', 'yes'],
  ['{ sender: FORMS@Clinic.example }', 'yes'],
  ['{ sender: "/^forms@/" }', 'yes'],
  ['{ sender: "/^FORMS@/" }', 'no'],
  ['{ sender: "/^FORMS@/i" }', 'yes'],
  ['{ sender: "/./" }', 'no', { sender: null }],
  ['{ sender: "<>" }', 'yes', { sender: null }],
  ['{ header_from: forms@clinic.example }', 'yes'],
  ['{ header_from: forms@clinic.example }', 'later', { content: undefined }],
  ['{ recipient: [x@y.example, "*@clinic.example"] }', 'yes'],
  ['{ recipient: { file: lists/staff.txt } }', 'yes'],
  ['{ recipient: { file: lists/none.txt } }', 'no'],
  ['{ client: 192.0.2.7 }', 'yes'],
  ['{ client: [198.51.100.0/24, 192.0.2.0/24] }', 'yes'],
  ['{ client: 192.0.2.0/24 }', 'yes', { client: '::ffff:192.0.2.9' }],
  ['{ client: "2001:db8:0::1" }', 'yes', { client: '2001:db8::1' }],
  ['{ client: "2001:db8::/32" }', 'no'],
  ['{ user: forms }', 'yes'],
  ['{ user: "f*" }', 'yes'],
  ['{ user: FORMS }', 'no'],
  ['{ user: "<none>" }', 'no'],
  ['{ user: ["<none>", web] }', 'yes', { user: null }],
  ['{ subject: "*INTAKE*" }', 'yes'],
  ['{ subject: /intake/ }', 'yes'],
  ['{ subject: intake }', 'no'],
  ['{ subject: { file: lists/words.txt } }', 'yes'],
  ['{ header: { List-ID: "*news*" } }', 'yes'],
  ['{ header: { list-id: "*news*", Precedence: "*" } }', 'no'],
  ['{ size: { over: 4kB } }', 'yes'],
  ['{ size: { over: 4kB, under: 5000 } }', 'no'],
  ['{ size: { under: 25MiB } }', 'no', { size: null }],
  ['{ calendar: false }', 'yes'],
  ['{ signed: true }', 'no'],
  ['{ sealed: false }', 'yes'],
  ['{ certificate: found }', 'yes'],
  ['{ certificate: missing }', 'no'],
  ['{ certificate: found }', 'ask', { lookedUp: {} }],
  ['{ certificate: missing }', 'unavailable', { lookedUp: { never: { state: 'unavailable', sealedFor: false } } }],
  ['{ certificate: unavailable }', 'yes', { lookedUp: { never: { state: 'unavailable', sealedFor: false } } }],
  ['{ sender: forms@clinic.example, user: web }', 'no'],
  ['{ all: [{ user: forms }, { not: { client: 10.0.0.0/8 } }] }', 'yes'],
  ['{ any: [{ user: web }, { subject: "*intake*" }] }', 'yes'],
  ['{ any: [{ user: web }, { subject: "*intake*" }] }', 'later', { content: undefined }],
  ['{ not: { any: [{ user: forms }] } }', 'no'],
];

const lists = {
  'lists/staff.txt': '# the staff\n\nben@clinic.example\r\n  anna@clinic.example  \n*@staff.example\n',
  'lists/none.txt': '# nobody yet\n',
  'lists/words.txt': '*questionnaire*\n/intake/i\n',
};

async function ruleOf(t: Parameters<typeof folderWith>[0], rule: string): Promise<Rule> {
  const [first] = await loadRules(await folderWith(t, { ...lists, 'a.yaml': `rules:\n  - ${rule}\n` }));
  assert.ok(first !== undefined);
  return first;
}

for (const [index, [when, expected, more]] of table.entries()) {
  test(`${when} is ${expected} (${index})`, async (t) => {
    const rule = await ruleOf(t, `{ name: a, then: refuse, when: ${when} }`);
    assert.equal(matchRule(rule, await factsOf(HEADER, more)), expected);
  });
}

test('A13: a From of two mailboxes is unclear', async (t) => {
  const rule = await ruleOf(t, '{ name: a, then: refuse, when: { header_from: forms@clinic.example } }');
  assert.equal(matchRule(rule, await factsOf('From: forms@clinic.example, eve@x.example')), 'unclear');
});

test('A32: a text that is too long for an expression is unclear, soon; a glob reads all of it', async (t) => {
  let seed = 1;
  const letters = (count: number): string =>
    Array.from({ length: count }, () => ((seed = (seed * 48_271) % 2_147_483_647) & 8 ? 'a' : 'b')).join('');
  const ask = async (when: string, header: string): Promise<Truth> =>
    matchRule(await ruleOf(t, `{ name: a, then: refuse, when: { ${when} } }`), await factsOf(header));
  const long = `Subject: ${letters(250_000)}`;
  const many = Array.from({ length: 25 }, () => `X-A: ${letters(10_000)}`).join('\r\n');
  for (const [when, header, expected] of [
    ['subject: "/a[ab]{400}[cd]/"', long, 'unclear'],
    ['subject: "/(a.{150}x|b.{150}y)$/i"', long, 'unclear'],
    ['header: { X-A: "/a[ab]{400}[cd]/" }', many, 'unclear'],
    ['subject: [intake, "/intake/"]', long, 'unclear'],
    ['subject: "*c*"', long, 'no'],
    ['subject: "/intake/"', `Subject: ${letters(16_000)}`, 'no'],
    ['subject: "/a[ab]{400}[ab]/"', `Subject: ${letters(990)}`, 'yes'],
  ] as const) {
    const started = performance.now();
    assert.equal(await ask(when, header), expected, when);
    assert.ok(performance.now() - started < 1000, when);
  }
  const rule = await ruleOf(t, '{ name: a, then: refuse, when: { subject: "/intake/" } }');
  const [told] = traceRules([rule], await factsOf(long), null);
  assert.equal(told?.because, 'the Subject is unclear: it is too long for an expression');
});

const seal = 'then: seal, subject: keep';
const faults: readonly (readonly [rule: string, said: RegExp])[] = [
  ['then: refuse, when: { subject: "/(?=a)/" }', /a.yaml:2:\d+: rules\[0\]\.when\.subject: ".*" is no expression in linear time/],
  ['then: refuse, when: { sender: [a@b.example, b] }', /a.yaml:2:60: rules\[0\]\.when\.sender\[1\]: "b" has no @ in it/],
  ['then: refuse, when: { recipient: { file: lists/broken.txt } }', /lists\/broken.txt:3: rules\[0\]\.when\.recipient: "nobody" has no @/],
  ['then: refuse, when: { recipient: { file: lists/absent.txt } }', /when\.recipient\.file: cannot be read: .*absent\.txt \(ENOENT\)/],
  ['then: refuse, when: { any: [{ user: web }, { form: x }] }', /a.yaml:2:\d+: rules\[0\]\.when\.any\[1\]\.form: no such key/],
  ['then: refuse, when: { not: {} }', /when\.not: asks nothing/],
  ['then: refuse, when: { any: [] }', /when\.any: an empty list name at least one, or take the key out/],
  ['then: refuse, when: { client: 192.0.2.0/33 }', /when\.client: "192.0.2.0\/33" is not an address or a network/],
  ['then: refuse, when: { user: "a b" }', /when\.user: "a b" is not the name of a user/],
  ['then: refuse, when: { size: { over: 10 MB } }', /when\.size\.over: is not a size/],
  ['then: refuse, when: { calendar: yes please }', /when\.calendar: is neither true nor false/],
  ['then: refuse, when: { certificate: absent }', /when\.certificate: is not known/],
  ['then: refuse, when: { header: { X-Sealpost-Mode: clear } }', /when\.header\.X-Sealpost-Mode: fields of this name are taken out/],
  ['then: refuse, when: { header: { Delivered-To: "*" } }', /when\.header\.Delivered-To: this field is taken out/],
  ['then: refuse, when: { header: { "a b": "*" } }', /"a b" is not the name of a field/],
  ['then: refuse, missing: hold', /missing: means nothing beside then: refuse/],
  ['then: hold, subject: keep, text: x', /text: means nothing beside then: hold/],
  ['then: hold', /subject: is missing/],
  ['then: pass, when: { user: a }, sign: clinic', /sign: means nothing beside then: pass/],
  ['then: pass, when: { user: a }, subject: keep', /subject: means nothing beside then: pass/],
  ['then: pass, when: { user: a }, missing: hold', /missing: means nothing beside then: pass/],
  ['then: pass, when: { user: a }, text: x', /text: means nothing beside then: pass/],
  ['then: pass, when: { user: a }, domain_certificate: only', /domain_certificate: means nothing beside then: pass, for no condition/],
  ['then: pass, when: {}', /when: asks nothing/],
  [`${seal}, missing: hold, text: x`, /text: means nothing beside missing: hold/],
  [`${seal}, profile: strict, cipher: aes-128-cbc`, /cipher: is not what profile: strict says/],
  [`${seal}, sign: clinic`, /sign: does not say for which From it signs/],
  [`${seal}, sign: clinic, when: { header_from: "*@clinic.example" }`, /sign: does not say for which From it signs/],
  [`${seal}, sign: clinic, when: { any: [{ header_from: a@b.example }, { user: web }] }`, /sign: does not say for which From/],
  [`${seal}, sign: { identity: clinic, form: clear }, from: { replace: a@b.example }`, /sign\.form: is not known/],
  ['then: seal, subject: { replace: x, show: 1 }', /subject\.show: is neither true nor false/],
];

for (const [rule, said] of faults) {
  test(`a fault with its place: ${rule}`, async (t) => {
    const broken = { ...lists, 'lists/broken.txt': '# a\na@b.example\nnobody\n' };
    const folder = await folderWith(t, { ...broken, 'a.yaml': `rules:\n  - { name: a, ${rule} }\n` });
    const read = await readRules(folder);
    assert.ok(read.kind === 'invalid', 'taken');
    const told = read.faults.map(({ place, key, wrong, mend }) => `${place}: ${key}: ${wrong} ${mend}`);
    assert.equal(told.length, 1, told.join('\n'));
    assert.match(told.join('\n'), said);
    assert.ok(read.faults.every(({ mend }) => mend !== ''));
  });
}

test('every outcome with all that may stand beside it', async (t) => {
  const folder = await folderWith(t, {
    'a.yaml': `rules:
  - name: sealed
    when: { any: [{ header_from: A@b.example }, { header_from: [c@b.example] }] }
    then: seal
    missing: hold
    unavailable: hold
    subject: { replace: "New [{queue_id}]", show: true }
    profile: strict
    cipher: aes-256-gcm
    key_transport: rsaes-oaep
    sign: { identity: clinic, form: opaque, recode: 7bit }
    archive: archive@b.example
  - { name: held, then: hold, subject: keep, sign: clinic, from: { replace: "F <f@b.example>" }, domain_certificate: only }
  - { name: passed, when: { sealed: true }, then: pass, envelope_from: b@b.example, archive: archive@b.example, domain_certificate: fallback }
`,
  });
  const [sealed, held, passed] = await loadRules(folder);
  assert.ok(sealed !== undefined && held !== undefined && passed !== undefined);
  assert.deepEqual(sealed.sign, { identity: 'clinic', form: 'opaque', recode: '7bit' });
  assert.deepEqual(sealed.subject, { kind: 'replace', template: 'New [{queue_id}]', show: true });
  assert.deepEqual(sealed.algorithms, { profile: 'strict', cipher: 'aes-256-gcm', keyTransport: 'rsaes-oaep' });
  assert.deepEqual([sealed.missing, sealed.unavailable, sealed.archive?.address], ['hold', 'hold', 'archive@b.example']);
  assert.deepEqual([...(signedAuthors(sealed) ?? [])], ['a@b.example', 'c@b.example']);
  assert.deepEqual([...(signedAuthors(held) ?? [])], ['f@b.example']);
  assert.deepEqual(held.sign, { identity: 'clinic', form: 'detached', recode: 'none' });
  assert.deepEqual([passed.envelopeFrom?.address, passed.domainCertificate], ['b@b.example', 'fallback']);
});

test('a list of a hundred thousand addresses is one look', async (t) => {
  const addresses = Array.from({ length: 100_000 }, (_, index) => `patient${index}@x${index % 1000}.example`);
  const folder = await folderWith(t, {
    'lists/patients.txt': addresses.join('\n'),
    'a.yaml': 'rules:\n  - { name: a, then: refuse, when: { recipient: { file: lists/patients.txt } } }\n',
  });
  const [rule] = await loadRules(folder);
  assert.ok(rule?.when.kind === 'recipient');
  assert.equal(rule.when.pattern.source, 'lists/patients.txt');
  const last = mailbox('Patient99999@x999.example');
  const started = performance.now();
  for (let at = 0; at < 10_000; at++) assert.ok(rule.when.pattern.matches(last));
  assert.ok(performance.now() - started < 2000);
});
