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
import { type Ca, contentOf, DAY, entry, HOUR, indirectPoint, makeCa, NOW, partialPoint, point, reason, scope } from './lists.ts';
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
    fetch: makeFetch({ networks: ['127.0.0.0/8'], resolve: nobody, now }),
    folder: undefined,
    cache: { folder: temporaryFolder(), writable: true },
    now,
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
    assert.equal(await says(source, anna, ca), `unknown CRL ${url} covers some reasons only, lasting`);
    assert.equal(await says(source, ben, ca), `revoked keyCompromise CRL ${url}`);
    published.list = ca.list();
    assert.equal(await says(open(), anna, ca), `unknown CRL ${url} is named for some reasons only, lasting`);
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
