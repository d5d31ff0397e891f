/** The LDAP source against a real directory, OpenLDAP, through the real look-up. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import type { Directory, Lookup } from '../../../src/certificates/directory.ts';
import type { CertificateSource } from '../../../src/certificates/source.ts';
import { mailboxOf } from '../openssl.ts';
import { ask, clear, directoryOver, openSource, places, told } from './asking.ts';
import { authority, certificateFor, outlookValue, pkcs7 } from './people.ts';
import { BASE, noSlapd, PASSWORD, person, RELAY_DN, type Slapd, startSlapd, suiteOwner } from './slapd.ts';

const at = (name: string): string => `${name}@clinic.example`;
const pem = (certificate: Certificate): Buffer =>
  Buffer.from(`-----BEGIN CERTIFICATE-----\r\n${certificate.der.toString('base64')}\r\n-----END CERTIFICATE-----\r\n`);
const mime = (pkcs7: Buffer): Buffer =>
  Buffer.from(
    [
      'Content-Type: multipart/signed; protocol="application/x-pkcs7-signature"; boundary=x',
      '',
      '--x',
      'Content-Type: text/plain',
      '',
      'Mail',
      '--x',
      'Content-Type: application/x-pkcs7-signature; name=smime.p7s',
      'Content-Transfer-Encoding: base64',
      '',
      pkcs7.toString('base64').replace(/.{64}/g, '$&\r\n'),
      '--x--',
    ].join('\r\n'),
  );

interface Person {
  readonly name: string;
  readonly ldif: string;
  /** Fingerprints in the order of the choice; none where mail cannot be sealed. */
  readonly right: readonly string[];
}

/** Twenty people of each kind; `right` is what a reader of the entry would choose. */
const kinds: Readonly<Record<string, (name: string) => Omit<Person, 'name'>>> = {
  plain: (name) => {
    const good = certificateFor({ address: at(name) });
    return { ldif: person({ name, mail: [at(name)], userCertificate: [good.der] }), right: [good.fingerprint] };
  },
  expired: (name) => {
    const old = certificateFor({ address: at(name), from: -100, to: -1 });
    return { ldif: person({ name, mail: [at(name)], userCertificate: [old.der] }), right: [] };
  },
  signing: (name) => {
    const [signing, good] = [certificateFor({ address: at(name), signingOnly: true, from: -1 }), certificateFor({ address: at(name) })];
    return { ldif: person({ name, mail: [at(name)], userCertificate: [signing.der, good.der] }), right: [good.fingerprint] };
  },
  several: (name) => {
    const [old, older, renewed] = [-20, -30, -5].map((from) => certificateFor({ address: at(name), from }));
    assert.ok(old && older && renewed);
    const right = [renewed, old, older].map(({ fingerprint }) => fingerprint);
    return { ldif: person({ name, mail: [at(name)], userCertificate: [old.der, older.der, renewed.der] }), right };
  },
  outlook: (name) => {
    const [good, signing] = [certificateFor({ address: at(name) }), certificateFor({ address: at(name), signingOnly: true })];
    return { ldif: person({ name, mail: [at(name)], userSMIMECertificate: [outlookValue(good, signing)] }), right: [good.fingerprint] };
  },
  signeddata: (name) => {
    const good = certificateFor({ address: at(name) });
    return { ldif: person({ name, mail: [at(name)], userSMIMECertificate: [pkcs7(authority, good)] }), right: [good.fingerprint] };
  },
  textual: (name) => {
    const [one, other] = [certificateFor({ address: at(name), from: -5 }), certificateFor({ address: at(name), from: -7 })];
    return {
      ldif: person({ name, mail: [at(name)], userSMIMECertificate: [mime(pkcs7(one)), pem(other), Buffer.from('none of these')] }),
      right: [one.fingerprint, other.fingerprint],
    };
  },
  none: (name) => ({ ldif: person({ name, mail: [at(name)] }), right: [] }),
  foreign: (name) => {
    const somebody = certificateFor({ address: 'somebody@else.example' });
    return { ldif: person({ name, mail: [at(name)], userCertificate: [somebody.der] }), right: [] };
  },
  exchange: (name) => {
    // The address that mail is sent to is a second one; `mail` holds the first.
    const good = certificateFor({ address: at(name) });
    const proxyAddresses = [`SMTP:first.${name}@clinic.example`, `smtp:${at(name)}`, `x500:/o=Clinic/cn=${name}`];
    return {
      ldif: person({ name, mail: [`first.${name}@clinic.example`], proxyAddresses, userCertificate: [good.der] }),
      right: [good.fingerprint],
    };
  },
};

describe('a directory of two hundred people', { skip: noSlapd }, () => {
  const owner = suiteOwner();
  const people: Person[] = [];
  let slapd: Slapd;
  let source: CertificateSource;
  let directory: Directory;
  const lookup = (address: string): Promise<Lookup> => directory.lookup(mailboxOf(address));
  const chosen = (answer: Lookup): readonly string[] =>
    answer.kind === 'found' ? answer.chosen.map(({ certificate }) => certificate.fingerprint) : [];

  before(async () => {
    for (const [kind, make] of Object.entries(kinds)) {
      for (let number = 1; number <= 20; number++) people.push({ name: `${kind}${number}`, ...make(`${kind}${number}`) });
    }
    const wild = certificateFor({ address: '"a)(uid=*)"@clinic.example' });
    const injected = [
      person({ name: 'brackets', mail: ['"a)(uid=*)"@clinic.example'], userCertificate: [wild.der] }),
      person({
        name: 'bücher',
        mail: [at('buch')],
        proxyAddresses: ['smtp:buch@bücher.example'],
        userCertificate: [certificateFor({ address: 'buch@xn--bcher-kva.example' }).der],
      }),
      // One that lives on another server (RFC 3296).
      `dn: ou=far,${BASE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: far\nref: ldap://127.0.0.1:1/ou=far,${BASE}\n\n`,
      ...Array.from({ length: 25 }, (_, number) => person({ name: `crowd${number}`, mail: ['crowd@clinic.example'] })),
    ];
    slapd = await startSlapd(owner, { ldif: [...people.map(({ ldif }) => ldif), ...injected].join('\n') });
    source = openSource(owner, places([clear(slapd.port)], { references: 'ignore' }));
    directory = directoryOver(owner, source);
  });

  test('each gets the certificates that are right for them, and nobody another one', async () => {
    for (const { name, right } of people) {
      const answer = await lookup(at(name));
      assert.deepEqual(chosen(answer), right, name);
      assert.equal(answer.kind, right.length === 0 ? 'absent' : 'found', name);
    }
  });

  test('capitals in the address find the same', async () => {
    assert.deepEqual(chosen(await lookup('Plain1@CLINIC.example')), people.find(({ name }) => name === 'plain1')?.right);
  });

  test('what is not used has its reason and its place', async () => {
    const reasons = async (name: string): Promise<string[]> =>
      (await lookup(at(name))).rejected.map(({ reason, place }) => `${place}: ${reason}`);
    assert.match((await reasons('expired1')).join(), /^cn=expired1,dc=clinic,dc=example userCertificate;binary#1: it expired on /);
    assert.match((await reasons('foreign1')).join(), /does not name this address/);
    assert.match((await reasons('signing1')).join(), /for signing only/);
  });

  test('a value that is no certificate is a remark beside the good ones', async () => {
    const answer = await ask(source, at('textual1'));
    assert.equal(answer.kind, 'found');
    assert.ok(answer.kind === 'found' && answer.remarks?.includes(`cn=textual1,${BASE} userSMIMECertificate#3: it is of no known form`));
  });

  test('a domain is found as people write it too', async () => {
    assert.equal((await lookup('buch@xn--bcher-kva.example')).kind, 'found');
  });

  test('A25: what means something in a filter means only itself', async () => {
    for (const address of ['*@clinic.example', '"\\\\2a"@clinic.example', '"*)(mail=*"@clinic.example', '"a)(uid=*"@clinic.example']) {
      const answer = await ask(source, address);
      assert.equal(answer.kind, 'absent', address);
    }
    const literal = await ask(source, '"a)(uid=*)"@clinic.example');
    assert.equal(literal.kind === 'found' && literal.candidates.length, 1);
  });

  test('A26: references to other servers are not followed, and that is said', async () => {
    const answer = await ask(source, at('plain2'));
    assert.ok(
      answer.kind === 'found' && answer.remarks?.includes('1 references to other servers are not followed'),
      JSON.stringify(answer.kind),
    );
    // The entry of nobody here may stand on the other server.
    const strict = openSource(owner, places([clear(slapd.port)]));
    // So may a newer certificate of somebody who is: what is here may be used, and where it cannot be that is no absence (P5).
    const beside = await ask(strict, at('plain2'));
    assert.ok(beside.kind === 'found' && beside.incomplete !== undefined && answer.incomplete === undefined);
    assert.match(await told(strict, at('nobody')), /nothing but references to other servers came back$/);
    assert.equal(await told(source, at('nobody')), 'absent');
  });

  test('A26: too many entries for one address are no answer, since the server would choose which', async () => {
    assert.match(
      await told(source, 'crowd@clinic.example'),
      /^unavailable: lookup-unavailable: the directory has more entries for one address than the 20/,
    );
  });

  test('a base that is not there is a fault of the configuration, and nobody is absent for it', async () => {
    const lost = openSource(owner, places([clear(slapd.port)], { base: `ou=people,${BASE}` }));
    assert.match(await told(lost, at('plain1')), /the directory knows no such base/);
    const elsewhere = openSource(owner, places([clear(slapd.port)], { base: 'dc=other,dc=example' }));
    assert.match(await told(elsewhere, at('plain1')), /^unavailable: /);
    const far = openSource(owner, places([clear(slapd.port)], { base: `ou=far,${BASE}` }));
    assert.match(await told(far, at('plain1')), /refers to another one for the base/);
  });

  test('one connection carries many searches at a time', async () => {
    await slapd.caughtUp();
    const before = slapd.log().split(' ACCEPT ').length;
    const busy = openSource(owner, places([clear(slapd.port)], { references: 'ignore' }));
    const answers = await Promise.all(people.map(({ name }) => ask(busy, at(name))));
    assert.ok(answers.every(({ kind }) => kind !== 'unavailable'));
    await slapd.caughtUp();
    // With the one that asked whether all of it has been read.
    assert.equal(slapd.log().split(' ACCEPT ').length, before + 2);
  });

  test('only what was asked for is told to the directory', async () => {
    const alone = openSource(owner, places([clear(slapd.port)], { mailAttributes: ['mail'], scope: 'one' }));
    await ask(alone, at('plain3'));
    await slapd.caughtUp();
    assert.match(
      slapd.log(),
      /scope=1 deref=0 filter="\(\|\(mail=plain3@clinic\.example\)\)"[\s\S]*SRCH attr=userSMIMECertificate userCertificate/,
    );
  });
});

describe('the login of the relay', { skip: noSlapd }, () => {
  const owner = suiteOwner();
  const address = at('anna');
  let slapd: Slapd;
  const binds = async (): Promise<number> => {
    await slapd.caughtUp();
    return slapd.log().split(` BIND dn="${RELAY_DN}" method=128`).length - 1;
  };
  before(async () => {
    const ldif = person({ name: 'anna', mail: [address], userCertificate: [certificateFor({ address }).der] });
    slapd = await startSlapd(owner, { ldif, global: ['disallow bind_anon', 'require authc'] });
  });
  const bind = { dn: RELAY_DN, password: { from: 'env', name: 'X' } } as const;

  test('a directory that wants one tells so, and is asked with one', async () => {
    const anonymous = openSource(owner, places([clear(slapd.port)]));
    assert.match(await told(anonymous, address), /does not let this login search \(LDAP result 53\)/);
    const known = openSource(owner, places([clear(slapd.port)], { bind }), {
      secrets: async () => ({ ca: undefined, password: PASSWORD }),
    });
    assert.equal(await told(known, address), 'found');
  });

  test('a wrong password is told, tried again after a minute, and at once where it was changed', async () => {
    let password = 'wrong';
    let time = Date.now();
    const source = openSource(owner, places([clear(slapd.port), clear(slapd.port)], { bind }), {
      secrets: async () => ({ ca: undefined, password }),
      now: () => time,
    });
    const before = await binds();
    for (let times = 0; times < 5; times++) {
      assert.match(
        await told(source, address),
        /refuses the login of the relay: name or password is wrong, or the account is locked \(LDAP result 49\)/,
      );
    }
    assert.equal(await binds(), before + 1, 'an account is not locked by the relay');
    time += 61_000;
    await told(source, address);
    assert.equal(await binds(), before + 2);
    time += 61_000;
    await told(source, address);
    assert.equal(await binds(), before + 2, 'the second pause is longer');
    password = PASSWORD;
    assert.equal(await told(source, address), 'found');
  });

  test('an empty password is never sent', async () => {
    const before = await binds();
    const source = openSource(owner, places([clear(slapd.port)], { bind }), { secrets: async () => ({ ca: undefined, password: '' }) });
    assert.match(await told(source, address), /the password of bind is empty/);
    assert.equal(await binds(), before);
  });
});

describe('servers that come and go', { skip: noSlapd }, () => {
  const address = at('anna');
  const ldif = person({ name: 'anna', mail: [address], userCertificate: [certificateFor({ address }).der] });

  test('a server that is stopped is unavailable at once, and asked again once it runs', async (t) => {
    const slapd = await startSlapd(t, { ldif });
    let time = Date.now();
    const source = openSource(t, places([clear(slapd.port)]), { now: () => time });
    assert.equal(await told(source, address), 'found');
    await slapd.stop();
    assert.match(
      await told(source, address),
      new RegExp(`^unavailable: lookup-unavailable: 127.0.0.1:${slapd.port}: no connection \\(ECONNREFUSED\\)`),
    );
    await slapd.start();
    assert.match(await told(source, address), /^unavailable/, 'it rests for some seconds');
    time += 3000;
    assert.equal(await told(source, address), 'found');
  });

  test('a connection that the server closed while it was idle is opened again, without a failure', async (t) => {
    const slapd = await startSlapd(t, { ldif });
    const source = openSource(t, places([clear(slapd.port)]));
    assert.equal(await told(source, address), 'found');
    await slapd.stop();
    await slapd.start();
    assert.equal(await told(source, address), 'found');
  });

  test('the second server answers for a first one that is stopped, or hangs', async (t) => {
    const [first, second] = [await startSlapd(t, { ldif }), await startSlapd(t, { ldif })];
    // The first one's silence costs two seconds of these five.
    const open = () => openSource(t, places([clear(first.port), clear(second.port)]), { patience: 5000 });
    const source = open();
    const asked = async (): Promise<number> => {
      await second.caughtUp();
      return second.searches();
    };
    assert.equal(await told(source, address), 'found');
    assert.equal(await asked(), 0);
    await first.freeze();
    assert.equal(await told(source, address), 'found');
    assert.equal(await asked(), 1);
    assert.equal(await told(source, address), 'found');
    assert.equal(await asked(), 2, 'the first one rests, and nobody waits for it');
    await first.stop();
    assert.equal(await told(open(), address), 'found');
  });
});
