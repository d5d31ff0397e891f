/** `sealpost policies`: a table of expected decisions, as a clinic keeps it in git beside its rules. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { readCases } from '../../src/commands/policies/cases.ts';
import { sealpost, temporaryFolder } from './transcript.ts';

const rules = `rules:
  - { name: forms, when: { sender: forms@clinic.example, subject: /intake/i }, then: seal, subject: { replace: "New form" }, missing: hold }
  - { name: rest, then: refuse, text: write a form }
`;

async function makeSite(t: TestContext, cases: string): Promise<string> {
  const folder = await temporaryFolder(t);
  for (const name of ['policies/tests', 'certs/recipients', 'certs/anchors', 'certs/intermediates', 'data'])
    await mkdir(path.join(folder, name), { recursive: true });
  await writeFile(
    path.join(folder, 'sealpost.yaml'),
    JSON.stringify({
      hostname: 'relay.clinic.example',
      operator: 'postmaster@clinic.example',
      listen: [{ host: '127.0.0.1', port: 2525 }],
      clients: { networks: ['127.0.0.0/8'] },
      upstream: [{ host: '127.0.0.1', port: 25 }],
    }),
  );
  await writeFile(path.join(folder, 'policies/10-own.yaml'), rules);
  await writeFile(path.join(folder, 'policies/tests/forms.yaml'), cases);
  return folder;
}

test('cases that come out as written exit 0; one that does not is told with what was wanted, what was found, and why', async (t) => {
  const table = `defaults: { from: forms@clinic.example, to: anna@clinic.example, subject: New intake, certificate: found }
cases:
  - { name: a form, expect: { decision: seal, rule: forms, at: data, subject: New form, signed: none } }
  - { name: no certificate, certificate: missing, expect: { decision: hold, because: missing } }
  - { name: nobody knows, certificate: unavailable, expect: { decision: retry, rule: forms, at: rcpt, reply: "451 4.4.3" } }
  - { name: another Subject, subject: lunch, expect: { decision: refuse, rule: rest, at: data, reply: write a form } }
`;
  const folder = await makeSite(t, table);
  assert.deepEqual(await sealpost(folder, ['policies', 'test', 'policies/tests/forms.yaml']), {
    exit: 0,
    stdout: '4 cases, all as expected\n',
    stderr: '',
  });
  await writeFile(path.join(folder, 'policies/10-own.yaml'), rules.replace('/intake/i', '/consent/i'));
  const failed = await sealpost(folder, ['policies', 'test', 'policies/tests/forms.yaml']);
  assert.equal(failed.exit, 1);
  assert.match(failed.stderr, /hint: mend the rules or the table, then sealpost policies test again/);
  assert.ok(
    failed.stdout.startsWith(`${folder}/policies/tests/forms.yaml:3:13: a form
  decision: wanted seal, found refuse
  rule: wanted forms, found rest
  subject: wanted New form, found none
  rules  forms: no, the Subject does not match /consent/i
         rest: yes, it matches all mail
`),
    failed.stdout,
  );
  assert.match(failed.stdout, /^4 cases, 2 otherwise$/m);
  const programs = await sealpost(folder, ['policies', 'test', '--json', 'policies/tests/forms.yaml']);
  assert.equal(programs.exit, 1);
  const results: readonly { readonly name: string; readonly passed: boolean }[] = JSON.parse(programs.stdout);
  assert.deepEqual(
    results.map(({ name, passed }) => [name, passed]),
    [
      ['a form', false],
      ['no certificate', false],
      ['nobody knows', true],
      ['another Subject', true],
    ],
  );
});

test('a rule that archives to who has no certificate fails its case, whatever is taken of the recipient', async (t) => {
  const table = `defaults: { from: forms@clinic.example, to: anna@clinic.example, subject: New intake, certificate: found }
cases:
  - { name: as it is, size: 20MiB, expect: { decision: retry, because: archive, archive: kept@clinic.example, reply: "451 4.3.0" } }
  - { name: as it will be, archive_certificate: found, expect: { decision: seal, archive: kept@clinic.example } }
`;
  const folder = await makeSite(t, table);
  await writeFile(
    path.join(folder, 'policies/10-own.yaml'),
    'rules:\n  - { name: forms, then: seal, subject: keep, archive: kept@clinic.example }\n',
  );
  const { stdout } = await sealpost(folder, ['policies', 'test', 'policies/tests/forms.yaml']);
  assert.equal(stdout, '2 cases, all as expected\n');
});

const broken: readonly (readonly [what: string, table: string, said: RegExp])[] = [
  [
    'an expectation that is not known',
    'cases: [{ name: a, from: a@b.example, to: c@d.example, expect: { decision: seal, rul: a } }]',
    /no such key mend: did you mean rule/,
  ],
  [
    'a decision that is none',
    'cases: [{ name: a, from: a@b.example, to: c@d.example, expect: { decision: send } }]',
    /one of seal, pass, hold, refuse, retry/,
  ],
  ['no recipient anywhere', 'cases: [{ name: a, from: a@b.example, expect: { decision: seal } }]', /:1:17 .*cases\[0\]\.to.*is missing/s],
  [
    'a field with a line end',
    'cases: [{ name: a, from: a@b.example, to: c@d.example, headers: ["X: a\\nBcc: b"], expect: { decision: seal } }]',
    /is no field of a header/,
  ],
  ['no case', 'cases: []', /an empty list/],
];

for (const [what, table, said] of broken) {
  test(`a fault of the table is told with its place: ${what}`, async (t) => {
    const folder = await temporaryFolder(t);
    const file = path.join(folder, 'cases.yaml');
    await writeFile(file, table);
    const read = await readCases(file);
    assert.ok(read.kind === 'invalid');
    const [fault] = read.faults;
    assert.ok(fault);
    assert.match(`${fault.place} ${fault.key} ${fault.wrong} mend: ${fault.mend}`, said);
    assert.ok(fault.place.startsWith(`${file}:1:`), fault.place);
  });
}

test('policies list shows the rules in their order, each with its place', async (t) => {
  const folder = await makeSite(t, '');
  const { exit, stdout } = await sealpost(folder, ['policies', 'list']);
  assert.equal(exit, 0);
  const file = `${folder}/policies/10-own.yaml`;
  // As docs/policies.md says that it is computed.
  const hash = createHash('sha256').update(`10-own.yaml\n${rules.length}\n${rules}`).digest('hex');
  assert.equal(stdout, `seal   forms (missing: hold)  ${file}:2:13\nrefuse rest  ${file}:3:13\nsha256 ${hash}\n`);
});
