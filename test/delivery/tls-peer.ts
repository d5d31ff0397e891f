/** Scripted upstreams that speak TLS, and the certificates they show: good ones, and every bad one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSecureContext, TLSSocket, type SecureContextOptions, type TLSSocketOptions } from 'node:tls';
import { caExtensions, make, temporaryFolder, type Wish } from '../certificates/openssl.ts';
import { converse, Peer, type Replies, type Transcript } from './peer.ts';

/** PEM. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

export interface Identities {
  /** Holds ca.pem, and NAME.pem and NAME.key of every other. */
  readonly folder: string;
  /** PEM of the CA of all but `selfSigned` and `otherCa`. */
  readonly ca: string;
  readonly good: Identity;
  readonly expired: Identity;
  readonly otherName: Identity;
  readonly selfSigned: Identity;
  readonly otherCa: Identity;
  readonly client: Identity;
  /** `localhost` stands in the CN, and no DNS name beside it. */
  readonly nameless: Readonly<Record<'no names' | 'a mailbox' | 'an address' | 'a URI', Identity>>;
}

/** `good` is for localhost and 127.0.0.1. Takes a second. */
export function makeIdentities(folder = temporaryFolder()): Identities {
  const one = (name: string, names: string, more: Partial<Wish> = {}): Identity => {
    const extensions = ['basicConstraints=critical,CA:FALSE', 'extendedKeyUsage=serverAuth,clientAuth', `subjectAltName=${names}`];
    make(folder, { name, issuer: 'ca', extensions, ...more });
    return { cert: readFileSync(join(folder, `${name}.pem`), 'utf8'), key: readFileSync(join(folder, `${name}.key`), 'utf8') };
  };
  const nameless = (name: string, names: string): Identity => one(name, names, { subject: '/CN=localhost' });
  const here = 'DNS:localhost,IP:127.0.0.1';
  for (const name of ['ca', 'ca2']) make(folder, { name, extensions: caExtensions });
  return {
    folder,
    ca: readFileSync(join(folder, 'ca.pem'), 'utf8'),
    good: one('good', here),
    expired: one('expired', here, { to: '20210101000000Z' }),
    otherName: one('other-name', 'DNS:mx.evil.test,IP:192.0.2.7'),
    selfSigned: one('self-signed', here, { issuer: 'self-signed' }),
    otherCa: one('other-ca', here, { issuer: 'ca2' }),
    client: one('client', 'DNS:relay.test'),
    nameless: {
      'no names': one('no-names', '', { subject: '/CN=localhost', extensions: ['basicConstraints=critical,CA:FALSE'] }),
      'a mailbox': nameless('mailbox', 'email:root@localhost'),
      'an address': nameless('address', 'IP:127.0.0.1'),
      'a URI': nameless('uri', 'URI:https://localhost/'),
    },
  };
}

export type TlsPeerOptions = Identity &
  Pick<TLSSocketOptions, 'requestCert'> &
  Pick<SecureContextOptions, 'maxVersion' | 'minVersion' | 'ca' | 'ciphers'>;

/** The other end of TLS on the peer's connection. */
export function underTls(peer: Peer, { requestCert = false, ...context }: TlsPeerOptions): Peer {
  const secureContext = createSecureContext(context);
  const socket = new TLSSocket(peer.socket, { isServer: true, secureContext, requestCert, rejectUnauthorized: requestCert });
  return new Peer(socket, false);
}

export interface StartTlsReplies {
  /** To EHLO in clear. */
  readonly ehlo?: string;
  readonly starttls?: string;
  /** Under TLS. */
  readonly then?: Replies;
}

export interface StartTlsTranscript {
  readonly clear: string[];
  readonly encrypted: Transcript;
}

export function newStartTlsTranscript(): StartTlsTranscript {
  return { clear: [], encrypted: { commands: [], messages: [] } };
}

/** An upstream that speaks properly up to STARTTLS, and under TLS as `converse` does. */
export async function converseStartTls(
  peer: Peer,
  options: TlsPeerOptions,
  { ehlo = '250-upstream.test\r\n250 STARTTLS\r\n', starttls = '220 go ahead\r\n', then = {} }: StartTlsReplies = {},
  transcript: StartTlsTranscript = newStartTlsTranscript(),
): Promise<void> {
  peer.say('220 upstream.test ESMTP\r\n');
  for (let line = await peer.line(); line !== undefined; line = await peer.line()) {
    transcript.clear.push(line);
    const verb = line.slice(0, 8).toUpperCase();
    if (verb.startsWith('EHLO')) peer.say(ehlo);
    else if (verb === 'STARTTLS') {
      peer.say(starttls);
      if (!starttls.startsWith('220')) continue;
      return converse(underTls(peer, options), { greeting: '', ...then }, transcript.encrypted);
    } else peer.say('503 5.5.1 no\r\n');
  }
}
