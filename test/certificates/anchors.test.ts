/** Anchors of some domains only, with folders on disk, as the relay asks. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { pino } from 'pino';
import { makePathFinder } from '../../src/certificates/anchors.ts';
import type { AnchorSet } from '../../src/certificates/anchors.ts';
import type { Certificate } from '../../src/certificates/certificate.ts';
import { makeCertificateFolder } from '../../src/certificates/folder.ts';
import type { CertificateFolder } from '../../src/certificates/folder.ts';
import { certificatePem } from '../../src/certificates/pem.ts';
import { makeTrust } from '../../src/certificates/trust.ts';
import type { RevocationPolicy } from '../../src/certificates/revocation/policy.ts';
import { eventually, mailboxOf, temporaryFolder } from './openssl.ts';
import { root } from './pki.ts';

const byText = (a: string, b: string): number => (a < b ? -1 : 1);
const log = pino({ level: 'silent' });

describe('anchors of some domains only', () => {
  const base = temporaryFolder();
  const opened: CertificateFolder[] = [];
  after(() => {
    for (const folder of opened) folder.close();
  });
  let folders = 0;
  const folderOf = (name: string, ...certificates: readonly Certificate[]): CertificateFolder => {
    const path = join(base, String(folders++), name);
    mkdirSync(path, { recursive: true });
    for (const [index, certificate] of certificates.entries()) writeFileSync(join(path, `${index}.pem`), certificatePem(certificate));
    const folder = makeCertificateFolder({ path, log, now: Date.now });
    opened.push(folder);
    return folder;
  };
  const house = root('House');
  const partner = root('Partner');
  const anchors = folderOf('anchors', house.certificate);
  const intermediates = folderOf('intermediates');
  const setOf = (domains: readonly string[], exclusive: boolean, ...certificates: readonly Certificate[]): AnchorSet => ({
    folder: folderOf('partner-anchors', ...certificates),
    domains,
    exclusive,
  });
  const judge = async (sets: readonly AnchorSet[], certificate: Certificate, address: string): Promise<string> => {
    const found = await makePathFinder({ anchors, sets, intermediates, now: Date.now }).find(certificate, mailboxOf(address));
    if (found.kind === 'trusted') return `trusted by ${found.paths[0].set === undefined ? 'all' : found.paths[0].set.domains.join(' ')}`;
    return found.kind === 'untrusted' ? found.reason : found.kind;
  };
  const theirs = partner.leaf('anna@partner.example');

  test('an anchor of a set vouches for its domains, and for no others', async () => {
    const sets = [setOf(['partner.example', '*.partner.example'], false, partner.certificate)];
    assert.equal(await judge(sets, theirs, 'anna@partner.example'), 'trusted by partner.example *.partner.example');
    assert.equal(await judge(sets, theirs, 'anna@lab.PARTNER.example'), 'trusted by partner.example *.partner.example');
    const refused = 'its anchor CN=Partner is believed for partner.example, *.partner.example (partner-anchors) only';
    assert.equal(await judge(sets, theirs, 'anna@clinic.example'), refused);
    assert.equal(await judge(sets, theirs, 'anna@evilpartner.example'), refused);
    assert.equal(await judge(sets, house.leaf('ben@partner.example'), 'ben@partner.example'), 'trusted by all');
  });

  test('one finder keeps verdicts of several domains apart', async () => {
    const sets = [setOf(['partner.example'], false, partner.certificate)];
    const finder = makePathFinder({ anchors, sets, intermediates, now: Date.now });
    const kinds = [];
    for (const address of ['a@partner.example', 'a@clinic.example', 'a@partner.example', 'a@other.example'])
      kinds.push((await finder.find(theirs, mailboxOf(address))).kind);
    assert.deepEqual(kinds, ['trusted', 'untrusted', 'trusted', 'untrusted']);
  });

  test('what was judged while the clock was ahead is judged anew when it is set right', async () => {
    const middle = partner.sub('Middle');
    let now = Date.now();
    const folder = folderOf('intermediates', middle.certificate);
    const finder = makePathFinder({ anchors: folderOf('anchors', partner.certificate), intermediates: folder, now: () => now });
    const leaf = middle.leaf('anna@partner.example');
    const kind = async (): Promise<string> => (await finder.find(leaf, mailboxOf('anna@partner.example'))).kind;
    const right = now;
    now = middle.certificate.notAfter.getTime() + 1000;
    assert.equal(await kind(), 'untrusted');
    now = right;
    assert.equal(await kind(), 'trusted');
  });

  /** The modes that paths of a certificate were judged under, the first path first; nothing is known of any. */
  const modes = async (sets: readonly AnchorSet[], general: readonly Certificate[], middle: readonly Certificate[], leaf: Certificate) => {
    const asked: string[] = [];
    const policy: RevocationPolicy = {
      judge: async (path, mode) => {
        asked.push(`${path.length} ${mode}`);
        return { kind: 'unavailable', cause: new Error('unknown') };
      },
    };
    const folders = { anchors: folderOf('anchors', ...general), intermediates: folderOf('intermediates', ...middle) };
    const trust = makeTrust({ ...folders, sets, now: Date.now, revocation: { policy, mode: 'soft' } });
    await trust.judge(leaf, mailboxOf('anna@partner.example'), AbortSignal.timeout(10_000));
    return asked;
  };

  test('A23: the mode of a set is not walked round over another CA that certified its anchor, or over a renewed anchor', async () => {
    const open = root('Public');
    const cross = open.cross(partner);
    for (const mode of ['hard', 'off', 'soft'] as const) {
      const set: AnchorSet = { ...setOf(['partner.example'], false, partner.certificate), revocation: mode };
      const strict = mode === 'hard' ? 'hard' : 'soft';
      assert.deepEqual(await modes([set], [open.certificate], [cross], theirs), [`2 ${mode}`, `3 ${strict}`]);
      // Among the general anchors there lies another certificate of the same name and key.
      assert.deepEqual((await modes([set], [cross], [], theirs)).sort(byText), [`2 ${mode}`, `2 ${strict}`].sort(byText));
      assert.deepEqual(await modes([{ ...set, domains: ['other.example'] }], [open.certificate], [cross], theirs), ['3 soft']);
    }
  });

  test('A23: a set that says off goes for its own CA though the others are asked about', async () => {
    const set: AnchorSet = { ...setOf(['partner.example'], false, partner.certificate), revocation: 'off' };
    assert.deepEqual(await modes([set], [house.certificate], [], theirs), ['2 off']);
    assert.deepEqual(await modes([set], [house.certificate], [], house.leaf('anna@partner.example')), ['2 soft']);
    assert.deepEqual(await modes([set], [partner.certificate], [], theirs), ['2 off'], 'it lies in both');
  });

  test('exclusive: the general anchors do not count for these domains, and still do for all others', async () => {
    const sets = [setOf(['partner.example'], true, partner.certificate)];
    assert.equal(await judge(sets, theirs, 'anna@partner.example'), 'trusted by partner.example');
    assert.equal(
      await judge(sets, house.leaf('anna@partner.example'), 'anna@partner.example'),
      'its anchor CN=House is none of those that alone are believed for partner.example (partner-anchors)',
    );
    assert.equal(await judge(sets, house.leaf('ben@clinic.example'), 'ben@clinic.example'), 'trusted by all');
  });

  test('a set that is not exclusive does not get past one that is', async () => {
    const sets = [setOf(['*.example'], false, house.certificate), setOf(['partner.example'], true, partner.certificate)];
    assert.match(await judge(sets, house.leaf('a@partner.example'), 'a@partner.example'), /none of those that alone are believed/);
    assert.equal(await judge(sets, theirs, 'a@partner.example'), 'trusted by partner.example');
  });

  test("an anchor in a set and among the general ones counts as the set's, where the set counts", async () => {
    const sets = [setOf(['clinic.example'], false, house.certificate)];
    assert.equal(await judge(sets, house.leaf('a@clinic.example'), 'a@clinic.example'), 'trusted by clinic.example');
    assert.equal(await judge(sets, house.leaf('a@b.example'), 'a@b.example'), 'trusted by all');
  });

  test('a certificate that lies in the set itself is trusted for its domains only', async () => {
    const stray = root('Stray').leaf('anna@partner.example');
    const sets = [setOf(['partner.example'], false, stray)];
    assert.equal(await judge(sets, stray, 'anna@partner.example'), 'trusted by partner.example');
    assert.match(await judge(sets, stray, 'anna@clinic.example'), /CN=anna is believed for partner\.example \(partner-anchors\) only/);
  });

  test('P5: a set that counts and cannot be read is unavailable; for other domains nothing changes', async () => {
    const broken: AnchorSet = { ...setOf(['partner.example'], false), folder: makeMissing() };
    assert.equal(await judge([broken], theirs, 'anna@partner.example'), 'unavailable');
    assert.equal(await judge([broken], house.leaf('ben@clinic.example'), 'ben@clinic.example'), 'trusted by all');
  });
  const makeMissing = (): CertificateFolder => {
    const folder = makeCertificateFolder({ path: join(base, 'missing'), log, now: Date.now });
    opened.push(folder);
    return folder;
  };

  test('P5: a part of a set that is not read: what it may vouch for is unavailable, not untrusted', async () => {
    const set = setOf(['partner.example'], false);
    // Deeper than folders are read.
    mkdirSync(join(set.folder.path, '1/2/3/4/5/6/7/8/9/10'), { recursive: true });
    await set.folder.refresh();
    assert.equal(await judge([set], theirs, 'anna@partner.example'), 'unavailable');
    assert.match(await judge([set], root('Nobody').leaf('ben@clinic.example'), 'ben@clinic.example'), /is not known/);
  });

  test('P5: a folder without an anchor that can be read makes nobody untrusted; whom others vouch for is trusted', async () => {
    const bare = folderOf('anchors');
    const judgeBy = async (sets: readonly AnchorSet[], certificate: Certificate, address: string): Promise<string> => {
      const found = await makePathFinder({ anchors: bare, sets, intermediates, now: Date.now }).find(certificate, mailboxOf(address));
      return found.kind === 'unavailable' ? (found.reason ?? String(found.cause)) : found.kind;
    };
    const ours = house.leaf('ben@clinic.example');
    assert.match(await judgeBy([], ours, 'ben@clinic.example'), /^no path to an anchor: .*anchors holds no certificate$/);
    // Whoever believes in sets only has an empty folder on purpose.
    const full = setOf(['partner.example'], false, partner.certificate);
    assert.equal(await judgeBy([full], ours, 'ben@clinic.example'), 'untrusted');
    writeFileSync(join(bare.path, 'half.pem'), certificatePem(house.certificate).slice(0, 200));
    await bare.refresh();
    for (const sets of [[], [full]]) assert.match(await judgeBy(sets, ours, 'ben@clinic.example'), /no file in .* can be read$/);
    assert.equal(await judgeBy([full], theirs, 'anna@partner.example'), 'trusted');
    writeFileSync(join(bare.path, 'half.pem'), certificatePem(house.certificate));
    await bare.refresh();
    assert.equal(await judgeBy([], ours, 'ben@clinic.example'), 'trusted');
    assert.equal(await judgeBy([], theirs, 'anna@partner.example'), 'untrusted');
    const hollow = setOf(['partner.example'], false);
    assert.match(await judgeBy([hollow], theirs, 'anna@partner.example'), /partner-anchors holds no certificate/);
    assert.equal(await judgeBy([hollow], house.leaf('a@partner.example'), 'a@partner.example'), 'trusted');
  });

  test('an anchor taken away is believed no more within seconds', async () => {
    const set = setOf(['partner.example'], false, partner.certificate, root('Other').certificate);
    const finder = makePathFinder({ anchors, sets: [set], intermediates, now: Date.now });
    const kind = async (): Promise<string> => (await finder.find(theirs, mailboxOf('anna@partner.example'))).kind;
    assert.equal(await kind(), 'trusted');
    rmSync(join(set.folder.path, '0.pem'));
    await eventually(async () => (await kind()) === 'untrusted');
  });
});
