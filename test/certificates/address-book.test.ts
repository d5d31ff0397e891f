/** Aliases, groups and domains: whose certificates stand for whom. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { type BookEntries, certificatesOf, makeAddressBook, MAX_SHARED, mixesKeyTypes } from '../../src/certificates/address-book.ts';
import type { DomainCertificate, Resolution } from '../../src/certificates/address-book.ts';
import type { Chosen, Lookup } from '../../src/certificates/directory.ts';
import { certificateNamed, rsaKey } from './fixtures.ts';
import { mailboxOf } from './openssl.ts';

const account = { rejected: [], asked: [] };
const chosen = (name: string, rsa = false): Chosen => {
  const certificate = certificateNamed(name, rsa ? { key: rsaKey } : {});
  return { certificate, source: 'files', place: name, path: [certificate], revocation: 'off' };
};
const found = (first: string, ...more: readonly string[]): Lookup => ({
  ...account,
  kind: 'found',
  chosen: [chosen(first), ...more.map((name) => chosen(name))],
});
const down: Lookup = { ...account, kind: 'unavailable', source: 'ldap', cause: new Error('down') };
const absent: Lookup = { ...account, kind: 'absent' };

const book: BookEntries = {
  aliases: [{ address: mailboxOf('sales@a.example'), target: mailboxOf('anna@a.example') }],
  groups: [{ address: mailboxOf('info@a.example'), members: ['anna', 'ben', 'carl'].map((name) => mailboxOf(`${name}@a.example`)) }],
  domains: [{ domain: 'b.example', address: mailboxOf('gateway@c.example') }],
};

async function resolve(
  answers: Readonly<Record<string, Lookup>>,
  recipient: string,
  domain?: DomainCertificate,
): Promise<{ readonly resolution: Resolution; readonly asked: string[] }> {
  const asked: string[] = [];
  const directory = {
    lookup: async ({ address }: { readonly address: string }) => {
      asked.push(address);
      return answers[address] ?? absent;
    },
  };
  const resolution = await makeAddressBook(directory, book).resolve(mailboxOf(recipient), domain === undefined ? {} : { domain });
  return { resolution, asked };
}

const shares = (resolution: Resolution): string[] =>
  resolution.kind === 'found'
    ? resolution.shares.map((share) => `${share.address}: ${share.chosen.map(({ place }) => place).join(' ')}`)
    : [resolution.kind];

describe('the address book', () => {
  test('an address of no entry is asked for itself; an alias leads to another, whatever its case', async () => {
    const own = await resolve({ 'anna@a.example': found('a1', 'a2') }, 'anna@a.example');
    assert.deepEqual([shares(own.resolution), own.resolution.way], [['anna@a.example: a1 a2'], 'address']);
    const alias = await resolve({ 'anna@a.example': found('a1') }, 'SALES@A.example');
    assert.deepEqual([shares(alias.resolution), alias.resolution.way, alias.asked], [['anna@a.example: a1'], 'alias', ['anna@a.example']]);
  });

  test('a group has the certificates of all who have one, and says who has none', async () => {
    const { resolution } = await resolve({ 'anna@a.example': found('a'), 'carl@a.example': found('c') }, 'info@a.example');
    assert.deepEqual(shares(resolution), ['anna@a.example: a', 'carl@a.example: c']);
    assert.deepEqual([resolution.way, resolution.lacking], ['group', ['ben@a.example']]);
    const none = await resolve({}, 'info@a.example');
    assert.equal(none.resolution.kind, 'absent');
  });

  test('P5: a member that cannot be looked up is not one without a certificate', async () => {
    const { resolution } = await resolve({ 'anna@a.example': found('a'), 'ben@a.example': down }, 'info@a.example');
    assert.equal(resolution.kind === 'unavailable' && resolution.source, 'ldap');
  });

  test('P6: a group names fifty certificates at most: everybody one, then the others in the order of the members', async () => {
    const members = Array.from({ length: MAX_SHARED - 1 }, (_, index) => mailboxOf(`m${index}@a.example`));
    const directory = {
      lookup: async ({ address }: { readonly address: string }) => found(`${address} 1`, `${address} 2`, `${address} 3`),
    };
    const large = makeAddressBook(directory, { groups: [{ address: mailboxOf('all@a.example'), members }] });
    const resolution = await large.resolve(mailboxOf('all@a.example'));
    assert.ok(resolution.kind === 'found');
    assert.equal(certificatesOf(resolution.shares).length, MAX_SHARED);
    assert.deepEqual(
      resolution.shares.filter((share) => share.chosen.length > 1).map(({ address }) => address),
      ['m0@a.example'],
    );
  });

  test('a certificate that names two members is named once, and keys of two types are told', async () => {
    const two = await resolve({ 'anna@a.example': found('both'), 'ben@a.example': found('both') }, 'info@a.example');
    assert.ok(two.resolution.kind === 'found');
    assert.equal(certificatesOf(two.resolution.shares).length, 1);
    assert.equal(mixesKeyTypes(two.resolution.shares), false);
    const rsa: Lookup = { ...account, kind: 'found', chosen: [chosen('r', true)] };
    const mixed = await resolve({ 'anna@a.example': found('a'), 'ben@a.example': rsa }, 'info@a.example');
    assert.equal(mixed.resolution.kind === 'found' && mixesKeyTypes(mixed.resolution.shares), true);
  });

  test('P9: the certificate of a domain is used where a rule says so, and nowhere else', async () => {
    const answers = { 'gateway@c.example': found('g'), 'anna@b.example': found('a') };
    const ways = async (recipient: string, domain?: DomainCertificate): Promise<string[]> => {
      const { resolution, asked } = await resolve(answers, recipient, domain);
      return [resolution.kind === 'found' ? resolution.way : resolution.kind, ...asked];
    };
    assert.deepEqual(await ways('ben@b.example'), ['absent', 'ben@b.example']);
    assert.deepEqual(await ways('ben@b.example', 'never'), ['absent', 'ben@b.example']);
    assert.deepEqual(await ways('ben@b.example', 'fallback'), ['domain', 'ben@b.example', 'gateway@c.example']);
    assert.deepEqual(await ways('anna@b.example', 'fallback'), ['address', 'anna@b.example']);
    assert.deepEqual(await ways('anna@b.example', 'only'), ['domain', 'gateway@c.example']);
    const authority = 'domain-confidentiality-authority@d.example';
    assert.deepEqual(await ways('eve@d.example', 'only'), ['absent', authority]);
    assert.deepEqual(await ways('eve@[192.0.2.1]', 'fallback'), ['absent', 'eve@[192.0.2.1]']);
    // Only the domain itself: what stands for b.example does not for those below it.
    assert.deepEqual(await ways('ben@x.b.example', 'only'), ['absent', 'domain-confidentiality-authority@x.b.example']);
  });

  test('P5: a domain certificate is no way around a look-up that is unavailable', async () => {
    const answers = { 'ben@b.example': down, 'gateway@c.example': found('g') };
    const { resolution, asked } = await resolve(answers, 'ben@b.example', 'fallback');
    assert.deepEqual([resolution.kind, asked], ['unavailable', ['ben@b.example']]);
    const gone = await resolve({ 'gateway@c.example': down }, 'ben@b.example', 'fallback');
    assert.equal(gone.resolution.kind, 'unavailable');
  });

  test("P8: a group's certificates are its members' and nobody else's", async () => {
    const people = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'), { minLength: 1 });
    const counts = fc.record({
      a: fc.nat(3),
      b: fc.nat(3),
      c: fc.nat(3),
      d: fc.nat(3),
      e: fc.nat(3),
      f: fc.nat(3),
      g: fc.nat(3),
      h: fc.nat(3),
    });
    await fc.assert(
      fc.asyncProperty(people, counts, async (names, has) => {
        const directory = {
          lookup: async ({ localPart }: { readonly localPart: string }) => {
            const count = new Map(Object.entries(has)).get(localPart) ?? 0;
            return count === 0 ? absent : found(`${localPart}1`, ...[`${localPart}2`, `${localPart}3`].slice(0, count - 1));
          },
        };
        const members = names.map((name) => mailboxOf(`${name}@a.example`));
        const resolution = await makeAddressBook(directory, { groups: [{ address: mailboxOf('all@a.example'), members }] }).resolve(
          mailboxOf('all@a.example'),
        );
        const named =
          resolution.kind === 'found' ? certificatesOf(resolution.shares).map(({ subject }) => subject.replace(/CN=|\d/g, '')) : [];
        const having = names.filter((name) => (new Map(Object.entries(has)).get(name) ?? 0) > 0);
        assert.deepEqual(new Set(named), new Set(having));
        assert.equal(resolution.kind === 'found' ? resolution.lacking.length : names.length, names.length - having.length);
      }),
    );
  });
});
