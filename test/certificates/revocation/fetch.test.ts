/** A24: what is fetched for a URL that stands in somebody's certificate, and what is not; with real servers on this machine. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { judgeAddress, parseFetchNetworks } from '../../../src/certificates/revocation/addresses.ts';
import { type FetchOptions, FetchRefused, makeFetch, parseFetchUrl } from '../../../src/certificates/revocation/fetch.ts';
import { makeResolveHost } from '../../../src/certificates/revocation/resolve.ts';
import type { FetchDocument } from '../../../src/certificates/revocation/revocation.ts';
import { eventually, make, noOpenssl, temporaryFolder } from '../openssl.ts';
import { listening, serveHttp, serveOctets } from './servers.ts';

const LOOPBACK = ['127.0.0.0/8'];
const nobody = (): Promise<readonly string[]> => Promise.reject(new Error('no DNS in this test'));
const fetchWith = (options: Partial<FetchOptions>): FetchDocument =>
  makeFetch({ networks: LOOPBACK, resolve: nobody, uptime: () => 0, ...options });
const get = (fetch: FetchDocument, url: string, maxBytes = 1000): Promise<string> =>
  fetch({ url, maxBytes }, AbortSignal.timeout(20_000)).then(String);

describe('A24: addresses', () => {
  const none = parseFetchNetworks([]);
  const refused = `
    127.0.0.1 0.0.0.0 10.1.2.3 100.64.0.1 169.254.169.254 172.31.255.255 192.168.1.1 192.0.2.7
    198.18.0.1 198.51.100.1 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 192.88.99.1
    192.0.0.8 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd12::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1
    ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001:0:1::1 2001:db8::1 3fff::1 100::1
    fec0::1 4000::1 crl.example 127.1 1.2.3 0x7f.0.0.1
  `;
  for (const address of refused.trim().split(/\s+/))
    test(`${address} is refused`, () => assert.equal(judgeAddress(address, none), 'refused'));
  for (const address of ['1.1.1.1', '172.32.0.1', '100.128.0.1', '2606:4700::1', '2a00:1450::5'])
    test(`${address} is public`, () => assert.equal(judgeAddress(address, none), 'public'));

  test('a network that the operator lists is allowed, and nothing beside it', () => {
    const own = parseFetchNetworks(['10.1.0.0/16', 'fd00::/8', '192.168.1.7/32']);
    for (const address of ['10.1.255.1', 'fd12::1', '192.168.1.7']) assert.equal(judgeAddress(address, own), 'listed', address);
    for (const address of ['10.2.0.1', 'fe80::1', '192.168.1.8', '127.0.0.1']) assert.equal(judgeAddress(address, own), 'refused', address);
  });

  test('a network of IPv6 lists no address of IPv4, and the other way round', () => {
    const wide = parseFetchNetworks(['::/1', '64.0.0.0/2']);
    for (const address of ['127.0.0.1', '169.254.169.254', '::ffff:100.64.0.1'])
      assert.equal(judgeAddress(address, parseFetchNetworks(['::/8'])), address.includes(':') ? 'listed' : 'refused', address);
    assert.equal(judgeAddress('169.254.169.254', wide), 'refused');
    assert.equal(judgeAddress('100.64.0.1', wide), 'listed');
    assert.equal(judgeAddress('::ffff:100.64.0.1', parseFetchNetworks(['64.0.0.0/2'])), 'refused');
  });

  test('no IPv4 address within a special network is public, in whatever form', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(10, 127, 0, 224, 255),
        fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 3, maxLength: 3 }),
        (first, rest) => {
          const address = [first, ...rest].join('.');
          assert.equal(judgeAddress(address, none), 'refused');
          assert.equal(judgeAddress(`::ffff:${address}`, none), 'refused');
        },
      ),
    );
  });
});

describe('A24: URLs', () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ['file:///etc/passwd', /file: URLs are not fetched/],
    ['ldap://dc.example/cn=CA?certificateRevocationList', /ldap: URLs are not fetched/],
    ['gopher://10.0.0.1/', /gopher: URLs are not fetched/],
    ['data:text/plain,x', /data: URLs are not fetched/],
    ['http://user:secret@crl.example/', /holds a login/],
    ['not a url', /is none/],
    [`http://crl.example/${'x'.repeat(3000)}`, /too long/],
  ];
  for (const [url, why] of refused)
    test(url.slice(0, 40), () =>
      assert.throws(
        () => parseFetchUrl(url),
        (error: Error) => error instanceof FetchRefused && why.test(error.message),
      ),
    );

  test('addresses in odd forms are what they are', async () => {
    const fetch = fetchWith({ networks: [] });
    for (const host of [
      '127.0.0.1',
      '127.1',
      '2130706433',
      '0x7f000001',
      '0177.0.0.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[::ffff:7f00:1]',
      '0',
    ])
      await assert.rejects(
        get(fetch, `http://${host}/a.crl`),
        (error: Error) => error instanceof FetchRefused && /not public/.test(error.message),
        host,
      );
  });

  test('on a public address only ports 80 and 443', async () => {
    const fetch = fetchWith({ resolve: () => Promise.resolve(['1.1.1.1']) });
    await assert.rejects(get(fetch, 'http://crl.example:25/'), /ports other than 80 and 443/);
    await assert.rejects(get(fetch, 'http://1.1.1.1:6379/'), FetchRefused);
  });
});

describe('A24: names', () => {
  test('every address of a name must be allowed', async () => {
    const server = await serveHttp((_, response) => response.end('list'));
    const of = (...addresses: string[]): FetchDocument => fetchWith({ resolve: () => Promise.resolve(addresses) });
    const url = `http://crl.example:${server.port}/`;
    assert.equal(await get(of('127.0.0.1'), url), 'list');
    await assert.rejects(get(of('127.0.0.1', '10.0.0.1'), url), /not public/);
    await assert.rejects(get(of(), url), /no address/);
    assert.equal(server.connections(), 1);
  });

  test('rebinding: the address that was judged is connected to, and DNS is asked once', async () => {
    const inside = await serveHttp((_, response) => response.end('secret'));
    let asked = 0;
    // Public at first, this machine from then on.
    const resolve = (): Promise<readonly string[]> => Promise.resolve(asked++ === 0 ? ['127.0.0.2'] : ['127.0.0.1']);
    const fetch = fetchWith({ networks: ['127.0.0.2/32'], resolve });
    await assert.rejects(get(fetch, `http://rebind.example:${inside.port}/`), /ECONNREFUSED/);
    assert.equal(asked, 1);
    assert.equal(inside.connections(), 0);
  });

  test('what DNS says of a name that nobody has is an error that says so', async () => {
    const silent = makeResolveHost(['127.0.0.1:1']);
    await assert.rejects(get(fetchWith({ resolve: silent }), 'http://crl.example/'), /crl\.example was asked in vain: E[A-Z]+$/);
  });
});

describe('A24: answers', () => {
  const answers: readonly (readonly [string, (url: string) => Promise<{ readonly url: string }>, RegExp])[] = [
    [
      'a redirect',
      () => serveHttp((_, r) => r.writeHead(302, { location: 'http://127.0.0.1/x' }).end()),
      /a redirect, which is not followed/,
    ],
    ['404', () => serveHttp((_, r) => r.writeHead(404).end('no')), /it answers 404/],
    ['204', () => serveHttp((_, r) => r.writeHead(204).end()), /it answers 204/],
    ['gzip', () => serveHttp((_, r) => r.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('x'))), /content encoding/],
    [
      '10 GB declared',
      () => serveHttp((_, r) => r.writeHead(200, { 'content-length': 10_000_000_000 }).write('x')),
      /more than 1000 octets/,
    ],
    [
      'an endless stream',
      () =>
        serveHttp((_, r) => {
          const pour = (): void => {
            while (!r.destroyed && r.write('x'.repeat(10_000)));
          };
          r.on('drain', pour).writeHead(200);
          pour();
        }),
      /more than 1000 octets/,
    ],
    ['less than declared', () => serveOctets((s) => s.end('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf')), /asked in vain: /],
    [
      'a chunk that breaks off',
      () => serveOctets((s) => s.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf')),
      /asked in vain: /,
    ],
    ['endless header', () => serveOctets((s) => s.write(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`)), /HPE_HEADER_OVERFLOW/],
    ['no HTTP', () => serveOctets((s) => s.end('220 mail.example ESMTP\r\n')), /HPE_INVALID/],
    ['nothing', () => serveOctets((s) => s.end()), /ECONNRESET/],
    [
      'a switch of protocols',
      () => serveOctets((s) => s.write('HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n')),
      /it answers 101/,
    ],
  ];
  for (const [what, serve, why] of answers) {
    test(what, async () => {
      const server = await serve('');
      await assert.rejects(get(fetchWith({}), `${server.url}/a.crl`), why);
    });
  }

  test('a slow drip is cut off at the floor rate, long before the time is over', async () => {
    const server = await serveHttp((_, response) => {
      const timer = setInterval(() => response.write('x'), 20);
      response.on('close', () => clearInterval(timer));
      response.writeHead(200, { 'content-length': 900 });
    });
    await assert.rejects(
      get(fetchWith({ pace: { silence: 10_000, floor: 1000, grace: 200 } }), server.url),
      /less than 1000 octets a second/,
    );
  });

  test('a server that takes the connection and says nothing is given up, long before the time is over', async () => {
    const server = await serveOctets(() => {});
    const fetch = fetchWith({ pace: { silence: 200, floor: 1000, grace: 200 } });
    await assert.rejects(get(fetch, server.url, 64 * 1024 * 1024), /asked in vain: it does not answer$/);
  });

  test('whole answers, chunked or with more behind their length; a POST brings its body', async () => {
    const chunked = await serveHttp((_, response) => {
      response.write('a list, ');
      response.end('in pieces');
    });
    assert.equal(await get(fetchWith({}), chunked.url), 'a list, in pieces');
    const longer = await serveOctets((socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlist and more'));
    assert.equal(await get(fetchWith({}), longer.url), 'list');
    const echo = await serveHttp((request, response) => {
      const { host, cookie, authorization } = request.headers;
      response.write(`${request.method} ${request.headers['content-type']} ${host} ${cookie} ${authorization} `);
      request.pipe(response);
    });
    const body = { type: 'application/ocsp-request', octets: Buffer.from('question') };
    const answer = await fetchWith({})({ url: echo.url, body, maxBytes: 1000 }, AbortSignal.timeout(20_000));
    assert.equal(String(answer), `POST application/ocsp-request 127.0.0.1:${echo.port} undefined undefined question`);
  });

  test('exactly as long as is taken', async () => {
    const server = await serveHttp((_, response) => response.end('x'.repeat(1000)));
    assert.equal((await get(fetchWith({}), server.url, 1000)).length, 1000);
    await assert.rejects(get(fetchWith({}), server.url, 999), /more than 999 octets/);
  });
});

test('https: the server must have a certificate of a known CA for its name', { skip: noOpenssl }, async () => {
  const folder = temporaryFolder();
  make(folder, { name: 'server', extensions: ['subjectAltName=DNS:crl.example', 'basicConstraints=CA:TRUE'] });
  const [key, cert] = ['server.key', 'server.pem'].map((name) => readFileSync(join(folder, name), 'latin1'));
  const server = await listening(
    createHttpsServer({ key: key ?? '', cert: cert ?? '' }, (_, response) => response.end('list')),
    'https',
  );
  const resolve = (): Promise<readonly string[]> => Promise.resolve(['127.0.0.1']);
  const at = (name: string): string => `https://${name}:${server.port}/`;
  await assert.rejects(get(fetchWith({ resolve }), at('crl.example')), /DEPTH_ZERO_SELF_SIGNED_CERT/);
  const known = { resolve, ca: cert ?? '' };
  assert.equal(await get(fetchWith(known), at('crl.example')), 'list');
  await assert.rejects(get(fetchWith(known), at('other.example')), /ERR_TLS_CERT_ALTNAME_INVALID/);
});

describe('load on others', () => {
  test('a dead server is asked once and left alone for a while that doubles', async () => {
    let time = 0;
    let asked = 0;
    const server = await serveHttp((_, response) => {
      asked++;
      response.destroy();
    });
    const fetch = fetchWith({ uptime: () => time });
    const fails = (): Promise<void> => assert.rejects(get(fetch, server.url), /asked in vain/);
    await fails();
    await fails();
    assert.equal(asked, 1);
    time += 5001;
    await fails();
    assert.equal(asked, 2);
    time += 5001;
    await fails();
    assert.equal(asked, 2, 'ten seconds the second time');
    time += 5000;
    await fails();
    assert.equal(asked, 3);
  });

  test('A24: https and http of one host are two servers: who names the one silences nobody at the other', async () => {
    const server = await serveHttp((_, response) => response.end('list'));
    const fetch = fetchWith({});
    await assert.rejects(get(fetch, `https://127.0.0.1:${server.port}/x`), /asked in vain/);
    assert.equal(await get(fetch, `http://127.0.0.1:${server.port}/x`), 'list');
    await assert.rejects(get(fetch, `https://127.0.0.1:${server.port}/y`), /asked in vain/);
    assert.equal(server.connections(), 2);
  });

  test('a document that is not there does not keep others of its server from being fetched', async () => {
    const server = await serveHttp((request, response) => response.writeHead(request.url === '/a' ? 404 : 200).end('list'));
    const fetch = fetchWith({});
    await assert.rejects(get(fetch, `${server.url}/a`), /404/);
    assert.equal(await get(fetch, `${server.url}/b`), 'list');
  });

  test('many who ask for one document cause one request; one who gives up does not end it for the others', async () => {
    let [asked, answer] = [0, (): void => {}];
    const server = await serveHttp((_, response) => {
      asked++;
      answer = () => response.end('list');
    });
    const fetch = fetchWith({});
    const gone = new AbortController();
    const impatient = fetch({ url: server.url, maxBytes: 1000 }, gone.signal);
    const patient = Array.from({ length: 20 }, () => get(fetch, server.url));
    await eventually(() => Promise.resolve(asked > 0));
    gone.abort(new Error('gone'));
    await assert.rejects(impatient, /gone/);
    answer();
    assert.deepEqual(new Set(await Promise.all(patient)), new Set(['list']));
    assert.equal(asked, 1);
  });

  test('where all have given up the request ends, and that is no failure of the server', async () => {
    let closed = 0;
    const server = await serveHttp((request, response) => {
      if (request.url === '/b') response.end('list');
      else response.on('close', () => closed++);
    });
    const fetch = fetchWith({});
    await assert.rejects(fetch({ url: `${server.url}/a`, maxBytes: 10 }, AbortSignal.timeout(200)), { name: 'TimeoutError' });
    assert.equal(await get(fetch, `${server.url}/b`), 'list');
    await eventually(() => Promise.resolve(closed > 0));
  });

  test('no more than two requests at a time for one server', async () => {
    let [now, most] = [0, 0];
    const server = await serveHttp((_, response) => {
      most = Math.max(most, ++now);
      setTimeout(() => {
        now--;
        response.end('list');
      }, 30);
    });
    const fetch = fetchWith({});
    await Promise.all(Array.from({ length: 10 }, (_, index) => get(fetch, `${server.url}/${index}`)));
    assert.equal(most, 2);
  });
});
