/** More than one way up: CAs certified twice, and meshes of them. By our own writer, since openssl would take minutes. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { makePathFinder } from '../../src/certificates/anchors.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import type { CertificateFolder } from '../../src/certificates/folder.ts';
import { buildPath, makeCertificateSet, PATH_LIMITS } from '../../src/certificates/path.ts';
import { makeMesh } from './mesh.ts';
import { mailboxOf } from './openssl.ts';
import { ca, ecKeys, email, issue, KEY_CERT_SIGN, keyUsage, name, nameConstraints, root } from './pki.ts';
import type { Ca } from './pki.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');
const judge = (leaf: Certificate, anchors: readonly Ca[], ...intermediates: readonly Certificate[]): readonly string[] => {
  const verdict = buildPath(leaf, makeCertificateSet(anchors.map((one) => one.certificate)), makeCertificateSet(intermediates), NOW);
  if (verdict.kind === 'untrusted') return [verdict.reason];
  return [verdict.path, ...verdict.others].map((path) => path.map(({ subject }) => subject.replace('CN=', '')).join(' < '));
};

describe('several ways up', () => {
  const top = root('Top');
  const sub = top.sub('Sub');
  const leaf = sub.leaf('anna@clinic.example');

  test('the shortest way breaks a name constraint, a longer one over the same CA keeps all: it is found', () => {
    const narrow = root('Narrow', nameConstraints([email('partner.example')]));
    const bridge = top.sub('Bridge');
    const crossed = narrow.cross(sub);
    const bridged = bridge.cross(sub);
    assert.deepEqual(judge(leaf, [narrow, top], crossed, bridged, bridge.certificate), ['anna < Sub < Bridge < Top']);
  });
  test('the shortest way to a CA breaks its path length, and another certificate of that CA has none', () => {
    const short = issue({
      subject: sub.name,
      keys: sub.keys,
      issuer: top.name,
      signer: top.keys,
      extensions: [ca(0), keyUsage(KEY_CERT_SIGN)],
    });
    const below = sub.sub('Below');
    const deep = below.leaf('anna@clinic.example');
    assert.deepEqual(judge(deep, [top], below.certificate, short, sub.certificate), ['anna < Below < Sub < Top']);
    assert.match(judge(deep, [top], below.certificate, short)[0] ?? '', /CN=Sub allows 0 CAs below it, here are 1/);
  });
  test('a CA that was reached with too little room above it is reached again by another way', () => {
    // To Sub straight from the top with no CA allowed below; by a bridge without such a limit.
    const strict = root('Strict', nameConstraints([], [email('clinic.example')]));
    const other = root('Other');
    const [one, two] = [strict.cross(sub), other.cross(sub)];
    assert.deepEqual(judge(leaf, [strict, other], one, two), ['anna < Sub < Other']);
  });
  test('all ways are given, the shortest first, up to four', () => {
    const roots = ['A', 'B', 'C', 'D', 'E'].map((common) => root(common));
    const [first] = roots;
    assert.ok(first);
    const detour = first.sub('Detour');
    const crossed = roots.slice(1, 3).map((one) => one.cross(sub));
    const [b, c] = ['anna < Sub < B', 'anna < Sub < C'];
    assert.deepEqual(judge(leaf, roots, ...crossed, detour.certificate, detour.cross(sub)), [b, c, 'anna < Sub < Detour < A']);
    assert.equal(judge(leaf, roots, ...roots.map((one) => one.cross(sub))).length, PATH_LIMITS.paths);
  });
  test('the same certificate in two places makes one way', () => {
    assert.deepEqual(judge(leaf, [top, top], sub.certificate, sub.certificate, top.certificate), ['anna < Sub < Top']);
  });
  test('a path of eight certificates, and one of nine', () => {
    const line = [top];
    while (line.length < PATH_LIMITS.length) line.push((line.at(-1) ?? top).sub(`CA ${line.length}`));
    const [last, before] = [line.at(-1) ?? top, line.at(-2) ?? top];
    const certificates = line.slice(1).map(({ certificate }) => certificate);
    assert.equal(judge(before.leaf('a@b.example'), [top], ...certificates)[0]?.split(' < ').length, PATH_LIMITS.length);
    assert.match(judge(last.leaf('a@b.example'), [top], ...certificates)[0] ?? '', /the path is longer than 8 certificates/);
  });
  test('a CA of version 1 is none', () => {
    const old = issue({
      subject: name(['CN', 'Old']),
      keys: top.keys,
      issuer: name(['CN', 'Old']),
      signer: top.keys,
      extensions: undefined,
    });
    const below = issue({ subject: name(['CN', 'anna']), keys: sub.keys, issuer: name(['CN', 'Old']), signer: top.keys, extensions: [] });
    const verdict = buildPath(below, makeCertificateSet([old]), makeCertificateSet([]), NOW);
    assert.match(verdict.kind === 'untrusted' ? verdict.reason : '', /CN=Old is not a CA \(basicConstraints\)/);
  });
});

describe('CAs that certify one another', () => {
  test('A19: a mesh of 1,000 CAs without an anchor ends at its limit, at once', () => {
    const { leaf, certificates } = makeMesh(1000, 2);
    const set = makeCertificateSet(certificates);
    const begun = performance.now();
    const verdict = buildPath(leaf, makeCertificateSet([]), set, NOW);
    const took = performance.now() - begun;
    assert.match(verdict.kind === 'untrusted' ? verdict.reason : '', /no path to an anchor within 100 signatures/);
    assert.ok(took < 1000, `${took} ms`);
  });
  test('A19: so does a mesh in which every CA certified every other', () => {
    const { leaf, certificates } = makeMesh(50, 49);
    const begun = performance.now();
    const verdict = buildPath(leaf, makeCertificateSet([]), makeCertificateSet(certificates), NOW);
    assert.match(verdict.kind === 'untrusted' ? verdict.reason : '', /no path to an anchor within 2000 steps/);
    assert.ok(performance.now() - begun < 1000);
  });
  test('A19 P6: of many searches at once, each leaves the others a turn of the event loop', async () => {
    const { first, certificates } = makeMesh(200, 3);
    const leaves = Array.from({ length: 40 }, (_, at) =>
      issue({ subject: name(['CN', `anna ${at}`]), keys: ecKeys(), issuer: first.subject, signer: first.keys, extensions: [] }),
    );
    const finder = makePathFinder({
      anchors: folderOf(root('Anchor').certificate),
      intermediates: folderOf(...certificates),
      now: () => NOW,
    });
    const state = { searching: true };
    const searches = Promise.all(leaves.map((one) => finder.find(one, mailboxOf('anna@clinic.example')))).finally(
      () => (state.searching = false),
    );
    let turns = 0;
    while (state.searching) {
      await setImmediate();
      turns++;
    }
    for (const found of await searches) assert.match(found.kind === 'untrusted' ? found.reason : '', /within 100 signatures/);
    // All in one turn would be one; each search takes 10 ms and more, so a turn holds one or two.
    assert.ok(turns >= 10, `${turns} turns`);
  });
  test('two CAs that certify each other are a circle, and the search ends', () => {
    const { leaf, certificates } = makeMesh(2, 1);
    const verdict = buildPath(leaf, makeCertificateSet([]), makeCertificateSet(certificates), NOW);
    assert.match(verdict.kind === 'untrusted' ? verdict.reason : '', /the CAs lead in a circle/);
  });
  test('an anchor that certified the issuer is found in the middle of a mesh', () => {
    const { leaf, certificates, first } = makeMesh(25, 24);
    const anchor = root('Anchor');
    const crossed = issue({ ...first, issuer: anchor.name, signer: anchor.keys, extensions: [ca()] });
    const verdict = buildPath(leaf, makeCertificateSet([anchor.certificate]), makeCertificateSet([...certificates, crossed]), NOW);
    assert.equal(verdict.kind === 'trusted' ? verdict.path.length : verdict.reason, 3);
  });
});

/** Read long ago, as folders are. */
const folderOf = (...certificates: readonly Certificate[]): CertificateFolder => ({
  path: '/certificates',
  contents: () =>
    Promise.resolve({
      kind: 'read',
      version: 1,
      certificates: certificates.map((certificate) => ({ certificate, place: 'a', file: 'a' })),
      broken: [],
      unread: undefined,
    }),
  refresh: () => Promise.resolve(),
  close: () => {},
});
