/** Which names a CA may speak for (RFC 5280 §4.2.1.10), through whole paths, as trust asks. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { implicit } from '../../src/certificates/encode.ts';
import { namesOf } from '../../src/certificates/general-name.ts';
import { constraintFault, makeComparisonBudget } from '../../src/certificates/name-constraints.ts';
import { buildPath, makeCertificateSet } from '../../src/certificates/path.ts';
import { directory, ecKeys, email, host, ip, issue, issueDer, name, nameConstraints, root, san, uri, utf8Mailbox } from './pki.ts';
import type { Ca } from './pki.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const judge = (certificate: Certificate, anchor: Ca, ...intermediates: readonly Ca[]): string => {
  const middle = makeCertificateSet(intermediates.map((one) => one.certificate));
  const verdict = buildPath(certificate, makeCertificateSet([anchor.certificate]), middle, NOW);
  return verdict.kind === 'trusted' ? 'trusted' : verdict.reason.replace(/^no path to an anchor: /, '');
};
const top = root('Root');
const keys = ecKeys();
const leaf = (issuer: Ca, subject: Buffer, ...names: readonly Buffer[]): Certificate =>
  issue({ subject, keys, issuer: issuer.name, signer: issuer.keys, extensions: names.length === 0 ? [] : [san(...names)] });
const CN = name(['CN', 'anna']);
/** What a CA under these constraints may say of a certificate with these names. */
const under = (constraints: Buffer, subject: Buffer, ...names: readonly Buffer[]): string => {
  const sub = top.sub('Sub', constraints);
  return judge(leaf(sub, subject, ...names), top, sub);
};
const mail = (constraint: string, address: string): boolean => {
  const allowed = under(nameConstraints([email(constraint)]), CN, email(address)) === 'trusted';
  // Of one certain name, what is permitted and what is excluded are opposites.
  assert.equal(under(nameConstraints([], [email(constraint)]), CN, email(address)) !== 'trusted', allowed, `${constraint} ${address}`);
  return allowed;
};

describe('mail addresses', () => {
  test('a host is that host alone, with a dot all below and not itself, a mailbox itself', () => {
    const table: readonly (readonly [string, string, boolean])[] = [
      ['partner.example', 'anna@partner.example', true],
      ['partner.example', 'anna@PARTNER.Example', true],
      ['Partner.EXAMPLE', 'anna@partner.example', true],
      ['partner.example', 'anna@lab.partner.example', false],
      ['partner.example', 'anna@evilpartner.example', false],
      ['partner.example', 'anna@partner.example.evil.example', false],
      ['.partner.example', 'anna@lab.partner.example', true],
      ['.partner.example', 'anna@deep.lab.partner.example', true],
      ['.partner.example', 'anna@partner.example', false],
      ['.partner.example', 'anna@evilpartner.example', false],
      ['anna@partner.example', 'anna@partner.example', true],
      ['anna@partner.example', 'ben@partner.example', false],
      ['anna@partner.example', 'anna@lab.partner.example', false],
    ];
    for (const [constraint, address, within] of table) assert.equal(mail(constraint, address), within, `${constraint} ${address}`);
  });
  test('the reason names the CA, what it allows, and the certificate', () => {
    const reason = 'CN=Sub allows mail addresses of partner.example only (name constraints), and refuses CN=anna';
    assert.equal(under(nameConstraints([email('partner.example')]), CN, email('anna@clinic.example')), reason);
    const many = nameConstraints(['a', 'b', 'c', 'd', 'e'].map((label) => email(`.${label}.example`)));
    assert.match(
      under(many, CN, email('anna@clinic.example')),
      /addresses of \*\.a\.example, \*\.b\.example, \*\.c\.example and 2 others only/,
    );
    const forbidden = under(nameConstraints([], [email('clinic.example')]), CN, email('anna@clinic.example'));
    assert.equal(forbidden, 'CN=Sub forbids mail addresses of clinic.example (name constraints), and refuses CN=anna');
  });
  test('every address counts, and excluded goes before permitted', () => {
    const both = nameConstraints([email('partner.example')], [email('boss@partner.example')]);
    assert.equal(under(both, CN, email('anna@partner.example')), 'trusted');
    assert.match(under(both, CN, email('boss@partner.example')), /forbids/);
    assert.match(under(both, CN, email('anna@partner.example'), email('anna@clinic.example')), /allows/);
  });
  test('the case of a local part: narrow where permitted, wide where excluded', () => {
    assert.match(under(nameConstraints([email('anna@partner.example')]), CN, email('Anna@partner.example')), /allows/);
    assert.match(under(nameConstraints([], [email('anna@partner.example')]), CN, email('ANNA@partner.example')), /forbids/);
    assert.match(under(nameConstraints([], [email('anna@partner.example')]), CN, email('"Anna"@partner.example')), /forbids/);
  });
  test('RFC 9598: SmtpUTF8Mailbox is a mail address, and its domain is compared as A-labels', () => {
    const bound = nameConstraints([email('xn--bcher-kva.example')]);
    assert.equal(under(bound, CN, utf8Mailbox('jürgen@bücher.example')), 'trusted');
    assert.equal(under(bound, CN, utf8Mailbox('jürgen@BÜCHER.example')), 'trusted');
    assert.match(under(bound, CN, utf8Mailbox('jürgen@bucher.example')), /allows mail addresses of xn--bcher-kva\.example only/);
    assert.match(under(nameConstraints([], [email('.example')]), CN, utf8Mailbox('jürgen@bücher.example')), /forbids/);
  });
  test('an address in the subject counts beside those in subjectAltName', () => {
    const bound = nameConstraints([email('partner.example')]);
    const subject = (address: string): Buffer => name(['CN', 'anna'], ['emailAddress', address]);
    assert.equal(under(bound, subject('anna@partner.example')), 'trusted');
    assert.match(under(bound, subject('anna@clinic.example')), /allows mail addresses/);
    assert.match(under(bound, subject('anna@clinic.example'), email('anna@partner.example')), /allows mail addresses/);
  });
  test('A21: what cannot be compared for certain is refused where its form is constrained, and only there', () => {
    const odd = email('anna at partner.example'.replaceAll(' ', '_'));
    assert.match(
      under(nameConstraints([email('partner.example')]), CN, odd),
      /constrains each mail address, and one below it cannot be compared/,
    );
    assert.match(under(nameConstraints([], [email('other.example')]), CN, odd), /cannot be compared/);
    assert.equal(under(nameConstraints([host('partner.example')]), CN, odd), 'trusted');
  });
});

describe('directory names', () => {
  const clinic = name(['C', 'DE'], ['O', 'Clinic']);
  const person = (organization: string, kind: 'printable' | 'utf8' = 'utf8'): Buffer =>
    name(['C', 'DE', 'printable'], ['O', organization, kind], ['CN', 'anna']);
  const allows = (subject: Buffer): boolean => under(nameConstraints([directory(clinic)]), subject, email('a@b.example')) === 'trusted';
  test('the subject stands below the base, whatever the type of string, its case and its blanks', () => {
    assert.ok(allows(person('Clinic')));
    assert.ok(allows(person('CLINIC', 'printable')));
    assert.ok(allows(person('  clinic ')));
    assert.ok(!allows(person('Clinic East')));
    assert.ok(!allows(name(['O', 'Clinic'], ['CN', 'anna'])));
    assert.ok(!allows(name(['C', 'DE'])));
    assert.ok(!allows(name(['O', 'Clinic'], ['C', 'DE'], ['CN', 'anna'])));
  });
  test('a directory name in subjectAltName counts too; an empty subject has none', () => {
    const bound = nameConstraints([directory(clinic)]);
    assert.match(under(bound, person('Clinic'), directory(person('Other'))), /allows directory names of O=Clinic,C=DE only/);
    assert.equal(under(bound, name(), directory(person('Clinic'))), 'trusted');
  });
  test('excluded is read widely: other letters for the same', () => {
    const out = nameConstraints([], [directory(name(['O', 'Größe']))]);
    assert.match(under(out, name(['O', 'GRÖSSE'], ['CN', 'a'])), /forbids directory names of O=Größe/);
    assert.match(under(out, name(['O', 'GRÖßE'], ['CN', 'a'])), /forbids directory names of O=Größe/);
    assert.match(under(out, name(['O', 'größe'.normalize('NFD')], ['CN', 'a'])), /forbids/);
  });
});

describe('other names', () => {
  test('host names, URIs and IP addresses, where the certificate carries such', () => {
    assert.equal(under(nameConstraints([host('b.example')]), CN, host('b.example'), host('a.b.example')), 'trusted');
    assert.match(under(nameConstraints([host('b.example')]), CN, host('evilb.example')), /allows host names of b\.example only/);
    assert.equal(under(nameConstraints([uri('b.example')]), CN, uri('https://b.example:8443/a')), 'trusted');
    assert.equal(under(nameConstraints([uri('.b.example')]), CN, uri('https://a.b.example')), 'trusted');
    for (const odd of ['https://b.example@evil.example/', 'mailto:a@b.example', 'https://b.example\\@evil.example', 'https://[::1]/'])
      assert.match(under(nameConstraints([uri('b.example')]), CN, uri(odd)), /cannot be compared|allows URIs/, odd);
    const net = ip(192, 0, 2, 0, 255, 255, 255, 0);
    assert.equal(under(nameConstraints([net]), CN, ip(192, 0, 2, 7)), 'trusted');
    assert.match(under(nameConstraints([net]), CN, ip(192, 0, 3, 7)), /allows IP addresses of c0000200ffffff00 only/);
    assert.match(under(nameConstraints([net]), CN, ip(...Buffer.alloc(16))), /allows IP addresses/);
  });
  test('a form that is not understood is refused where such a name comes, and passed where none does', () => {
    const registered = implicit(8, Buffer.from([42, 3, 4]));
    assert.equal(under(nameConstraints([registered]), CN, email('a@b.example')), 'trusted');
    assert.match(under(nameConstraints([registered]), CN, registered), /constrains names in a way that is not understood: registeredID/);
    assert.match(under(nameConstraints([], [registered]), CN, registered), /not understood/);
  });
  test('minimum and maximum are refused (§4.2.1.10), where such a name comes', () => {
    for (const bound of [implicit(0, Buffer.from([1])), implicit(1, Buffer.from([3]))]) {
      const constraints = nameConstraints([email('partner.example')], [], bound);
      assert.match(under(constraints, CN, email('anna@partner.example')), /not understood: mail address partner\.example/);
    }
    assert.equal(under(nameConstraints([email('b.example')], [], implicit(0, Buffer.from([0]))), CN, email('a@b.example')), 'trusted');
  });
});

describe('along a path', () => {
  const mailOf = (...domains: readonly string[]): Buffer => nameConstraints(domains.map(email));
  test('the constraints of all CAs hold together', () => {
    const one = top.sub('One', mailOf('a.example', 'b.example'));
    const two = one.sub('Two', mailOf('b.example', 'c.example'));
    assert.equal(judge(leaf(two, CN, email('x@b.example')), top, one, two), 'trusted');
    assert.match(judge(leaf(two, CN, email('x@c.example')), top, one, two), /^CN=One allows/);
    assert.match(judge(leaf(two, CN, email('x@a.example')), top, one, two), /^CN=Two allows/);
  });
  test("an anchor's own constraints hold", () => {
    const bound = root('Bound', mailOf('a.example'));
    assert.equal(judge(leaf(bound, CN, email('x@a.example')), bound), 'trusted');
    assert.match(judge(leaf(bound, CN, email('x@b.example')), bound), /^CN=Bound allows/);
  });
  test('CAs in the middle are under them too, self-issued ones excepted (§6.1.3 b)', () => {
    const bound = root('Bound', nameConstraints([directory(name(['CN', 'anna'])), directory(name(['CN', 'Fine']))]));
    const fine = bound.sub('Fine');
    assert.equal(judge(leaf(fine, CN), bound, fine), 'trusted');
    const other = bound.sub('Other');
    assert.match(judge(leaf(other, CN), bound, other), /and refuses CN=Other/);
    const renewed = bound.sub('Bound');
    assert.equal(judge(leaf(renewed, CN), bound, renewed), 'trusted');
  });
  test('A19: names times constraints are bounded', () => {
    const wide = top.sub('Wide', nameConstraints(Array.from({ length: 400 }, (_, at) => email(`h${at}.example`))));
    const names = Array.from({ length: 400 }, (_, at) => email(`x@h${399 - at}.example`));
    const begun = performance.now();
    assert.match(judge(leaf(wide, CN, ...names), top, wide), /more name constraints than are compared \(65536 comparisons\)/);
    assert.equal(judge(leaf(wide, CN, ...names.slice(0, 100)), top, wide), 'trusted');
    assert.ok(performance.now() - begun < 1000);
  });
  test('A19: a long name is read widely once, and such reading is bounded', () => {
    const others = Array.from({ length: 250 }, (_, at) => directory(name(['O', `Other ${at}`])));
    const bound = top.sub('Bound', nameConstraints([], others));
    // Each of these letters becomes eighteen.
    const long = (letters: number): Certificate => leaf(bound, name(['O', '\ufdfa'.repeat(letters)]), email('a@b.example'));
    const begun = performance.now();
    assert.equal(judge(long(20_000), top, bound), 'trusted');
    const once = performance.now() - begun;
    assert.ok(once < 500, `${once} ms`);
    const { nameConstraints: constraints } = bound.certificate;
    assert.ok(constraints);
    const tightly = (letters: number) => constraintFault(constraints, namesOf(long(letters)), { ...makeComparisonBudget(), left: 3000 });
    assert.equal(tightly(10), undefined);
    assert.match(tightly(5000) ?? '', /more name constraints than are compared/);
  });
  test('A19: so is a long local part', () => {
    const others = Array.from({ length: 400 }, (_, at) => email(`other${at}@partner.example`));
    const bound = top.sub('Bound', nameConstraints([], others));
    const person = leaf(bound, CN, email(`"${'\\A'.repeat(25_000)}"@partner.example`));
    const begun = performance.now();
    assert.equal(judge(person, top, bound), 'trusted');
    assert.ok(performance.now() - begun < 300);
  });
});

describe('hostile octets', () => {
  const bound = top.sub('Sub', nameConstraints([email('partner.example'), directory(name(['O', 'x']))], [uri('.b.example')]));
  const good = issueDer({
    subject: name(['O', 'x'], ['CN', 'anna']),
    keys,
    issuer: bound.name,
    signer: bound.keys,
    extensions: [san(email('anna@partner.example'), uri('https://a.example/'), directory(name(['O', 'x'])), ip(1, 2, 3, 4))],
  });
  test('a certificate with changed octets reads or is refused, and never gets past constraints unread', () => {
    const { nameConstraints: constraints } = bound.certificate;
    assert.ok(constraints);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), (changes) => {
        const changed = Buffer.from(good);
        for (const [at, octet] of changes) changed[at] = octet;
        let certificate: Certificate;
        try {
          certificate = parseCertificate(changed);
        } catch (error) {
          assert.ok(error instanceof Error && 'code' in error && error.code === 'certificate-malformed');
          return;
        }
        const fault = constraintFault(constraints, namesOf(certificate), makeComparisonBudget());
        // What passes names the address that is permitted, in the one spelling that is.
        for (const address of fault === undefined ? certificate.addresses : []) assert.match(address, /@partner\.example$/);
      }),
      { numRuns: 2000 },
    );
  });
  test('random constraints are read or malformed, at once', () => {
    const value = issueDer({
      ...issueOf(top),
      extensions: [nameConstraints([email('a.example'), ip(1, 2, 3, 4, 5, 6, 7, 8)], [directory(name(['O', 'x']))])],
    });
    fc.assert(
      fc.property(fc.nat(value.length - 1), fc.nat(255), (at, octet) => {
        const changed = Buffer.from(value);
        changed[at] = octet;
        try {
          parseCertificate(changed);
        } catch (error) {
          assert.ok(error instanceof Error && 'code' in error && error.code === 'certificate-malformed');
        }
      }),
      { numRuns: 2000 },
    );
  });
});

const issueOf = (by: Ca): Omit<Parameters<typeof issueDer>[0], 'extensions'> => ({
  subject: by.name,
  keys: by.keys,
  issuer: by.name,
  signer: by.keys,
});
