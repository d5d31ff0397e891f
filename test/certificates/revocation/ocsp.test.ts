/** Asking responders: openssl's as a process, dead ones, slow ones, and what is remembered of them (A23, P6). */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { type AnswerStore, makeOcspSource } from '../../../src/certificates/revocation/ocsp.ts';
import { certIdOf } from '../../../src/certificates/revocation/ocsp-request.ts';
import type { FetchDocument, RevocationSource, RevocationStatus } from '../../../src/certificates/revocation/revocation.ts';
import { caExtensions, eventually, make, noOpenssl, temporaryFolder } from '../openssl.ts';
import { craftAnswer, refusal, revoked, single } from './craft.ts';
import { freePort, guardedFetch, read, startResponder, writeIndex } from './responder.ts';

const HOUR = 3_600_000;
const NOW = Date.now();
const SIGNAL = new AbortController().signal;
const san = 'subjectAltName=email:anna@example.org';

function memory() {
  const kept = new Map<string, Buffer>();
  const store: AnswerStore = {
    read: async (name) => kept.get(name),
    write: async (name, octets) => void kept.set(name, octets),
  };
  return { kept, store };
}

describe('an OCSP source', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  const open: { close: () => Promise<void> | void }[] = [];
  let port: number;
  let root: Certificate;
  let anna: Certificate;
  let clock = NOW;

  before(async () => {
    port = await freePort();
    make(folder, { name: 'root', extensions: caExtensions });
    const names = [`authorityInfoAccess=OCSP;URI:http://127.0.0.1:${port}/ocsp`, san];
    make(folder, { name: 'anna', issuer: 'root', extensions: names });
    make(folder, { name: 'ben', issuer: 'root', extensions: names });
    make(folder, {
      name: 'two',
      issuer: 'root',
      extensions: [`authorityInfoAccess=OCSP;URI:http://one.test/,OCSP;URI:http://two.test/`, san],
    });
    make(folder, { name: 'none', issuer: 'root' });
    make(folder, { name: 'responder', issuer: 'root', extensions: ['extendedKeyUsage=OCSPSigning'] });
    make(folder, { name: 'ldap', issuer: 'root', extensions: ['authorityInfoAccess=OCSP;URI:ldap://x.test/', san] });
    [root, anna] = [read(folder, 'root'), read(folder, 'anna')];
    writeIndex(folder, 'index', [
      { certificate: anna, status: 'V' },
      { certificate: read(folder, 'ben'), status: 'R 260501120000Z,cessationOfOperation' },
    ]);
  });
  after(async () => {
    for (const one of open) await one.close();
  });

  const source = (fetch: FetchDocument, store?: AnswerStore): RevocationSource => {
    clock = NOW;
    const made = makeOcspSource({ fetch, now: () => clock, ...(store === undefined ? {} : { store }) });
    open.push(made);
    return made;
  };
  const answer = (status?: Buffer, from = NOW, hours = 10): Buffer => {
    const optional = status === undefined ? {} : { status };
    const singles = [single({ id: certIdOf(anna, root), from, to: from + hours * HOUR, ...optional })];
    return craftAnswer({ folder, signer: root, name: 'root', singles, producedAt: from });
  };
  const text = (status: RevocationStatus): string =>
    status.kind === 'unknown' ? `${status.lasting ? 'lasting: ' : ''}${status.why}` : status.kind;

  test('asks the responder that the certificate names; nobody there is unknown, not good', async () => {
    const url = `OCSP http://127.0.0.1:${port}/ocsp`;
    const responder = await startResponder(folder, port, { ca: 'root', signer: 'root', index: 'index', more: ['-ndays', '7'] });
    const asking = source(guardedFetch());
    try {
      const good = await asking.status(anna, root, SIGNAL);
      assert.equal(good.kind, 'good');
      assert.equal(good.from, url);
      assert.deepEqual(await asking.status(read(folder, 'ben'), root, SIGNAL), {
        kind: 'revoked',
        from: url,
        at: new Date('2026-05-01T12:00:00Z'),
        reason: 'cessationOfOperation',
      });
    } finally {
      await responder.stop();
    }
    assert.equal((await asking.status(anna, root, SIGNAL)).kind, 'good', 'what was said counts while it lasts');
    const dead = await source(guardedFetch()).status(anna, root, SIGNAL);
    assert.equal(dead.kind, 'unknown');
    assert.equal(dead.lasting, false);
    assert.ok(dead.why.startsWith(url));
  });

  test('P6: of many responders that a certificate names the first three are asked', async () => {
    const asked: string[] = [];
    const asking = source(async ({ url }) => {
      asked.push(url);
      throw new Error('connection refused');
    });
    const ocspUrls = Array.from({ length: 100 }, (_, at) => `http://${at}.test/`);
    assert.match(text(await asking.status({ ...anna, ocspUrls }, root, SIGNAL)), /connection refused/);
    assert.deepEqual(asked, ocspUrls.slice(0, 3));
  });

  test('a certificate that names no responder to be asked is unknown for good', async () => {
    const never: FetchDocument = () => assert.fail('nothing is to be fetched');
    const asking = source(never);
    assert.equal(text(await asking.status(read(folder, 'none'), root, SIGNAL)), 'lasting: it names no OCSP responder');
    assert.match(text(await asking.status(read(folder, 'ldap'), root, SIGNAL)), /^lasting: .*something else than http/);
  });

  test('A23: a dead responder costs one look-up its time, and is asked again after a pause that grows', async () => {
    let asked = 0;
    const asking = source(async () => {
      asked++;
      throw new Error('connection refused');
    });
    const askedAt: number[] = [];
    for (let seconds = 0; seconds <= 2400; seconds += 10) {
      clock = NOW + seconds * 1000;
      const before = asked;
      assert.match(text(await asking.status(anna, root, SIGNAL)), /connection refused/);
      if (asked > before) askedAt.push(seconds);
    }
    assert.deepEqual(askedAt, [0, 30, 90, 210, 450, 750, 1050, 1350, 1650, 1950, 2250]);
  });

  test('askers share one request, and each waits no longer than it wants to', async () => {
    const given = Promise.withResolvers<Buffer>();
    let asked = 0;
    const asking = source(async () => {
      asked++;
      return given.promise;
    });
    const patient = Promise.all([1, 2, 3].map(() => asking.status(anna, root, SIGNAL)));
    assert.equal(text(await asking.status(anna, root, AbortSignal.timeout(20))), 'its OCSP responder has not answered yet');
    assert.equal(text(await asking.status(anna, root, AbortSignal.abort())), 'its OCSP responder has not answered yet');
    given.resolve(answer());
    assert.deepEqual((await patient).map(text), ['good', 'good', 'good']);
    assert.equal(text(await asking.status(anna, root, AbortSignal.abort())), 'good', 'the request went on without who gave up');
    assert.equal(asked, 1);
  });

  test('an answer is asked for anew ahead of its end, in the background, and counts when nobody is there', async () => {
    let [asked, up] = [0, true];
    const asking = source(async () => {
      asked++;
      if (!up) throw new Error('gone');
      return answer(undefined, clock);
    });
    await asking.status(anna, root, SIGNAL);
    clock += 4 * HOUR;
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'good');
    assert.equal(asked, 1);
    clock += 2 * HOUR;
    up = false;
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'good');
    await eventually(async () => asked === 2);
    await setImmediate();
    clock += 3 * HOUR;
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'good', 'until its nextUpdate');
    await eventually(async () => asked === 3);
    await setImmediate();
    clock += 2 * HOUR;
    assert.match(text(await asking.status(anna, root, SIGNAL)), /gone/, 'and not beyond');
    up = true;
    clock += HOUR;
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'good');
  });

  test('A23: an older answer, played again, does not undo a revocation', async () => {
    const old = answer(undefined, NOW - HOUR, 20);
    let next = answer(revoked(NOW, 1));
    const asking = source(async () => next);
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'revoked');
    next = old;
    clock += 6 * HOUR;
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'revoked');
    clock += 5 * HOUR;
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'revoked', 'beyond its end');
    await setImmediate();
    next = answer(undefined, clock, 20);
    clock += HOUR;
    await asking.status(anna, root, SIGNAL);
    await eventually(async () => text(await asking.status(anna, root, SIGNAL)) === 'good');
  });

  test('A23: revoked stays so beyond its end and over a restart while the responder is kept away; a hold does not', async () => {
    const down: FetchDocument = async () => {
      throw new Error('down');
    };
    for (const [reason, later] of [
      [1, /^revoked$/],
      [6, /down$/],
    ] as const) {
      const { store } = memory();
      let up = true;
      const asking = source(async (...question) => (up ? answer(revoked(NOW, reason), NOW, 1) : down(...question)), store);
      assert.equal(text(await asking.status(anna, root, SIGNAL)), 'revoked');
      up = false;
      clock += 2 * HOUR;
      assert.match(text(await asking.status(anna, root, SIGNAL)), later);
      assert.match(text(await asking.status(anna, root, AbortSignal.abort())), later, 'who does not wait hears it too');
      assert.equal(text(await source(down, store).status(anna, root, AbortSignal.abort())), 'revoked', 'without waiting');
      const restarted = source(down, store);
      clock += 2 * HOUR;
      assert.match(text(await restarted.status(anna, root, SIGNAL)), later);
      clock += 30 * 24 * HOUR;
      assert.match(text(await restarted.status(anna, root, SIGNAL)), later);
    }
  });

  test('A23: after a restart an older answer is not believed over one on disk that has ended', async () => {
    const { store } = memory();
    await source(async () => answer(revoked(NOW, 6), NOW, 1), store).status(anna, root, SIGNAL);
    const restarted = source(async () => answer(undefined, NOW - HOUR, 20), store);
    clock += 2 * HOUR;
    assert.match(text(await restarted.status(anna, root, SIGNAL)), /older than one that was there before/);
    const newer = source(async () => answer(undefined, NOW + HOUR, 20), store);
    clock += 2 * HOUR;
    assert.equal(text(await newer.status(anna, root, SIGNAL)), 'good');
  });

  test('P5: no octets that came over the network make what is unknown last', async () => {
    for (const octets of [refusal(5), refusal(1), Buffer.from('<html>'), answer().subarray(9)])
      assert.doesNotMatch(text(await source(async () => octets).status(anna, root, SIGNAL)), /^lasting/);
  });

  test('a clock that was ahead and is set right leaves nothing behind', async () => {
    let asked = 0;
    let next: Buffer | undefined;
    const asking = source(async () => {
      asked++;
      if (next === undefined) throw new Error('down');
      return next;
    });
    clock += 200 * 24 * HOUR;
    for (let times = 0; times < 5; times++) {
      assert.match(text(await asking.status(anna, root, SIGNAL)), /down/);
      clock += HOUR;
    }
    clock = NOW;
    assert.match(text(await asking.status(anna, root, SIGNAL)), /down/);
    assert.equal(asked, 6, 'no pause of that time holds');
    clock += 31_000;
    next = answer(undefined, NOW, 200);
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'good', 'nor has the pause grown');
    clock += 150 * HOUR;
    await asking.status(anna, root, SIGNAL);
    await eventually(async () => asked === 8);
    await setImmediate();
    clock -= 100 * HOUR;
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'good');
    await eventually(async () => asked === 9);
  });

  test('A23: a responder that a list at hand revokes is not believed, nor is what is kept of it', async () => {
    const responder = read(folder, 'responder');
    const singles = [single({ id: certIdOf(anna, root), from: NOW, to: NOW + HOUR })];
    const octets = craftAnswer({ folder, signer: responder, name: 'responder', singles, producedAt: NOW, certificates: [responder] });
    let lists: RevocationStatus['kind'] = 'good';
    const { kept, store } = memory();
    const asking = (): RevocationSource => {
      const listed = async (certificate: Certificate, issuer: Certificate): Promise<RevocationStatus> => {
        assert.deepEqual([certificate.subject, issuer.subject], ['CN=responder', 'CN=root']);
        if (lists === 'revoked') return { kind: lists, from: 'CRL', at: new Date(NOW), reason: 'keyCompromise' };
        return lists === 'good' ? { kind: lists, from: 'CRL', until: new Date(NOW) } : { kind: lists, why: 'none', lasting: false };
      };
      const made = makeOcspSource({ fetch: async () => octets, now: () => NOW, store, listed });
      open.push(made);
      return made;
    };
    for (const kind of ['revoked', 'unknown', 'good', 'revoked'] as const) {
      lists = kind;
      const wanted = kind === 'revoked' ? /responder that signed its answer was revoked/ : /^good$/;
      assert.match(text(await asking().status(anna, root, SIGNAL)), wanted, kind);
    }
    assert.equal(kept.size, 1);
  });

  test('A23: a good answer that nobody has asked about for days is not taken unasked, after a restart neither', async () => {
    const { kept, store } = memory();
    let next = answer(undefined, NOW, 240);
    let up = true;
    const fetch: FetchDocument = async () => {
      if (!up) throw new Error('down');
      return next;
    };
    const asking = source(fetch, store);
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'good');
    const [name = '', old = Buffer.alloc(0)] = [...kept][0] ?? [];
    clock += 9 * 24 * HOUR;
    up = false;
    assert.equal(text(await asking.status(anna, root, SIGNAL)), 'good', 'nobody answers');
    up = true;
    const restarted = source(fetch, { ...store, read: async (wanted) => (wanted === name ? old : undefined) });
    clock = NOW + 9 * 24 * HOUR;
    next = answer(revoked(NOW, 1), clock);
    assert.equal(text(await restarted.status(anna, root, SIGNAL)), 'revoked');
    const idle = source(fetch);
    next = answer(undefined, NOW, 240);
    await idle.status(anna, root, SIGNAL);
    clock += 9 * 24 * HOUR;
    next = answer(revoked(NOW, 1), clock);
    assert.equal(text(await idle.status(anna, root, SIGNAL)), 'revoked');
  });

  test('the second responder is asked where the first has no answer', async () => {
    const two = read(folder, 'two');
    const urls: string[] = [];
    const asking = source(async ({ url }) => {
      urls.push(url);
      if (url === 'http://one.test/') return Buffer.from('<html>');
      const singles = [single({ id: certIdOf(two, root), from: NOW, to: NOW + HOUR })];
      return craftAnswer({ folder, signer: root, name: 'root', singles, producedAt: NOW });
    });
    assert.equal(text(await asking.status(two, root, SIGNAL)), 'good');
    assert.deepEqual(urls, ['http://one.test/', 'http://two.test/']);
  });

  test('answers outlive the process, and are judged again when they are read', async () => {
    const { kept, store } = memory();
    await source(async () => answer(), store).status(anna, root, SIGNAL);
    const [name = ''] = kept.keys();
    assert.match(name, /^[0-9a-f]{64}$/);
    const down: FetchDocument = async () => {
      throw new Error('down');
    };
    assert.equal(text(await source(down, store).status(anna, root, SIGNAL)), 'good');
    const later = source(down, store);
    clock += 11 * HOUR;
    assert.match(text(await later.status(anna, root, SIGNAL)), /down/, 'a stale one does not count');
    const damaged = Buffer.from(kept.get(name) ?? '');
    damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1;
    kept.set(name, damaged);
    assert.match(text(await source(down, store).status(anna, root, SIGNAL)), /down/, 'nor does a damaged one');
    assert.equal(text(await source(async () => answer(), store).status(anna, root, SIGNAL)), 'good');
  });

  test('close ends what is under way', async () => {
    const asking = source(
      (_, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(new Error('closed')));
        }),
    );
    const waiting = asking.status(anna, root, SIGNAL);
    await asking.close();
    assert.equal((await waiting).kind, 'unknown');
  });
});
