/** Servers that do not speak LDAP as they should: none of them moves the process, and none makes anybody absent (A19, A26, P5, P6). */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import { elements } from '../../../src/certificates/ldap/ber.ts';
import { readMessage } from '../../../src/certificates/ldap/message.ts';
import { octetString, sequence, tlv } from '../../../src/certificates/encode.ts';
import { SealpostError } from '../../../src/errors.ts';
import { eventually } from '../openssl.ts';
import { ask, clear, openSource, places, told } from './asking.ts';
import { done, entry, message, result, startFake } from './fake.ts';
import { certificateFor } from './people.ts';

const ADDRESS = 'anna@clinic.example';
const anna = entry('cn=anna', { 'userCertificate;binary': [certificateFor({ address: ADDRESS }).der] });
/** A length of four octets that nothing follows. */
const claims = (tag: number, length: number): Buffer => {
  const head = Buffer.alloc(6, 0x84);
  head[0] = tag;
  head.writeUInt32BE(length, 2);
  return head;
};
const deep = (levels: number): Buffer => {
  let inner: Buffer = Buffer.alloc(0);
  for (let level = 0; level < levels; level++) inner = sequence(inner);
  return inner;
};

const answers: Readonly<Record<string, (socket: Socket, id: number) => void>> = {
  'octets at random': (socket) => socket.write(Buffer.concat([Buffer.from([0x99]), randomBytes(5000)])),
  'another protocol': (socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'),
  'a message of 2 GB': (socket) => socket.write(claims(0x30, 0x7fff_ffff)),
  'a message of 4 GB': (socket) => socket.write(claims(0x30, 0xffff_ffff)),
  // What makes the client of ldapts allocate until the process dies.
  'a list of attributes longer than its message': (socket, id) =>
    socket.write(message(id, tlv(0x64, octetString(Buffer.from('cn=a')), claims(0x30, 0x7fff_ffff)))),
  'a value longer than its set': (socket, id) => {
    const attribute = sequence(octetString(Buffer.from('userCertificate')), tlv(0x31, claims(0x04, 9)));
    socket.write(message(id, tlv(0x64, octetString(Buffer.from('cn=a')), sequence(attribute))));
    socket.write(message(id, done()));
  },
  'an indefinite length': (socket) => socket.write(Buffer.from('3080020101658000', 'hex')),
  'deep nesting': (socket, id) => socket.write(message(id, tlv(0x64, octetString(Buffer.from('cn=a')), deep(10_000)))),
  'a bind response to a search': (socket, id) => socket.write(message(id, result(0x61, 0))),
  'the end in the middle of an entry': (socket, id) => socket.end(message(id, anna).subarray(0, 200)),
  'the end after an entry': (socket, id) => socket.end(message(id, anna)),
  'a reset': (socket) => void socket.resetAndDestroy(),
  'a notice of disconnection': (socket) => socket.write(message(0, result(0x78, 52))),
  'more entries than were asked for': (socket, id) => {
    for (let number = 0; number < 100; number++) socket.write(message(id, anna));
    socket.write(message(id, done()));
  },
  'a hundred thousand references and no end': (socket, id) => {
    const reference = message(id, tlv(0x73, octetString(Buffer.from(`ldap://elsewhere.example/${'x'.repeat(60)}`))));
    socket.write(Buffer.concat(Array.from({ length: 100_000 }, () => reference)));
  },
  'a busy server': (socket, id) => socket.write(message(id, done(51))),
  'a code that nobody knows': (socket, id) => socket.write(message(id, done(80))),
  'values that were cut': (socket, id) =>
    socket.write(
      Buffer.concat([message(id, entry('cn=anna', { 'userCertificate;range=0-1499': [Buffer.from('x')] })), message(id, done())]),
    ),
};

const only =
  (reply: (socket: Socket, id: number) => void) =>
  (socket: Socket, id: number, operation: number): void => {
    if (operation === SEARCH) reply(socket, id);
  };
const SEARCH = 0x63;
const ABANDON = 0x50;

async function against(t: TestContext, reply: (socket: Socket, id: number) => void, patience = 1000) {
  const fake = await startFake(t, only(reply));
  return { fake, source: openSource(t, places([clear(fake.port)]), { patience }) };
}

describe('A26: an answer that is none', () => {
  for (const [name, reply] of Object.entries(answers)) {
    test(name, async (t) => {
      const { source } = await against(t, reply);
      assert.match(await told(source, ADDRESS), /^unavailable: lookup-unavailable: /);
    });
  }

  test('certificates that do not end cost no more memory than an answer may have', async (t) => {
    const chunk = (id: number): Buffer => message(id, entry('cn=anna', { userCertificate: [Buffer.alloc(900_000)] }));
    const flood = (socket: Socket, id: number): void => {
      const more = (): void => {
        while (!socket.destroyed && socket.write(chunk(id)));
      };
      socket.on('drain', more);
      more();
    };
    const { source, fake } = await against(t, flood, 5000);
    const before = process.memoryUsage.rss();
    assert.match(await told(source, ADDRESS), /longer than 4194304 octets/);
    assert.ok(process.memoryUsage.rss() - before < 200 * 1024 * 1024);
    assert.equal(fake.connections(), 1);
  });

  test('a length that is too long ends it at once, not when time is up', async (t) => {
    const { source } = await against(t, answers['a message of 2 GB'] ?? assert.fail, 60_000);
    assert.match(await told(source, ADDRESS), /a message of the directory server is longer than 268435456 octets/);
  });

  test('what nobody asked for ends the connection', async (t) => {
    const stranger = message(77, entry('cn=x', { userCertificate: [Buffer.alloc(500_000)] }));
    const { source } = await against(t, (socket) => void socket.write(Buffer.concat(Array.from({ length: 20 }, () => stranger))), 5000);
    assert.match(await told(source, ADDRESS), /sends what nobody asked for/);
  });
});

describe('A26: one entry that is too much costs the search for it alone', () => {
  const good = (id: number): Buffer => Buffer.concat([message(id, anna), message(id, done())]);
  /** A message of `octets` to the first search, once three more are under way; the later ones are answered behind it. */
  async function amidst(t: TestContext, tooMuch: (id: number) => Buffer) {
    const ids: number[] = [];
    const given = await against(
      t,
      (socket, id) => {
        ids.push(id);
        if (ids.length === 4) {
          socket.write(tooMuch(ids[0] ?? assert.fail()));
          for (const one of ids.slice(1)) socket.write(good(one));
        }
        if (ids.length > 4) socket.write(good(id));
      },
      10_000,
    );
    const mallory = told(given.source, 'mallory@clinic.example');
    await eventually(async () => ids.length === 1);
    const others = ['p1', 'p2', 'p3'].map((name) => told(given.source, `${name}@clinic.example`));
    return { ...given, mallory: await mallory, others: await Promise.all(others), searches: () => ids.length };
  }
  const value = (octets: number): Buffer => entry('cn=mallory', { userSMIMECertificate: [Buffer.alloc(octets, 0x41)] });
  const options = Object.fromEntries(Array.from({ length: 1001 }, (_, index) => [`userSMIMECertificate;x-${index}`, []]));
  const entries: Readonly<Record<string, readonly [(id: number) => Buffer, RegExp]>> = {
    'a value of 1.1 MB': [(id) => message(id, value(1_100_000)), /longer than 1048576 octets/],
    'a value of 1.1 MB, and then the end of the search': [
      (id) => Buffer.concat([message(id, value(1_100_000)), message(id, done())]),
      /longer than 1048576 octets/,
    ],
    'five entries of 1 MB': [(id) => Buffer.concat(Array.from({ length: 5 }, () => message(id, value(1_000_000)))), /longer than 4194304/],
    'an attribute under 1001 options': [(id) => message(id, entry('cn=mallory', options)), /more than 1000 attributes/],
  };
  for (const [name, [tooMuch, expected]] of Object.entries(entries)) {
    test(name, async (t) => {
      const { mallory, others, source, fake, searches } = await amidst(t, tooMuch);
      assert.match(mallory, expected);
      assert.deepEqual(others, ['found', 'found', 'found']);
      assert.equal(await told(source, 'p4@clinic.example'), 'found', 'the server does not rest');
      assert.deepEqual([fake.connections(), searches()], [1, 5]);
      assert.match(await told(source, 'Mallory@clinic.example'), expected);
      assert.equal(searches(), 5, 'the same is not asked for again for a while');
    });
  }

  test('P6: more than 500 values are refused; 16 searches are under way at a time, and the others wait', async (t) => {
    const values = (count: number) => Array.from({ length: count }, (_, at) => Buffer.from(`value ${at}`));
    const held: [Socket, number][] = [];
    const { source } = await against(t, (socket, id) => held.push([socket, id]), 10_000);
    const asked = Array.from({ length: 20 }, (_, at) => told(source, `p${at}@clinic.example`));
    await eventually(async () => held.length === 16);
    // A turn more of the event loop than the others took.
    await new Promise(setImmediate);
    assert.equal(held.length, 16);
    for (let at = 0; at < 20; at++) {
      await eventually(async () => held.length > at);
      const [socket, id] = held[at] ?? assert.fail();
      socket.write(Buffer.concat([message(id, entry('cn=p', { userSMIMECertificate: values(501) })), message(id, done())]));
    }
    for (const answer of await Promise.all(asked)) assert.match(answer, /^unavailable: lookup-unavailable: .*more than 500 certificates/);
  });

  test('one of 20 MB ends the connection, and what else was under way is asked again', async (t) => {
    const { mallory, others, source, fake } = await amidst(t, (id) => message(id, value(20_000_000)));
    assert.match(mallory, /longer than 1048576 octets/);
    assert.deepEqual(others, ['found', 'found', 'found']);
    assert.equal(await told(source, 'p4@clinic.example'), 'found', 'the server does not rest');
    assert.equal(fake.connections(), 2);
  });

  test('it is asked for again after a minute, when it may have been tidied', async (t) => {
    const clock = { now: 1_000_000 };
    let tidy = false;
    const fake = await startFake(
      t,
      only((socket, id) => void socket.write(tidy ? good(id) : message(id, value(1_100_000)))),
    );
    const source = openSource(t, places([clear(fake.port)]), { now: () => clock.now });
    assert.match(await told(source, ADDRESS), /longer than 1048576 octets/);
    tidy = true;
    assert.match(await told(source, ADDRESS), /longer than 1048576 octets/);
    clock.now += 60_000;
    assert.equal(await told(source, ADDRESS), 'found');
  });

  test('many parts of a value are refused, and not read again and again', async (t) => {
    let searches = 0;
    const bomb = Buffer.from('-----BEGIN CERTIFICATE-----\n'.repeat(36_000));
    const { source } = await against(t, (socket, id) => {
      searches++;
      socket.write(Buffer.concat([message(id, entry('cn=trudy', { userCertificate: [bomb] })), message(id, done())]));
    });
    assert.match(await told(source, ADDRESS), /more than 1000 values and parts of values for one address/);
    assert.match(await told(source, ADDRESS), /more than 1000 values/);
    assert.equal(searches, 1);
  });

  test('what is kept of an answer keeps none of its octets (P6)', async (t) => {
    const texts = [Buffer.from('none'), Buffer.from(`-----BEGIN PKCS #7 SIGNED DATA-----\n${' '.repeat(200_000)}`)];
    const { source } = await against(t, (socket, id) => {
      const long = entry(`cn=${'x'.repeat(400_000)}`, { [`userCertificate;x-${'y'.repeat(200_000)}`]: texts });
      socket.write(Buffer.concat([message(id, long), message(id, done())]));
    });
    const kept = [await ask(source, 'a@clinic.example')];
    setFlagsFromString('--expose-gc');
    const collect: unknown = runInNewContext('gc');
    const memory = (): number => {
      if (typeof collect === 'function') collect();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const before = memory();
    for (let index = 0; index < 100; index++) kept.push(await ask(source, `p${index}@clinic.example`));
    assert.ok(kept.every((answer) => answer.kind === 'absent' && answer.remarks?.length === 2));
    // A hundred answers of 800 KB; what was collected is given back some turns later.
    await eventually(async () => memory() - before < 20_000_000);
  });
});

describe('references to other servers and nothing else', () => {
  const reference = (uri: string): Buffer => tlv(0x73, octetString(Buffer.from(uri)));
  const own = ['DC=ForestDnsZones,', 'DC=DomainDnsZones,', 'CN=Configuration,'].map((part) =>
    reference(`ldap://x.clinic.example/${part}DC=clinic,DC=example`),
  );
  const child = reference('ldap://child.clinic.example/DC=child,DC=clinic,DC=example');
  for (const [name, sent, references, expected] of [
    ['those of every search in Active Directory are nobody', own, 'unavailable', /^absent$/],
    ['a child domain may hold the entry', [...own, child], 'unavailable', /^unavailable: .*nothing but references to other servers/],
    ['one that cannot be read may too', [tlv(0x73)], 'unavailable', /^unavailable: .*nothing but references/],
    ['a child domain of which the operator says that it holds none', [...own, child], 'ignore', /^absent$/],
    ['what was found counts', [...own, anna, child], 'unavailable', /^found$/],
  ] as const) {
    test(name, async (t) => {
      const fake = await startFake(
        t,
        only((socket, id) => void socket.write(Buffer.concat([...sent, done()].map((operation) => message(id, operation))))),
      );
      assert.match(await told(openSource(t, places([clear(fake.port)], { references })), ADDRESS), expected);
    });
  }
});

describe('a server that is slow', () => {
  test('one that never answers a search is unavailable in time, and is told to stop', async (t) => {
    const { source, fake } = await against(t, () => {});
    const begun = performance.now();
    assert.match(await told(source, ADDRESS), /no answer|got no answer/);
    assert.ok(performance.now() - begun < 4000);
    await eventually(async () => fake.asked().includes(ABANDON));
  });

  test('an answer that comes too late reaches nobody, and the next search gets its own', async (t) => {
    let late: (() => void) | undefined;
    const ben = entry('cn=ben', { userCertificate: [certificateFor({ address: 'ben@clinic.example' }).der] });
    const { source } = await against(
      t,
      (socket, id) => {
        if (late === undefined) late = () => void socket.write(Buffer.concat([message(id, anna), message(id, done())]));
        else {
          late();
          socket.write(Buffer.concat([message(id, ben), message(id, done())]));
        }
      },
      60_000,
    );
    const gone = new AbortController();
    const first = source.lookup({ localPart: 'anna', domain: 'clinic.example', address: ADDRESS, needsSmtputf8: false }, gone.signal);
    await eventually(async () => late !== undefined);
    gone.abort();
    assert.equal((await first).kind, 'unavailable');
    const second = await ask(source, 'ben@clinic.example');
    assert.deepEqual(second.kind === 'found' && second.candidates.map(({ place }) => place), ['cn=ben userCertificate#1']);
  });

  test('a connection that breaks under a search is made anew once', async (t) => {
    let searches = 0;
    const { source, fake } = await against(t, (socket, id) => {
      // As a firewall that forgot the connection.
      if (++searches === 2) socket.resetAndDestroy();
      else socket.write(Buffer.concat([message(id, anna), message(id, done())]));
    });
    assert.equal(await told(source, ADDRESS), 'found');
    assert.equal(await told(source, ADDRESS), 'found');
    assert.deepEqual([searches, fake.connections()], [3, 2]);
  });

  test('octets that come one by one are one answer', async (t) => {
    const { source } = await against(
      t,
      (socket, id) => {
        const all = Buffer.concat([message(id, anna), message(id, done())]);
        for (let at = 0; at < all.length; at += 7) socket.write(all.subarray(at, at + 7));
      },
      20_000,
    );
    assert.equal(await told(source, ADDRESS), 'found');
  });

  test('lengths as Active Directory writes them, in four octets, are read', async (t) => {
    const long = (tag: number, ...parts: readonly Buffer[]): Buffer => Buffer.concat([claims(tag, Buffer.concat(parts).length), ...parts]);
    const { source } = await against(t, (socket, id) => {
      const value = octetString(certificateFor({ address: ADDRESS }).der);
      const attributes = long(0x30, long(0x30, octetString(Buffer.from('userCertificate')), long(0x31, value)));
      socket.write(long(0x30, tlv(0x02, Buffer.from([id])), long(0x64, octetString(Buffer.from('cn=anna')), attributes)));
      socket.write(long(0x30, tlv(0x02, Buffer.from([id])), done()));
    });
    assert.equal(await told(source, ADDRESS), 'found');
  });
});

describe('a login that Active Directory refuses', () => {
  const said = (data: string): string => `80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data ${data}, v2580\0`;
  const bind = { dn: 'relay@clinic.example', password: { from: 'env', name: 'X' } } as const;
  for (const [text, expected] of [
    [said('52e'), /name or password is wrong \(LDAP result 49\)$/],
    [said('532'), /the password has expired \(LDAP result 49\)$/],
    [said('775'), /the account is locked \(LDAP result 49\)$/],
    [said('constructor'), /wrong, or the account is locked \(LDAP result 49\)$/],
    ['relay@clinic.example may not', /wrong, or the account is locked \(LDAP result 49\)$/],
  ] as const) {
    test(`${text.slice(-16, -1)} is told in words`, async (t) => {
      const fake = await startFake(t, (socket, id) => void socket.write(message(id, result(0x61, 49, text))));
      const source = openSource(t, places([clear(fake.port)], { bind }), { secrets: async () => ({ ca: undefined, password: 'x' }) });
      assert.match(await told(source, ADDRESS), expected);
    });
  }
});

describe('the reader of LDAP messages', () => {
  const typed = (read: () => unknown): boolean => {
    try {
      read();
      return true;
    } catch (error) {
      return error instanceof SealpostError && error.code === 'lookup-unavailable';
    }
  };
  const drain = (bytes: Buffer): void => {
    const answer = readMessage(bytes).answer();
    if (answer.kind === 'entry')
      for (const attribute of answer.entry.attributes) for (const value of attribute.values()) assert.ok(value.length <= bytes.length);
  };

  test('reads or refuses any octets with a typed error, and ends', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        (octets) => typed(() => [...elements(Buffer.from(octets))]) && typed(() => drain(Buffer.from(octets))),
      ),
    );
  });

  test('the same with a message in which some octets were changed', () => {
    const whole = message(5, entry('cn=anna', { userCertificate: [Buffer.alloc(200, 1), Buffer.alloc(3)], mail: [Buffer.from('a@b')] }));
    const change = fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
        const bytes = Buffer.from(whole);
        for (const [at, octet] of changes) bytes[at] = octet;
        return typed(() => drain(bytes));
      }),
    );
  });
});
