/** Lists as the relay comes by them: from the operator's folder and from servers, through the thread and the copies on disk. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type CrlOptions, type CrlSource, makeCrlSource } from '../../../src/certificates/revocation/crl.ts';
import { makeFetch } from '../../../src/certificates/revocation/fetch.ts';
import type { RevocationSource } from '../../../src/certificates/revocation/revocation.ts';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { eventually, temporaryFolder } from '../openssl.ts';
import {
  type Ca,
  contentOf,
  DAY,
  deltaIndicator,
  entry,
  HOUR,
  indirectPoint,
  makeCa,
  NOW,
  partialPoint,
  point,
  reason,
  scope,
} from './lists.ts';
import { serveHttp, type TestServer } from './servers.ts';

interface Published {
  readonly server: TestServer;
  /** What is answered now; undefined is 404. */
  list: Buffer | undefined;
  asked: number;
}

async function publish(list?: Buffer): Promise<Published> {
  const published: { list: Buffer | undefined; asked: number } = { list, asked: 0 };
  const server = await serveHttp((_, response) => {
    published.asked++;
    response.writeHead(published.list === undefined ? 404 : 200).end(published.list);
  });
  return Object.assign(published, { server });
}

interface Clock {
  time: number;
}

function open(options: Partial<CrlOptions> & { clock?: Clock } = {}): CrlSource {
  const { clock = { time: NOW }, ...rest } = options;
  const now = (): number => clock.time;
  const nobody = (): Promise<readonly string[]> => Promise.reject(new Error('no DNS in this test'));
  const source = makeCrlSource({
    fetch: makeFetch({ networks: ['127.0.0.0/8'], resolve: nobody, uptime: now }),
    folder: undefined,
    cache: { folder: temporaryFolder(), writable: true },
    now,
    uptime: now,
    random: () => 0,
    patience: 10_000,
    ...rest,
  });
  after(() => source.close());
  return source;
}

async function says(source: RevocationSource, certificate: Certificate, issuer: Ca): Promise<string> {
  const status = await source.status(certificate, issuer.certificate, AbortSignal.timeout(20_000));
  if (status.kind === 'good') return `good ${status.from}`;
  return status.kind === 'revoked'
    ? `revoked ${status.reason} ${status.from}`
    : `unknown ${status.why}${status.lasting ? ', lasting' : ''}`;
}

const ca = makeCa('CA');

describe('a list that is published', () => {
  test('is fetched once, and answers for all', async () => {
    const published = await publish();
    const url = `${published.server.url}/ca.crl`;
    const [anna, ben] = [ca.issue({ points: [point(url)] }), ca.issue({ points: [point(url)] })];
    published.list = ca.list({ entries: [entry(contentOf(ben), reason(1))] });
    const source = open();
    const answers = await Promise.all([says(source, anna, ca), says(source, ben, ca), says(source, anna, ca)]);
    assert.deepEqual(answers, [`good CRL ${url}`, `revoked keyCompromise CRL ${url}`, `good CRL ${url}`]);
    assert.equal(published.asked, 1);
  });

  test('is at hand for every certificate of its CA once it is held, and nothing is fetched for that', async () => {
    const published = await publish();
    const [anna, ben] = [ca.issue({ points: [point(`${published.server.url}/`)] }), ca.issue({})];
    published.list = ca.list({ entries: [entry(contentOf(ben), reason(1))] });
    const source = open();
    assert.equal((await source.atHand(ben, ca.certificate)).kind, 'unknown');
    assert.equal(published.asked, 0);
    await says(source, anna, ca);
    assert.equal((await source.atHand(ben, ca.certificate)).kind, 'revoked');
    assert.equal((await source.atHand(anna, ca.certificate)).kind, 'good');
    assert.equal((await source.atHand(ben, makeCa('CA').certificate)).kind, 'unknown', 'another key');
  });

  test('in PEM too; the second URL is asked where the first has none', async () => {
    const gone = await publish();
    const der = ca.list();
    const published = await publish(Buffer.from(`-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`));
    const anna = ca.issue({ points: [point('ldap://dc.example/CA', `${gone.server.url}/`, `${published.server.url}/`)] });
    assert.equal(await says(open(), anna, ca), `good CRL ${published.server.url}/`);
  });

  test('P6: of many lists that a certificate names eight are asked for', async () => {
    const asked = new Set<string>();
    const fetch: CrlOptions['fetch'] = async ({ url }) => {
      asked.add(url);
      throw new Error('it does not answer');
    };
    const urls = Array.from({ length: 50 }, (_, at) => `http://x.test/${at}`);
    const anna = ca.issue({ points: [point(...urls.slice(0, 5)), point(...urls.slice(5))] });
    assert.match(await says(open({ fetch }), anna, ca), /^unknown /);
    assert.deepEqual([...asked].toSorted(), urls.slice(0, 8));
  });

  test('that is slow makes nobody wait for long, and is there for the next who asks', async () => {
    let finish = (): void => {};
    const server = await serveHttp((_, response) => {
      finish = () => response.end(ca.list());
    });
    const anna = ca.issue({ points: [point(`${server.url}/`)] });
    const source = open({ patience: 300 });
    assert.equal(await says(source, anna, ca), `unknown CRL ${server.url}/ is being fetched`);
    finish();
    await eventually(async () => (await says(source, anna, ca)) === `good CRL ${server.url}/`);
  });

  test('P6: of a CA whose servers say nothing holds up no list of another', async () => {
    const silent = await Promise.all(Array.from({ length: 4 }, () => serveHttp(() => {})));
    const partner = makeCa('Partner');
    const published = await publish();
    const url = `${published.server.url}/`;
    const anna = ca.issue({ points: [point(url)] });
    published.list = ca.list({ entries: [entry(contentOf(anna), reason(1))] });
    const source = open({ patience: 2000 });
    const waiting = silent.map((server) => says(source, partner.issue({ points: [point(`${server.url}/`)] }), partner));
    await eventually(() => Promise.resolve(silent.filter((server) => server.connections() > 0).length === 2));
    assert.equal(await says(source, anna, ca), `revoked keyCompromise CRL ${url}`);
    for (const answer of await Promise.all(waiting)) assert.match(answer, /is being fetched$/);
  });

  test('at a URL that two CAs name: each is held to its own key', async () => {
    const other = makeCa('CA');
    const published = await publish(ca.list());
    const url = `${published.server.url}/`;
    const source = open();
    assert.equal(await says(source, ca.issue({ points: [point(url)] }), ca), `good CRL ${url}`);
    assert.match(await says(source, other.issue({ points: [point(url)] }), other), /signature is not by the issuer of the certificate$/);
  });

  test('is got anew before it ends, and while it is not to be had the old one serves until it does', async () => {
    const clock = { time: NOW };
    const published = await publish(ca.list());
    const url = `${published.server.url}/`;
    const anna = ca.issue({ points: [point(url)] });
    const source = open({ clock });
    assert.equal(await says(source, anna, ca), `good CRL ${url}`);
    published.list = undefined;
    clock.time = NOW + 20 * HOUR;
    assert.equal(await says(source, anna, ca), `good CRL ${url}`);
    await eventually(() => Promise.resolve(published.asked === 2));
    published.list = ca.list({ from: NOW + 20 * HOUR, until: NOW + 3 * DAY, entries: [entry(contentOf(anna), reason(4))] });
    clock.time += HOUR;
    await eventually(async () => (await says(source, anna, ca)) === `revoked superseded CRL ${url}`);
  });

  test('A23: an older list that is served later does not take the place of a newer one, on disk neither', async () => {
    const clock = { time: NOW };
    const cache = { folder: temporaryFolder(), writable: true };
    const published = await publish();
    const url = `${published.server.url}/`;
    const anna = ca.issue({ points: [point(url)] });
    const old = ca.list({ from: NOW - 3 * DAY, until: NOW + 10 * DAY });
    published.list = ca.list({ entries: [entry(contentOf(anna), reason(6))], until: NOW + 10 * DAY });
    const source = open({ clock, cache });
    const held = `revoked certificateHold CRL ${url}`;
    assert.equal(await says(source, anna, ca), held);
    published.list = old;
    clock.time = NOW + 6 * DAY;
    assert.equal(await says(source, anna, ca), held);
    await eventually(() => Promise.resolve(published.asked === 2));
    // Behind whatever the thread has to do with the old one.
    clock.time = NOW + 7 * DAY;
    await eventually(async () => (await says(source, anna, ca)) === held && published.asked >= 3);
    published.server.close();
    assert.equal(await says(open({ clock, cache }), anna, ca), held);
  });

  test('A23: an older list that is served after a restart does not undo what a copy revokes that has gone stale', async () => {
    const clock = { time: NOW };
    const cache = { folder: temporaryFolder(), writable: true };
    const published = await publish();
    const url = `${published.server.url}/`;
    const anna = ca.issue({ points: [point(url)] });
    const ben = ca.issue({ points: [point(url)] });
    published.list = ca.list({ entries: [entry(contentOf(anna), reason(1))], until: NOW + DAY });
    assert.equal(await says(open({ clock, cache }), anna, ca), `revoked keyCompromise CRL ${url}`);
    published.list = ca.list({ from: NOW - 3 * DAY, until: NOW + 10 * DAY });
    clock.time = NOW + 2 * DAY;
    for (const _ of ['restart', 'restart again']) {
      const source = open({ clock, cache });
      assert.equal(await says(source, anna, ca), `revoked keyCompromise CRL ${url}`);
      assert.equal(
        await says(source, ben, ca),
        `unknown CRL ${url} is stale since 2026-06-02T12:00:00.000Z; a newer one: what is served is older than this one`,
      );
    }
  });

  test('A23: an authentic list of another scope does not take its place, in memory and on disk neither', async () => {
    for (const other of [{ cas: true }, { urls: ['http://other.example/p2.crl'] }, { attributes: true }, { partial: true }]) {
      const clock = { time: NOW };
      const cache = { folder: temporaryFolder(), writable: true };
      const published = await publish();
      const url = `${published.server.url}/`;
      const anna = ca.issue({ points: [point(url)] });
      published.list = ca.list({ entries: [entry(contentOf(anna), reason(1))], until: NOW + 7 * DAY });
      const source = open({ clock, cache });
      const revoked = `revoked keyCompromise CRL ${url}`;
      assert.equal(await says(source, anna, ca), revoked);
      published.list = ca.list({ from: NOW + HOUR, until: NOW + 30 * DAY, extensions: [scope(other)] });
      clock.time = NOW + DAY;
      await says(source, anna, ca);
      await eventually(async () => Promise.resolve(published.asked === 2));
      clock.time = NOW + 8 * DAY;
      assert.equal(await says(source, anna, ca), revoked, JSON.stringify(other));
      assert.equal(await says(open({ clock, cache }), anna, ca), revoked, JSON.stringify(other));
      // For whom nothing is held yet it is unknown, and does not last.
      const fresh = await says(open({ clock }), anna, ca);
      assert.match(fresh, /^unknown CRL \S+ (?:is not used: it |covers)[^,]*$/);
    }
  });

  test('one URL for users and CAs: each is held to the lists that speak for it', async () => {
    const published = await publish(ca.list({ extensions: [scope({ users: true })] }));
    const url = `${published.server.url}/`;
    const source = open();
    assert.equal(await says(source, ca.issue({ points: [point(url)] }), ca), `good CRL ${url}`);
    assert.equal(
      await says(source, ca.issue({ points: [point(url)], ca: true }), ca),
      `unknown CRL ${url} is not used: it does not speak for CAs`,
    );
  });

  test('A23: gone stale while nobody answers it is unknown, which does not last', async () => {
    const clock = { time: NOW };
    const published = await publish(ca.list());
    const anna = ca.issue({ points: [point(`${published.server.url}/`)] });
    const source = open({ clock });
    await says(source, anna, ca);
    published.server.close();
    clock.time = NOW + 2 * DAY;
    assert.match(
      await says(source, anna, ca),
      /^unknown CRL \S+ is stale since 2026-06-02T12:00:00\.000Z; a newer one: \S+ was asked in vain: ECONNREFUSED$/,
    );
  });
});

describe('what is not asked', () => {
  test('each with its reason, which lasts', async () => {
    const source = open();
    const of = (...points: Buffer[]): Promise<string> => says(source, ca.issue({ points }), ca);
    assert.equal(await of(), 'unknown the certificate names no list, lasting');
    assert.equal(await of(point('ldap://dc.example/CA')), 'unknown a list is not fetched: ldap: URLs are not fetched, lasting');
    assert.equal(await of(point('file:///etc/passwd')), 'unknown a list is not fetched: file: URLs are not fetched, lasting');
    assert.equal(
      await of(point('http://10.0.0.1/ca.crl')),
      'unknown CRL http://10.0.0.1/ca.crl is not used: its address is not public; where it is yours, list its network in fetch_networks, lasting',
    );
    assert.equal(
      await of(indirectPoint('http://127.0.0.1/')),
      'unknown the certificate names an indirect list, which is not taken, lasting',
    );
    const mute = makeCa('mute', { signsLists: false });
    assert.equal(await says(source, mute.issue({}), mute), 'unknown CN=mute may not sign lists (key usage), lasting');
  });

  test('a point for some reasons only revokes, and is good for nobody', async () => {
    const published = await publish();
    const url = `${published.server.url}/`;
    const [anna, ben] = [ca.issue({ points: [partialPoint(url)] }), ca.issue({ points: [partialPoint(url)] })];
    published.list = ca.list({ entries: [entry(contentOf(ben), reason(1))], extensions: [scope({ partial: true })] });
    const source = open();
    assert.equal(await says(source, anna, ca), `unknown CRL ${url} covers some reasons only`);
    assert.equal(await says(source, ben, ca), `revoked keyCompromise CRL ${url}`);
    published.list = ca.list();
    assert.equal(await says(open(), anna, ca), `unknown CRL ${url} is named for some reasons only, lasting`);
  });
});

describe('P5: what came over the network lasts for nobody', () => {
  const sha1 = Buffer.from('300906072a8648ce3d0401', 'hex');
  const sent: readonly (readonly [string, Buffer, RegExp])[] = [
    ['octets that nobody signed, with the name of SHA-1', ca.list({ algorithm: sha1, key: makeCa('CA').key }), /is not taken$/],
    ['a delta list that the CA signed', ca.list({ extensions: [deltaIndicator] }), /delta list, which is not taken$/],
    ['a list without nextUpdate', ca.list({ until: null }), /nextUpdate\)$/],
  ];
  for (const [what, list, why] of sent)
    test(what, async () => {
      const published = await publish(list);
      assert.match(await says(open(), ca.issue({ points: [point(`${published.server.url}/`)] }), ca), why);
    });
});

describe('copies on disk', () => {
  test('serve after a restart without the server, are closed to others, and tell what they are of to nobody', async () => {
    const cache = { folder: temporaryFolder(), writable: true };
    const published = await publish(ca.list());
    const url = `${published.server.url}/`;
    const anna = ca.issue({ points: [point(url)] });
    await says(open({ cache }), anna, ca);
    published.server.close();
    assert.equal(await says(open({ cache }), anna, ca), `good CRL ${url}`);
    const [name = '', ...others] = readdirSync(join(cache.folder, 'crls'));
    assert.match(name, /^[0-9a-f]{64}\.crl$/);
    assert.deepEqual(others, []);
    assert.equal(statSync(join(cache.folder, 'crls', name)).mode & 0o777, 0o600);
    assert.deepEqual(readFileSync(join(cache.folder, 'crls', name)), published.list);
  });

  test('A23: that are older than two days are renewed before they serve after a restart, where that is possible', async () => {
    const cache = { folder: temporaryFolder(), writable: true };
    const published = await publish();
    const url = `${published.server.url}/`;
    const anna = ca.issue({ points: [point(url)] });
    const clock = { time: Date.now() };
    published.list = ca.list({ from: clock.time - HOUR, until: clock.time + 30 * DAY });
    assert.equal(await says(open({ cache, clock }), anna, ca), `good CRL ${url}`);
    clock.time += 20 * DAY;
    published.list = undefined;
    assert.equal(await says(open({ cache, clock }), anna, ca), `good CRL ${url}`);
    published.list = ca.list({ from: clock.time, until: clock.time + 30 * DAY, entries: [entry(contentOf(anna), reason(1))] });
    assert.equal(await says(open({ cache, clock }), anna, ca), `revoked keyCompromise CRL ${url}`);
  });

  test('that somebody changed are thrown away and fetched anew', async () => {
    const cache = { folder: temporaryFolder(), writable: true };
    const published = await publish();
    const url = `${published.server.url}/`;
    const anna = ca.issue({ points: [point(url)] });
    published.list = ca.list({ entries: [entry(contentOf(anna), reason(1))] });
    await says(open({ cache }), anna, ca);
    const [name = ''] = readdirSync(join(cache.folder, 'crls'));
    const path = join(cache.folder, 'crls', name);
    for (const hostile of [makeCa('CA').list(), published.list.subarray(0, 100), randomBytes(1000), Buffer.alloc(0)]) {
      writeFileSync(path, hostile);
      assert.equal(await says(open({ cache }), anna, ca), `revoked keyCompromise CRL ${url}`);
      assert.deepEqual(readFileSync(path), published.list);
    }
  });

  test('that are damaged while the server is down leave nothing behind, and nothing to go by', async () => {
    const cache = { folder: temporaryFolder(), writable: true };
    const published = await publish(ca.list());
    const anna = ca.issue({ points: [point(`${published.server.url}/`)] });
    await says(open({ cache }), anna, ca);
    published.server.close();
    const [name = ''] = readdirSync(join(cache.folder, 'crls'));
    writeFileSync(join(cache.folder, 'crls', name), 'damaged');
    assert.match(await says(open({ cache }), anna, ca), /^unknown CRL \S+ is not used: \S+ was asked in vain: ECONNREFUSED$/);
    assert.deepEqual(readdirSync(join(cache.folder, 'crls')), []);
  });

  test('a command that only looks writes none and takes none away', async () => {
    const folder = temporaryFolder();
    const published = await publish(ca.list());
    const anna = ca.issue({ points: [point(`${published.server.url}/`)] });
    await says(open({ cache: { folder, writable: false } }), anna, ca);
    assert.equal(existsSync(join(folder, 'crls')), false);
  });
});

describe('the folder of lists', () => {
  const local = (): { folder: string; place: (name: string, list: Buffer) => void } => {
    const folder = join(temporaryFolder(), 'crls');
    mkdirSync(folder);
    return {
      folder,
      place: (name, list) => {
        writeFileSync(join(folder, '.new'), list);
        renameSync(join(folder, '.new'), join(folder, name));
      },
    };
  };

  test('answers for a CA that names no list, by its issuer; the newest first; live', async () => {
    const { folder, place } = local();
    const anna = ca.issue({});
    place('notes.md', Buffer.from('not a list'));
    place('other.crl', makeCa('other').list());
    const source = open({ folder });
    assert.equal(await says(source, anna, ca), 'unknown the certificate names no list, lasting');
    place('ca.crl', ca.list());
    await eventually(async () => (await says(source, anna, ca)) === 'good CRL crls/ca.crl');
    place(
      'ca-2.pem',
      Buffer.from(
        `-----BEGIN X509 CRL-----\n${ca.list({ from: NOW, entries: [entry(contentOf(anna))] }).toString('base64')}\n-----END X509 CRL-----\n`,
      ),
    );
    await eventually(async () => (await says(source, anna, ca)) === 'revoked unspecified CRL crls/ca-2.pem');
  });

  test('A23: of more lists of one issuer than are read the newest count, whatever their names', async () => {
    const { folder, place } = local();
    const anna = ca.issue({});
    for (let day = 1; day <= 30; day++) {
      const from = NOW - (30 - day) * DAY;
      const entries = day >= 18 ? [entry(contentOf(anna), reason(1))] : [];
      place(`ca-${String(day).padStart(2, '0')}.crl`, ca.list({ from, until: from + 31 * DAY, entries }));
    }
    assert.equal(await says(open({ folder }), anna, ca), 'revoked keyCompromise CRL crls/ca-30.crl');
  });

  test('comes before what is fetched', async () => {
    const { folder, place } = local();
    const published = await publish(ca.list());
    place('ca.crl', ca.list());
    assert.equal(await says(open({ folder }), ca.issue({ points: [point(`${published.server.url}/`)] }), ca), 'good CRL crls/ca.crl');
    assert.equal(published.asked, 0);
  });

  test('a file that is half written over keeps what it said; one that never was whole is unknown and does not last', async () => {
    const { folder, place } = local();
    const anna = ca.issue({});
    place('ca.crl', ca.list().subarray(0, 10));
    const source = open({ folder });
    assert.equal(await says(source, anna, ca), 'unknown CRL crls/ca.crl cannot be read');
    place('ca.crl', ca.list());
    await eventually(async () => (await says(source, anna, ca)) === 'good CRL crls/ca.crl');
    const next = ca.list({ from: NOW, entries: [entry(contentOf(anna))] });
    place('ca.crl', next.subarray(0, next.length - 20));
    const fresh = open({ folder });
    await eventually(async () => /^unknown CRL crls\/ca\.crl is not used: it cannot be read[^,]*$/.test(await says(fresh, anna, ca)));
    assert.equal(await says(source, anna, ca), 'good CRL crls/ca.crl');
    place('ca.crl', next);
    await eventually(async () => (await says(source, anna, ca)) === 'revoked unspecified CRL crls/ca.crl');
  });

  test('that is not there may come back: unknown, and it does not last (P5)', async () => {
    assert.equal(await says(open({ folder: '/nowhere/crls' }), ca.issue({}), ca), 'unknown the folder crls: ENOENT');
  });
});
