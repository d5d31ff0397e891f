/** A front with TLS and users: a certificate by openssl, and users in memory, for the tests beside it. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { SecureContext } from 'node:tls';
import { openLiveCertificate, type CertificateFiles, type LiveCertificate } from '../../src/ingress/certificate.ts';
import type { Terms } from '../../src/ingress/identity.ts';
import { makePenalties } from '../../src/ingress/penalty.ts';
import type { IngressOptions } from '../../src/ingress/smtp.ts';
import type { TlsTerms } from '../../src/ingress/tls.ts';
import type { Login, User, Users } from '../../src/ingress/users/users.ts';
import { mailboxKey } from '../../src/message/envelope.ts';
import { mailboxOf, make, temporaryFolder, type Wish } from '../certificates/openssl.ts';
import { dialogue, type Dialogue, type DialogueOptions } from './dialogue.ts';
import { makeFront, type Front } from './front.ts';

/** An address of this machine that is not loopback, so that a client from there is one from elsewhere. */
export const elsewhere = Object.values(networkInterfaces())
  .flatMap((found) => found ?? [])
  .find(({ internal, family }) => !internal && family === 'IPv4')?.address;
export const noElsewhere = elsewhere === undefined ? 'this machine has no address but loopback' : false;

const folder = temporaryFolder();

/** NAME.pem and NAME.key for a server, or for a client; answers their files. */
export function makeCertificate(wish: Wish): CertificateFiles {
  make(folder, { extensions: ['subjectAltName=DNS:relay.example,IP:127.0.0.1'], ...wish });
  const keyFile = join(folder, `${wish.name}.key`);
  return { certificate: join(folder, `${wish.name}.pem`), keyFile, readKey: async () => readFileSync(keyFile, 'utf8') };
}

const server = makeCertificate({ name: 'server' });

export interface Entry {
  readonly name: string;
  readonly password?: string;
  /** SHA-256 in lower-case hex. */
  readonly certificate?: string;
  /** Addresses; anything where it is left out. */
  readonly senders?: readonly string[];
  readonly recipients?: readonly string[];
}

export interface MemoryUsers extends Users {
  /** Each login that was tried. */
  readonly tried: { readonly name: string; readonly password: string; readonly client: string }[];
  /** While it is set, this is what every question is answered. */
  verdict: Login | undefined;
}

export function makeUsers(entries: readonly Entry[]): MemoryUsers {
  const userOf = ({ name, senders, recipients }: Entry): User => ({
    name,
    mailbox: mailboxOf('user@users.example'),
    rate: null,
    maySend: (sender) => senders === undefined || senders.includes(sender === null ? '<>' : mailboxKey(sender)),
    mayReach: (recipient) => recipients === undefined || recipients.includes(mailboxKey(recipient)),
  });
  const find = (entry: Entry | undefined): Login =>
    users.verdict ?? (entry === undefined ? { kind: 'refused' } : { kind: 'accepted', user: userOf(entry), again: () => find(entry) });
  const users: MemoryUsers = {
    tried: [],
    verdict: undefined,
    async login(name, password, client) {
      users.tried.push({ name, password, client });
      return find(entries.find((entry) => entry.name === name && entry.password === password));
    },
    byCertificate: async (fingerprint) => find(entries.find(({ certificate }) => certificate === fingerprint)),
    close: () => undefined,
  };
  return users;
}

export interface SecureOptions extends Partial<Omit<IngressOptions, 'users'>> {
  readonly tls?: TlsTerms['mode'] | 'off';
  readonly auth?: Terms['auth'];
  readonly clientCertificates?: TlsTerms['clientCertificates'];
  readonly files?: CertificateFiles;
  readonly pollMs?: number;
  readonly users?: MemoryUsers | undefined;
}

export interface SecureFront extends Front {
  readonly users: MemoryUsers;
  /** Connects, from loopback or from elsewhere, and hears the greeting; EHLO is not said. */
  greet(options?: DialogueOptions): Promise<Dialogue>;
  /** And what EHLO lists. */
  ehlo(client: Dialogue): Promise<readonly string[]>;
}

/** The user `form` with the password `secret` where no others are given; failed logins are answered after some ms. */
export async function makeSecureFront(t: TestContext, options: SecureOptions = {}): Promise<SecureFront> {
  const { tls: mode = 'starttls', auth = 'optional', clientCertificates = 'off', files = server, pollMs = 20, ...rest } = options;
  const users = 'users' in options ? options.users : makeUsers([{ name: 'form', password: 'secret' }]);
  let live: LiveCertificate | undefined;
  const context = (): SecureContext => {
    assert.ok(live !== undefined);
    return live.context();
  };
  const tls: TlsTerms | undefined = mode === 'off' ? undefined : { mode, clientCertificates, context };
  const front = await makeFront(t, {
    listen: [{ host: '0.0.0.0', port: 0, tls, auth }],
    penalties: makePenalties(5),
    ...rest,
    users,
  });
  const certificate = await openLiveCertificate(files, { log: front.options.log, now: Date.now, pollMs });
  live = certificate;
  t.after(() => certificate.close());
  const greet = async (at: DialogueOptions = {}): Promise<Dialogue> => {
    const client = await dialogue(front.port, { ...(mode === 'implicit' ? { tls: {} } : {}), ...at });
    t.after(() => client.close());
    await client.expect(/^220 relay\.example ESMTP/);
    return client;
  };
  const ehlo = async (client: Dialogue): Promise<readonly string[]> =>
    (await client.ask('EHLO client.example', /^250-relay\.example/)).slice(1).map((line) => line.slice(4));
  const all = users ?? makeUsers([]);
  return { ...front, users: all, greet, ehlo };
}

/** What AUTH PLAIN says. */
export const plain = (name: string, password: string, as = ''): string => base64(`${as}\0${name}\0${password}`);
export const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** A certificate of a client, with its key, as connect takes them, and its fingerprint. */
export function makeClientCertificate(wish: Wish): { readonly cert: string; readonly key: string; readonly fingerprint: string } {
  const der = make(folder, wish);
  const read = (suffix: string): string => readFileSync(join(folder, `${wish.name}.${suffix}`), 'utf8');
  return { cert: read('pem'), key: read('key'), fingerprint: createHash('sha256').update(der).digest('hex') };
}

/** MAIL, RCPT, DATA and a body; answers nothing, fails where it is not taken. */
export async function handIn(client: Dialogue): Promise<void> {
  await client.ask('MAIL FROM:<a@x.example>', /^250 /);
  await client.ask('RCPT TO:<b@y.example>', /^250 /);
  await client.ask('DATA', /^354 /);
  await client.ask('Subject: x\r\n\r\nbody\r\n.', /^250 2\.0\.0 queued/);
}
