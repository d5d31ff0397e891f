import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { buildPath, makeCertificateSet } from '../../src/certificates/path.ts';
import { caExtensions, certify, make, noOpenssl, rsa, temporaryFolder } from './openssl.ts';
import type { Wish } from './openssl.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');

describe('paths to an anchor', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const ca = (wish: Wish): Certificate => parseCertificate(make(folder, { extensions: caExtensions, ...wish }));
  const leaf = (wish: Omit<Wish, 'name'>): Certificate => parseCertificate(make(folder, { name: 'anna', ...wish }));
  const judge = (certificate: Certificate, anchors: readonly Certificate[], intermediates: readonly Certificate[] = []): string => {
    const verdict = buildPath(certificate, makeCertificateSet(anchors), makeCertificateSet(intermediates), NOW);
    return verdict.kind === 'trusted' ? verdict.path.map(({ subject }) => subject).join(' < ') : verdict.reason;
  };
  const root = ca({ name: 'root' });

  test('straight to the anchor, and over two intermediates in any order', () => {
    const one = ca({ name: 'one', issuer: 'root' });
    const two = ca({ name: 'two', issuer: 'one' });
    assert.equal(judge(leaf({ issuer: 'root' }), [root]), 'CN=anna < CN=root');
    assert.equal(judge(leaf({ issuer: 'two' }), [root], [two, one]), 'CN=anna < CN=two < CN=one < CN=root');
  });
  test('an issuer nobody knows', () => assert.match(judge(leaf({ issuer: 'root' }), []), /issuer of CN=anna is not known: CN=root/));
  test('a self-signed certificate is trusted where it lies among the anchors, and only there', () => {
    const self = leaf({});
    assert.equal(judge(self, [self]), 'CN=anna');
    assert.match(judge(self, [root], [self]), /no path to an anchor/);
    assert.match(judge(self, [root]), /CN=anna is self-signed and not among the anchors/);
  });
  test('another key under the name of the anchor, with its key identifier and without', () => {
    make(folder, {
      name: 'forger',
      subject: '/CN=root',
      extensions: ['basicConstraints=critical,CA:TRUE', `subjectKeyIdentifier=${root.subjectKeyId}`],
    });
    assert.match(judge(leaf({ issuer: 'forger' }), [root]), /signature on CN=anna is not by CN=root/);
    make(folder, { name: 'forger', subject: '/CN=root', extensions: caExtensions });
    assert.match(judge(leaf({ issuer: 'forger', extensions: ['authorityKeyIdentifier=keyid'] }), [root]), /no path to an anchor/);
  });
  test('an issuer that is no CA', () => {
    const nurse = ca({ name: 'nurse', issuer: 'root', extensions: ['basicConstraints=CA:FALSE'] });
    assert.match(judge(leaf({ issuer: 'nurse' }), [root], [nurse]), /CN=nurse is not a CA/);
  });
  test('a CA that may not sign certificates', () => {
    const mute = ca({ name: 'mute', issuer: 'root', extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,cRLSign'] });
    assert.match(judge(leaf({ issuer: 'mute' }), [root], [mute]), /CN=mute may not sign certificates/);
  });
  test('a CA for servers', () => {
    const web = ca({ name: 'web', issuer: 'root', extensions: [...caExtensions, 'extendedKeyUsage=serverAuth'] });
    assert.match(judge(leaf({ issuer: 'web' }), [root], [web]), /CN=web is a CA for other things than mail/);
  });
  test('an expired intermediate', () => {
    const old = ca({ name: 'old', issuer: 'root', to: '20250101000000Z' });
    assert.match(judge(leaf({ issuer: 'old' }), [root], [old]), /CN=old expired on 2025-01-01/);
  });
  test('an expired anchor', () => {
    const past = ca({ name: 'past', to: '20250101000000Z' });
    assert.match(judge(leaf({ issuer: 'past' }), [past]), /CN=past expired on 2025-01-01/);
  });
  test('pathLenConstraint', () => {
    const short = ca({ name: 'short', extensions: ['basicConstraints=critical,CA:TRUE,pathlen:0', 'keyUsage=keyCertSign'] });
    const below = ca({ name: 'below', issuer: 'short' });
    assert.equal(judge(leaf({ issuer: 'short' }), [short]), 'CN=anna < CN=short');
    assert.match(judge(leaf({ issuer: 'below' }), [short], [below]), /CN=short allows 0 CAs below it, here are 1/);
  });
  test('an unknown critical extension, in the middle and at the end', () => {
    const strange = ca({ name: 'strange', issuer: 'root', extensions: [...caExtensions, '1.2.3.4.5=critical,ASN1:NULL'] });
    assert.match(judge(leaf({ issuer: 'strange' }), [root], [strange]), /critical extension that is not understood: 1\.2\.3\.4\.5/);
    const extensions = ['subjectAltName=email:anna@example.org', '1.2.3.4.5=critical,ASN1:NULL'];
    assert.match(judge(leaf({ issuer: 'root', extensions }), [root]), /^it carries a critical extension/);
  });
  test('name constraints, as openssl writes them', () => {
    const bound = ca({
      name: 'bound',
      issuer: 'root',
      extensions: [...caExtensions, 'nameConstraints=critical,permitted;email:example.com'],
    });
    const reason = /CN=bound allows mail addresses of example.com only \(name constraints\), and refuses CN=anna/;
    assert.match(judge(leaf({ issuer: 'bound' }), [root], [bound]), reason);
    const within = leaf({ issuer: 'bound', extensions: ['subjectAltName=email:anna@example.com'] });
    assert.equal(judge(within, [root], [bound]), 'CN=anna < CN=bound < CN=root');
  });
  test('SHA-1 signatures and short CA keys', () => {
    assert.match(judge(leaf({ issuer: 'root', digest: 'sha1' }), [root]), /CN=anna signed with SHA-1|signed with/);
    const weak = ca({ name: 'weak', key: rsa(1024) });
    assert.match(judge(leaf({ issuer: 'weak' }), [weak]), /CN=weak holds an RSA key of 1024 bits/);
  });
  test('a dead end beside the way does not hide it: renewed CA, same name and key', () => {
    const expired = ca({ name: 'sub', issuer: 'root', to: '20250101000000Z' });
    const renewed = parseCertificate(certify(folder, { name: 'sub', issuer: 'root', extensions: caExtensions }));
    assert.equal(judge(leaf({ issuer: 'sub' }), [root], [expired, renewed]), 'CN=anna < CN=sub < CN=root');
  });
});
