/** A27 with real programs: knot serves signed, unsigned and bogus zones, unbound validates, the certificate stage of a site asks. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import type { Lookup } from '../../../src/certificates/directory.ts';
import { openSiteCertificates, type SiteCertificates } from '../../../src/certificates/site.ts';
import { makeResolver } from '../../../src/certificates/smimea/resolver.ts';
import { makeSmimeaSource, type SmimeaOptions } from '../../../src/certificates/smimea/source.ts';
import type { SourceAnswer } from '../../../src/certificates/source.ts';
import { SealpostError } from '../../../src/errors.ts';
import { caExtensions, mailboxOf, make, noOpenssl, rsa, temporaryFolder } from '../openssl.ts';
import { until } from '../../interop/ports.ts';
import { makeSite } from '../../relay/site.ts';
import { send } from '../../relay/submit.ts';
import { keepingUpstream } from '../../relay/upstream.ts';
import { noDns, openWorld, smimea, type World } from './world.ts';

const CLI = resolve(import.meta.dirname, '../../../src/cli.ts');

describe('SMIMEA through knot and unbound', { skip: noOpenssl || noDns }, () => {
  const [folder, anchors, intermediates] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
  const [dns, cached, home] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
  const sites: SiteCertificates[] = [];
  let world: World;
  let trusted: Record<'anchors' | 'dnssec', SiteCertificates>;

  const certificate = (address: string, wish: Partial<Parameters<typeof make>[1]> = {}): Buffer =>
    make(folder, {
      name: address.replaceAll(/\W/g, '-').toLowerCase(),
      extensions: [`subjectAltName=email:${address}`],
      issuer: 'root',
      ...wish,
    });
  const publish = (address: string, parts = '3 0 0', der = certificate(address)): string => smimea(address, parts, der);
  const alone = (address: string): string => smimea(address, '3 0 0', certificate(address, { issuer: address.replaceAll(/\W/g, '-') }));

  before(async () => {
    make(folder, { name: 'root', extensions: caExtensions });
    writeFileSync(join(anchors, 'root.pem'), readFileSync(join(folder, 'root.pem')));
    const big = Array.from({ length: 3 }, (_, count) =>
      publish('big@clinic.example', '3 0 0', certificate('big@clinic.example', { key: rsa(3072), from: `202${count}0101000000Z` })),
    );
    const aliasOf = (from: string, to: string): string =>
      `${smimea(from, '', Buffer.alloc(0)).split(' ')[0]} CNAME ${smimea(to, '', Buffer.alloc(0)).split(' ')[0]}`;
    world = await openWorld(dns, [
      {
        name: 'clinic.example',
        kind: 'signed',
        records: [
          publish('anna@clinic.example'),
          publish('pkix@clinic.example', '1 0 0'),
          publish('hash@clinic.example', '3 0 1', Buffer.alloc(32, 7)),
          publish('other@clinic.example', '3 0 0', certificate('somebody@clinic.example')),
          publish('old@clinic.example', '3 0 0', certificate('old@clinic.example', { to: '20250101000000Z' })),
          alone('alone@clinic.example'),
          aliasOf('alias@clinic.example', 'anna@clinic.example'),
          aliasOf('away@clinic.example', 'anna@plain.example'),
          ...big,
        ],
      },
      { name: 'plain.example', kind: 'unsigned', records: [publish('anna@plain.example')] },
      { name: 'bogus.example', kind: 'bogus', records: [publish('anna@bogus.example')] },
    ]);
    const open = (trust: SmimeaOptions['trust']): SiteCertificates => {
      const ages = { found: 60_000, absent: 60_000, stale: 60_000 };
      const places = {
        sources: [{ smimea: { resolver: world.resolver, trust } }],
        cache: ages,
        trust: { anchors, intermediates, revocation: 'off', fetchNetworks: [] },
      } as const;
      const cache = { folder: cached, writable: false };
      const ldapSecrets = () => Promise.reject(new Error('no LDAP here'));
      const options = { now: Date.now, log: pino({ level: 'silent' }), patience: 10_000, cache, ldapSecrets };
      const site = openSiteCertificates(places, options);
      sites.push(site);
      return site;
    };
    trusted = { anchors: open('anchors'), dnssec: open('dnssec') };
  });
  after(async () => {
    for (const site of sites) await site.close();
    await world.close();
  });

  const lookup = (address: string, trust: SmimeaOptions['trust'] = 'anchors'): Promise<Lookup> =>
    trusted[trust].directory.lookup(mailboxOf(address));
  const ask = (address: string, place = world.resolver): Promise<SourceAnswer> => {
    const resolver = makeResolver({ ...place, randomBytes });
    return makeSmimeaSource({ resolver, trust: 'anchors', now: Date.now }).lookup(mailboxOf(address), AbortSignal.timeout(10_000));
  };
  const remarks = (answer: SourceAnswer): string => (answer.kind === 'unavailable' ? '' : (answer.remarks ?? []).join('\n'));
  const reasons = (answer: Lookup): string => (answer.kind === 'unavailable' ? '' : answer.rejected.map(({ reason }) => reason).join('\n'));
  const because = (answer: SourceAnswer | Lookup): string =>
    answer.kind === 'unavailable' && answer.cause instanceof SealpostError ? (answer.cause.detail ?? '') : answer.kind;

  test('a certificate in a signed zone is used, whatever the case of the address, and behind an alias', async () => {
    for (const address of ['anna@clinic.example', 'Anna@Clinic.Example']) {
      const answer = await lookup(address);
      assert.equal(answer.kind === 'found' && answer.chosen[0].certificate.addresses[0], 'anna@clinic.example');
    }
    const behind = await ask('alias@clinic.example');
    assert.equal(behind.kind === 'found' && behind.candidates[0]?.certificate.addresses[0], 'anna@clinic.example');
    assert.equal((await lookup('pkix@clinic.example')).kind, 'found');
  });

  test('records too big for a datagram come by TCP', async () => {
    const answer = await lookup('big@clinic.example');
    assert.equal(answer.kind === 'found' && answer.chosen.length, 3);
  });

  test('signed absence is absent, of a name and of its records', async () => {
    assert.deepEqual([(await ask('ben@clinic.example')).kind, remarks(await ask('ben@clinic.example'))], ['absent', '']);
    assert.equal((await ask('anna@nowhere.example')).kind, 'absent');
  });

  test('A27: an unsigned zone is not used and says so; nor is an alias into one', async () => {
    for (const address of ['anna@plain.example', 'away@clinic.example']) {
      const answer = await ask(address);
      assert.equal(answer.kind, 'absent');
      assert.match(remarks(answer), /its SMIMEA records are not used: the zone is not signed with DNSSEC$/);
      assert.equal((await lookup(address, 'dnssec')).kind, 'absent');
    }
  });

  test('A27: signatures that do not fit are unavailable', async () => {
    assert.match(because(await ask('anna@bogus.example')), /SERVFAIL \(.*DNS.*\)$/);
    assert.equal((await lookup('anna@bogus.example', 'dnssec')).kind, 'unavailable');
  });

  test('A27: AD stripped: a server that does not validate is no resolver, even for what it holds itself', async () => {
    for (const address of ['anna@clinic.example', 'ben@clinic.example', 'anna@plain.example'])
      assert.match(because(await ask(address, world.server)), /does not validate/);
  });

  test('P9: DNSSEC takes the place of the anchor where the operator says so, and of nothing else', async () => {
    const refused = await lookup('alone@clinic.example');
    assert.equal(refused.kind, 'absent');
    assert.match(reasons(refused), /^no path to an anchor/);
    assert.equal((await lookup('alone@clinic.example', 'dnssec')).kind, 'found');
    assert.match(reasons(await lookup('other@clinic.example', 'dnssec')), /^it does not name this address$/);
    assert.match(reasons(await lookup('old@clinic.example', 'dnssec')), /^it expired on 2025-01-01$/);
  });

  test('a hash is no certificate, and the remark says so', async () => {
    const answer = await ask('hash@clinic.example');
    assert.equal(answer.kind, 'absent');
    assert.match(remarks(answer), /it holds a hash and no certificate/);
  });

  /** A site whose resolver is `place`; what sealpost says on it. */
  function told(name: string, { address, port }: World['server'], ...args: readonly string[]): string {
    const folder = join(home, name);
    mkdirSync(join(folder, 'policies'), { recursive: true });
    const certificates = {
      sources: [{ smimea: { resolver: `${address}:${port}` } }],
      trust: { anchors, intermediates, revocation: 'off' },
    };
    const ends = { listen: [{ host: '127.0.0.1', port: 2525 }], upstream: [{ host: '127.0.0.1', port: 25 }], policies: 'policies' };
    writeFileSync(join(folder, 'policies/all.yaml'), 'rules: [{ name: all, then: seal, subject: keep }]\n');
    writeFileSync(
      join(folder, 'sealpost.yaml'),
      JSON.stringify({ hostname: 'r.example', operator: 'p@clinic.example', ...ends, certificates }),
    );
    const { SEALPOST_CONFIG: _, ...env } = process.env;
    return spawnSync(process.execPath, [CLI, ...args], { cwd: folder, encoding: 'utf8', env }).output.join('');
  }

  test('each state is explained to people', () => {
    const explained = (to: string): string => told('explain', world.resolver, 'explain', '--from', 'forms@r.example', '--to', to);
    assert.match(
      explained('anna@clinic.example'),
      /used: SHA-256 [^]*in smimea 127\.0\.0\.1:\d+: [0-9a-f]{56}\._smimecert\.clinic\.example#1/,
    );
    assert.match(explained('anna@plain.example'), /none that can be used[^]*not used: the zone is not signed with DNSSEC[^]*at RCPT +550 /);
    assert.match(explained('hash@clinic.example'), /none that can be used[^]*it holds a hash and no certificate[^]*at RCPT +550 /);
    assert.match(
      explained('anna@bogus.example'),
      /unavailable: smimea 127\.0\.0\.1:\d+ gives no usable answer[^]*answers SERVFAIL \([^\n]*DNS[^\n]*\)\n[^]*at RCPT +451 /,
    );
  });

  test('check tells of a resolver that does not validate, or is not there', () => {
    assert.doesNotMatch(told('good', world.resolver, 'check'), /smimea/);
    assert.match(
      told('server', world.server, 'check'),
      /certificates\.sources\[0\]\.smimea\.resolver: the resolver .* does not validate[^]*mend: use one that validates/,
    );
    assert.match(
      told('none', { address: '127.0.0.2', port: world.server.port }, 'check'),
      /smimea\.resolver: the resolver .* cannot be asked/,
    );
  });

  test('P5: a resolver that is stopped is unavailable, and works again once it is started', async () => {
    await world.stopResolver();
    assert.match(because(await ask('anna@clinic.example')), /cannot be asked$/);
    assert.match(because(await ask('ben@clinic.example')), /cannot be asked$/);
    await world.startResolver();
    assert.equal((await ask('anna@clinic.example')).kind, 'found');
    assert.equal((await ask('ben@clinic.example')).kind, 'absent');
  });

  test('P5 P7 a resolver that hangs under a running relay: 451 for who is not known, mail for who was found before', async (t) => {
    const upstream = await keepingUpstream(t);
    const certificates = {
      sources: [{ smimea: { resolver: `${world.resolver.address}:${world.resolver.port}` } }],
      trust: { anchors, intermediates, revocation: 'off' },
    };
    const site = await makeSite(t, { upstreamPort: upstream.port, people: [], config: { certificates, timeouts: { lookup: '3s' } } });
    const relay = await site.serve();
    // Within the five seconds that a dialogue waits.
    const reply = (to: string): Promise<string> =>
      send(relay.port, [to], 'Subject: x\r\n\r\nthe body\r\n').then(
        () => '250',
        (error: unknown) => String(error),
      );
    assert.equal(await reply('anna@clinic.example'), '250');
    world.freezeResolver();
    t.after(() => world.thawResolver());
    const asked = Array.from({ length: 10 }, () => reply('pkix@clinic.example'));
    for (const said of await Promise.all(asked)) assert.match(said, /451 4\.4\.3/);
    assert.equal(await reply('anna@clinic.example'), '250', 'from what was found before');
    world.thawResolver();
    await until('it is asked again', async () => (await reply('pkix@clinic.example')) === '250', 30_000);
    await until('all of it is delivered', () => upstream.deliveries().length === 3);
  });
});
