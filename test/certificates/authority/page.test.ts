/** The page that goes to a reader: what it says, and that no name becomes a part of it. A browser looks at it in interop/. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { instructionPage, type PageContent } from '../../../src/certificates/authority/page.ts';
import { certificateNamed, rsaKey } from '../fixtures.ts';

const content: PageContent = {
  address: 'anna@clinic.example',
  name: 'Anna Berger',
  file: 'anna@clinic.example.p12',
  certificate: certificateNamed('anna', { key: rsaKey }),
  root: certificateNamed('Clinic root'),
  operator: 'postmaster@clinic.example',
};
const inFours = (text: string): string => text.toUpperCase().replaceAll(/.{4}(?=.)/g, '$& ');
/** Every tag with its attributes, in order. */
const tagsOf = (html: string): string[] => html.match(/<[^>]*>/g) ?? [];

describe('the page of a reader', () => {
  const html = instructionPage(content);

  test('says whose it is, the file, the days and both forms of the fingerprint', () => {
    const { certificate, root } = content;
    const sha1 = createHash('sha1').update(certificate.der).digest('hex');
    for (const fact of ['Anna Berger', 'anna@clinic.example.p12', 'from 2026-01-01 until 2027-01-01', 'Clinic root', content.operator])
      assert.ok(html.includes(fact), fact);
    for (const hex of [certificate.fingerprint, root.fingerprint, sha1]) assert.ok(html.includes(`<code>${inFours(hex)}</code>`), hex);
  });

  test('asks for the mail program first; the long figures stand behind the steps', () => {
    const at = (text: string): number => {
      const found = html.indexOf(text);
      return found < 0 ? assert.fail(text) : found;
    };
    assert.ok(at('Which mail program have you?') < at('What you have got'));
    assert.ok(at('<h3 id="mac"') < at('<code>'));
  });

  test('only that of a renewal names the old one and says to keep it', () => {
    assert.doesNotMatch(html, /Keep the old one/);
    const old = certificateNamed('old', { notAfter: new Date('2026-02-03T00:00:00Z') });
    const renewed = instructionPage({ ...content, renews: old });
    assert.match(renewed, /Keep the old one too/);
    assert.ok(renewed.includes(`valid until 2026-02-03, fingerprint beginning ${inFours(old.fingerprint.slice(0, 16))}`));
  });

  test('says where the password is: another way, or in the sealed message around it', () => {
    assert.match(html, /The password comes another way/);
    const beside = instructionPage({ ...content, passwordBeside: true });
    assert.doesNotMatch(beside, /another way/);
    assert.match(beside, /The password stands in the message that brought you this page/);
  });

  test('an EC key: what an old Apple system says of it', () => {
    assert.doesNotMatch(html, /too old/);
    assert.match(instructionPage({ ...content, certificate: certificateNamed('anna') }), /too old/);
  });

  test('headings follow one another without a gap, every link leads somewhere, and the language is said', () => {
    const levels = [...html.matchAll(/<h(\d)/g)].map(([, level]) => Number(level));
    assert.deepEqual([levels[0], levels.filter((level) => level === 1).length], [1, 1]);
    levels.forEach((level, at) => assert.ok(at === 0 || level <= (levels[at - 1] ?? 0) + 1, `heading ${at}`));
    const links = [...html.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id);
    assert.equal(links.length, 6);
    for (const id of links) assert.ok(html.includes(`<h3 id="${id}">`), id);
    assert.match(html, /^<!DOCTYPE html>\n<html lang="en">/);
  });

  test('holds nothing that is fetched or run', () => {
    assert.doesNotMatch(html, /<script|\ssrc=|\son\w+=|https?:|@import|url\(/i);
    assert.match(html, /content="default-src &#39;none&#39;; style-src &#39;sha256-[A-Za-z0-9+/=]{44}&#39;; base-uri &#39;none&#39;/);
  });

  test('A21: whatever a name, an address or a file is called, the tags of the page are the same', () => {
    const tags = tagsOf(html);
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1 }),
      fc.constantFrom(
        '</title><script>x</script>',
        '"><img src=http://evil.example/>',
        '-->',
        '</bdi>',
        '\u202egnp.exe',
        '&lt;b&gt;',
        '\0',
        '\ud800',
      ),
    );
    fc.assert(
      fc.property(hostile, hostile, hostile, hostile, (name, address, file, operator) => {
        const page = instructionPage({ ...content, name, address, file, operator });
        assert.deepEqual(tagsOf(page), tags);
        assert.doesNotMatch(page, /[\u202a-\u202e\u2066-\u2069\u200e\u200f]|(?!\n)\p{Cc}|\p{Cs}/u);
      }),
      { numRuns: 50 },
    );
  });

  test('A21: a name from the other side of the world stays as it is; what nobody sees gets its number', () => {
    const page = (name: string): string => instructionPage({ ...content, name });
    assert.ok(page('می\u200cخواهم').includes('<bdi>می\u200cخواهم</bdi>'));
    assert.ok(page('Ödön & Söhne').includes('<bdi>Ödön &amp; Söhne</bdi>'));
    assert.ok(page('a\u202eb\u0000c').includes('<bdi>a[U+202E]b[U+0000]c</bdi>'));
  });
});
