/** Broken configurations and what an operator reads: where, what, and how to mend it. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../src/config.ts';

const base = {
  hostname: 'hostname: relay.clinic.example\n',
  operator: 'operator: postmaster@clinic.example\n',
  listen: 'listen:\n  - { host: 127.0.0.1, port: 2525 }\n',
  upstream: 'upstream:\n  - { host: 127.0.0.1, port: 25 }\n',
};

/** The minimal configuration of six lines, with some of it replaced and something behind it. */
const site = (changes: Partial<typeof base>, more = ''): string => Object.values({ ...base, ...changes }).join('') + more;

const broken: readonly (readonly [what: string, text: string, said: string])[] = [
  [
    'a mistyped key',
    site({}, 'limits:\n  message_byte: 25MiB\n'),
    `:8:3: limits.message_byte: no such key
  mend: did you mean message_bytes?`,
  ],
  [
    'a key that is planned and does nothing yet',
    site({}, 'portal: { host: 127.0.0.1 }\n'),
    `:7:1: portal: no such key
  mend: here stand: hostname, operator, listen, clients, timeouts, limits, upstream, certificates, profile, policies, mixed, keys, hold, identities, retry, notices, queue, audit, admin, log`,
  ],
  [
    'keys that are missing',
    'hostname: relay.clinic.example\nlisten:\n  - { host: 127.0.0.1 }\n',
    `:1:1: operator: is missing
  mend: for example operator: postmaster@clinic.example
FILE:1:1: upstream: is missing: a list
  mend: for example upstream: [{ host: 127.0.0.1, port: 25 }]
FILE:3:5: listen[0].port: is missing
  mend: for example port: 2525`,
  ],
  [
    'an upstream on another machine',
    site({ upstream: 'upstream:\n  - { host: smtp.office365.com, port: 587 }\n' }),
    `:6:5: upstream[0].tls: is off, and smtp.office365.com is another machine
  mend: tls: starttls, or tls: implicit on port 465`,
  ],
  [
    'an upstream on another machine that need not prove its name',
    site({ upstream: 'upstream:\n  - { host: 192.0.2.7, port: 25, tls: starttls, verify: off }\n' }),
    `:6:57: upstream[0].verify: is false, and 192.0.2.7 is another machine
  mend: verify: true; for an in-house certificate name its CA: ca: PATH`,
  ],
  [
    'half a client certificate, and TLS keys without TLS',
    site({
      upstream: 'upstream:\n  - { host: localhost, port: 25, cert: a.pem }\n  - { host: "::1", port: 25, tls: implicit, key: "env:K" }\n',
    }),
    `:6:40: upstream[0].cert: has no key
  mend: key: file:PATH beside it
FILE:6:40: upstream[0].cert: does nothing while tls is off
  mend: tls: starttls or implicit, or take it out
FILE:7:50: upstream[1].key: has no certificate
  mend: cert: PATH beside it`,
  ],
  [
    'a password that stands in the file, and a login without one',
    site({ upstream: 'upstream:\n  - { host: a.example, port: 465, tls: implicit, auth: { user: u, password: secret } }\n' }),
    `:6:77: upstream[0].auth.password: is not a place of a secret
  mend: file:PATH or env:NAME: secrets do not stand in this file`,
  ],
  [
    'two rates for what the mail server counts together',
    site({
      upstream: `upstream:\n${['1/s', '2/s'].map((rate) => `  - { host: a.example, port: 465, tls: implicit, rate: ${rate}, auth: { user: u, password: "env:U" } }\n`).join('')}  - { host: a.example, port: 465, tls: implicit, rate: 1/s, auth: { user: v, password: "env:V" } }\n`,
    }),
    `:7:56: upstream[1].rate: is a second one for the same host, port and user
  mend: one entry with the whole rate`,
  ],
  [
    'upstreams that are no hosts',
    site({
      upstream: 'upstream:\n  - { host: 10.1.1, port: 25 }\n  - { host: "mail.x.test:25", port: 25 }\n',
    }),
    `:6:13: upstream[0].host: is neither a host name nor an IP address
  mend: for example smtp.clinic.example, 192.0.2.7 or ::1
FILE:7:13: upstream[1].host: is neither a host name nor an IP address
  mend: for example smtp.clinic.example, 192.0.2.7 or ::1`,
  ],
  [
    'an upstream that is this relay by its own name',
    site({ upstream: 'upstream:\n  - { host: relay.clinic.example, port: 2525, tls: starttls }\n' }),
    `:6:41: upstream[0].port: is a listener of this relay
  mend: the port of your mail server: mail would go in a circle`,
  ],
  [
    'TLS without a certificate, and a certificate without TLS',
    site({
      listen:
        'listen:\n  - host: 0.0.0.0\n    port: 587\n    tls: starttls\n  - { host: 0.0.0.0, port: 26, cert: a.pem, key: file:a.key, client_certificates: optional }\n',
    }),
    `:6:10: listen[0].tls: is starttls, and there is no certificate
  mend: cert: PATH beside it
FILE:6:10: listen[0].tls: is starttls, and there is no private key
  mend: key: file:PATH beside it
FILE:7:38: listen[1].cert: does nothing while tls is off
  mend: tls: starttls or implicit, or take it out
FILE:7:50: listen[1].key: does nothing while tls is off
  mend: tls: starttls or implicit, or take it out
FILE:7:83: listen[1].client_certificates: does nothing while tls is off
  mend: tls: starttls or implicit, or client_certificates: off
FILE:7:83: listen[1].client_certificates: lets nobody in: there are no users
  mend: clients: { users: users.yaml }`,
  ],
  [
    'logins that nobody could make',
    site({ listen: 'listen:\n  - { host: 0.0.0.0, port: 26, auth: required }\n' }),
    `:4:38: listen[0].auth: lets nobody in: without TLS only clients on this machine may log in
  mend: tls: starttls or implicit
FILE:4:38: listen[0].auth: lets nobody in: there are no users
  mend: clients: { users: users.yaml }`,
  ],
  [
    'a way to all that this machine reaches',
    site({}, 'certificates:\n  trust: { fetch_networks: [10.1.0.0/16, ::/0, 0.0.0.0/0] }\n'),
    `:8:42: certificates.trust.fetch_networks[1]: is the whole internet: a certificate could name what only this machine reaches
  mend: the networks your own CA is in; public addresses need none
FILE:8:48: certificates.trust.fetch_networks[2]: is the whole internet: a certificate could name what only this machine reaches
  mend: the networks your own CA is in; public addresses need none`,
  ],
  [
    'an open relay',
    site({}, 'clients:\n  networks: [10.0.0.0/8, 0.0.0.0/0, 10.0.0.0/33, clinic]\n'),
    `:8:26: clients.networks[1]: is the whole internet: an open relay
  mend: the networks your scripts run in
FILE:8:37: clients.networks[2]: has a prefix length that is not between 1 and 32
  mend: for example 10.0.0.0/32
FILE:8:50: clients.networks[3]: is not a network
  mend: an address, or an address and a prefix length: 192.168.1.0/24`,
  ],
  [
    'sizes and durations without sense',
    site({}, 'limits: { message_bytes: 25 megs }\nretry: { first: 60, longest: 2h, max_age: 1h }\n'),
    `:7:26: limits.message_bytes: is not a size
  mend: a whole number of octets, or with kB, MB, GB, KiB, MiB, GiB: 25MiB
FILE:8:17: retry.first: is not a duration
  mend: a unit behind the number: 60s, 60m, 60h or 60d`,
  ],
  [
    'waits that contradict each other',
    site({}, 'retry: { first: 2h, max_age: 30m }\n'),
    `:7:8: retry.longest: is longer than retry.max_age
  mend: a wait that ends before the message is given up
FILE:7:17: retry.first: is longer than retry.longest
  mend: the first wait is the shortest`,
  ],
  [
    'less room for all messages than for one',
    site({}, 'limits: { in_flight_bytes: 1MiB }\n'),
    `:7:28: limits.in_flight_bytes: is less than limits.message_bytes
  mend: room for one message at least, for twenty better`,
  ],
  [
    'a key that stands twice',
    site({}, 'hostname: other.example\n'),
    `:7:1: this key stands twice
  mend: keep one of the two`,
  ],
  [
    'a tab',
    site({}, 'limits:\n\trecipients: 5\n'),
    `:8:1: a tab where YAML wants blanks
  mend: indent with two blanks`,
  ],
  [
    'a list where a word is wanted, and a word where a list is',
    site({ operator: 'operator: [a@b.example, c@d.example]\n', listen: 'listen: 2525\n' }),
    `:2:11: operator: wants a mail address, not a list
  mend: for example operator: postmaster@clinic.example
FILE:3:9: listen: wants a list
  mend: for example listen: [{ host: 127.0.0.1, port: 2525 }]`,
  ],
  [
    'names and addresses that are none',
    site({
      hostname: 'hostname: relay clinic\n',
      operator: 'operator: postmaster\n',
      listen: 'listen:\n  - { host: relay, port: 99999 }\n',
    }),
    `:1:11: hostname: is not a host name
  mend: for example hostname: relay.clinic.example
FILE:2:11: operator: is not a mail address: no @ in it
  mend: for example operator: postmaster@clinic.example
FILE:4:13: listen[0].host: is not an IP address
  mend: an address of this machine, 127.0.0.1 for itself alone, 0.0.0.0 for all
FILE:4:26: listen[0].port: is not between 0 and 65535
  mend: for example port: 2525`,
  ],
  [
    'two listeners on one port, and keys where the relay may write',
    site({ listen: 'listen:\n  - { host: 127.0.0.1, port: 2526 }\n  - { host: 127.0.0.1, port: 2526 }\n' }, 'keys: data/keys\n'),
    `:5:5: listen[1]: is the address and port of a listener above
  mend: give each its own port
FILE:8:7: keys: stands in the data folder
  mend: a folder outside FOLDER/data`,
  ],
  [
    'health on the port of a listener',
    site({}, 'admin: { port: 2525 }\n'),
    `:7:16: admin.port: is the address and port of another listener
  mend: a port of its own`,
  ],
  [
    'senders who may be anybody',
    site({}, 'notices:\n  domains: [clinic.example, "*.clinic.example", "*", "*.example", a@b.example, "c d"]\n'),
    `:8:49: notices.domains[2]: names other people's domains too
  mend: your own domains: clinic.example
FILE:8:54: notices.domains[3]: names other people's domains too
  mend: your own domains: clinic.example
FILE:8:67: notices.domains[4]: is not a domain
  mend: clinic.example, or *.clinic.example for all below it
FILE:8:80: notices.domains[5]: is not a domain
  mend: clinic.example, or *.clinic.example for all below it`,
  ],
  [
    'an unclosed bracket',
    site({ upstream: 'upstream: [{ host: 127.0.0.1, port: 25 }\n' }),
    `:6:1: a [ or { above is not closed
  mend: close it`,
  ],
  [
    'an empty file',
    '',
    `:1:1: hostname: is missing
  mend: for example hostname: relay.clinic.example
FILE:1:1: operator: is missing
  mend: for example operator: postmaster@clinic.example
FILE:1:1: listen: is missing: a list
  mend: for example listen: [{ host: 127.0.0.1, port: 2525 }]
FILE:1:1: upstream: is missing: a list
  mend: for example upstream: [{ host: 127.0.0.1, port: 25 }]`,
  ],
  [
    'a file that is no configuration',
    'just a line of text\n',
    `:1:1: wants keys below it
  mend: here stand: hostname, operator, listen, clients, timeouts, limits, upstream, certificates, profile, policies, mixed, keys, hold, identities, retry, notices, queue, audit, admin, log`,
  ],
  [
    'a key with control characters in it',
    site({}, '"a\\e[2Jb": 1\n'),
    `:7:1: a?[2Jb: no such key
  mend: here stand: hostname, operator, listen, clients, timeouts, limits, upstream, certificates, profile, policies, mixed, keys, hold, identities, retry, notices, queue, audit, admin, log`,
  ],
  [
    'an empty section',
    site({}, 'limits:\n'),
    `:7:8: limits: is empty: wants keys below it
  mend: for example limits: { message_bytes: 25MiB }`,
  ],
];

for (const [what, text, said] of broken) {
  test(`the faults say where, what and how to mend it: ${what}`, async (t) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'sealpost-faults-'));
    t.after(() => rm(folder, { recursive: true }));
    const file = path.join(folder, 'sealpost.yaml');
    await writeFile(file, text);
    const faults = `FILE${said}`.replaceAll('FILE', file).replaceAll('FOLDER', folder);
    const count = faults.split('\n').length / 2;
    const message = `the configuration is not valid: ${count} fault${count === 1 ? '' : 's'}\n${faults}`;
    await assert.rejects(loadConfig({ env: {}, cwd: folder }), { code: 'config-invalid', message });
  });
}
