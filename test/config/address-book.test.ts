/** Aliases, groups and domains in the configuration: what is read, and every fault with its mend. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Config, readConfig } from '../../src/config.ts';

const minimal = `hostname: relay.clinic.example
operator: postmaster@clinic.example
listen: [{ host: 127.0.0.1, port: 2525 }]
upstream: [{ host: 127.0.0.1, port: 25 }]
certificates:
`;

async function read(t: TestContext, lines: string): Promise<{ readonly config: Config | undefined; readonly faults: string[] }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-book-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(path.join(folder, 'sealpost.yaml'), minimal + lines);
  const reading = await readConfig({ env: {}, cwd: folder });
  if (reading.kind === 'valid') return { config: reading.value, faults: [] };
  const faults = reading.faults.map(({ place, key, wrong, mend }) => `${path.basename(place)}: ${key} ${wrong}; ${mend}`);
  return { config: undefined, faults };
}

const members = (count: number): string => Array.from({ length: count }, (_, index) => `m${index}@clinic.example`).join(', ');

test('addresses are folded as they are compared, and keep their underscores', async (t) => {
  const { config } = await read(
    t,
    `  aliases: { First_Last@CLINIC.example: anna@clinic.example }
  groups: { info@clinic.example: [${members(50)}] }
  domains: { Bücher.example: gateway@partner.example }
`,
  );
  assert.equal(config?.certificates.aliases?.[0]?.address.address, 'First_Last@clinic.example');
  assert.equal(config.certificates.groups?.[0]?.members.length, 50);
  assert.equal(config.certificates.domains?.[0]?.domain, 'xn--bcher-kva.example');
});

const broken: readonly (readonly [what: string, lines: string, said: readonly string[]])[] = [
  [
    'what is no address',
    '  aliases: { sales: anna@clinic.example, x@clinic.example: 7 }\n  groups: { g@clinic.example: [nobody] }\n  domains: { a@b.example: c@b.example }\n',
    [
      'sealpost.yaml:6:21: certificates.aliases.sales is not a mail address: no @ in it; sales@clinic.example: anna@clinic.example',
      "sealpost.yaml:6:60: certificates.aliases.x@clinic.example the certificate's address wants a mail address; sales@clinic.example: anna@clinic.example",
      'sealpost.yaml:7:31: certificates.groups.g@clinic.example member 1 is not a mail address: no @ in it; info@clinic.example: [anna@clinic.example, ben@clinic.example]',
      'sealpost.yaml:8:27: certificates.domains.a@b.example is not a domain; partner.example: gateway@partner.example',
    ],
  ],
  [
    'a list where a map is wanted',
    '  aliases: [a@b.example]\n',
    ['sealpost.yaml:6:12: certificates.aliases wants keys below it; sales@clinic.example: anna@clinic.example'],
  ],
  [
    'too many members, and none',
    `  groups: { a@clinic.example: [${members(51)}], b@clinic.example: [] }\n`,
    [
      'certificates.groups.a@clinic.example has more than 50 members; info@clinic.example: [anna@clinic.example, ben@clinic.example]',
      'certificates.groups.b@clinic.example wants a list of its members; info@clinic.example: [anna@clinic.example, ben@clinic.example]',
    ],
  ],
  [
    'nesting: a group in a group, an alias of an alias, an alias as the gateway',
    '  aliases: { a@clinic.example: b@clinic.example, b@clinic.example: c@clinic.example }\n' +
      '  groups: { g@clinic.example: [h@clinic.example, A@clinic.example], h@clinic.example: [c@clinic.example] }\n' +
      '  domains: { partner.example: a@clinic.example }\n',
    [
      'certificates.aliases a@clinic.example names b@clinic.example, which is an alias itself; write the address that it leads to',
      'certificates.groups g@clinic.example names h@clinic.example, which is a group itself; write its members instead',
      'certificates.groups g@clinic.example names A@clinic.example, which is an alias itself; write the address that it leads to',
      'certificates.domains partner.example names a@clinic.example, which is an alias itself; write the address that it leads to',
    ],
  ],
  [
    'an address that is both, or stands there twice',
    '  aliases: { a@clinic.example: b@clinic.example, A@clinic.example: c@clinic.example }\n' +
      '  groups: { a@clinic.example: [d@clinic.example, D@clinic.example] }\n' +
      '  domains: { b.example: x@b.example, B.example: y@b.example }\n',
    [
      'certificates.aliases A@clinic.example stands there twice, and is an alias already; take one of the two out',
      'certificates.groups a@clinic.example stands there twice, and is an alias already; take one of the two out',
      'certificates.groups a@clinic.example names D@clinic.example twice; once is enough',
      'certificates.domains b.example stands there twice; take one of the two out',
    ],
  ],
  [
    'an old answer that is younger than a fresh one',
    '  cache: { found: 2d }\n',
    ['certificates.cache.stale is less than certificates.cache.found; what is fresh may also be used while its source is down'],
  ],
];

for (const [what, lines, said] of broken) {
  test(`the fault says what and how to mend it: ${what}`, async (t) => {
    const { faults } = await read(t, lines);
    assert.equal(faults.length, said.length, faults.join('\n'));
    for (const [index, text] of said.entries()) assert.ok(faults[index]?.endsWith(text), `${faults[index]}\nis not\n${text}`);
  });
}

test('what is in the book has no names in the environment', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-book-'));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(path.join(folder, 'sealpost.yaml'), `${minimal}  cache: { found: 1h }\n`);
  const reading = await readConfig({ env: { SEALPOST_CERTIFICATES__ALIASES: 'a@b.example: c@b.example' }, cwd: folder });
  assert.equal(reading.kind, 'invalid');
});
