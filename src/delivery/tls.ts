/**
 * TLS to an upstream (RFC 3207, RFC 8314): 1.2 and 1.3 only, the certificate verified for the name or address that stands in the
 * configuration, by the CAs that Node trusts and those the operator names. There is no fall-back of any kind: whatever fails here
 * drops the connection before a word of the envelope (A6).
 */
import { isIP, type Socket } from 'node:net';
import {
  checkServerIdentity,
  connect as connectTls,
  createSecureContext,
  getCACertificates,
  type PeerCertificate,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { SealpostError } from '../errors.ts';

/** `starttls` and `implicit` fail closed; `off` and an unverified peer are for this machine alone, which connect.ts holds. */
export type TlsMode = 'off' | 'starttls' | 'implicit';

/** PEM texts. */
export interface TlsMaterial {
  /** CAs that are trusted beside those of Node. */
  readonly ca?: string | undefined;
  /** The client certificate, with its intermediates behind it, and its key; both or none. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** How one session is protected: for logs and the audit log. */
export interface TlsFacts {
  /** `TLSv1.3`. */
  readonly version: string;
  /** The IANA name of the cipher suite. */
  readonly cipher: string;
  /** False only where the configuration says `verify: false`. */
  readonly verified: boolean;
}

/** As attributes of a log line or an audit event. */
export function tlsAttributes(tls: TlsFacts | null): Readonly<Record<string, string | boolean>> {
  return tls === null ? { tls: 'off' } : { tls: tls.version, tls_cipher: tls.cipher, tls_verified: tls.verified };
}

export interface SecuredSocket {
  readonly socket: TLSSocket;
  readonly tls: TlsFacts;
}

export interface SecureOptions {
  readonly host: string;
  readonly context: SecureContext;
  readonly verify: boolean;
  /** Milliseconds for the handshake. */
  readonly timeout: number;
}

/** What OpenSSL and Node call it → what an operator reads. */
const certificateFaults: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'it has expired',
  CERT_NOT_YET_VALID: 'it is not valid yet',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its CA is not trusted',
  UNABLE_TO_GET_ISSUER_CERT: 'its CA is not known',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its CA is not known',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its CA is not known',
  ERR_TLS_CERT_ALTNAME_INVALID: 'it is for another name',
  INVALID_PURPOSE: 'it is not for a server',
  HOSTNAME_MISMATCH: 'it is for another name',
};

/**
 * A context for `material`, made anew where that changed: CAs of the operator cost 20 ms, and a renewed certificate must count
 * without a restart. Throws what OpenSSL says of unusable PEM.
 */
export function makeContexts(): (material: TlsMaterial) => SecureContext {
  let made: { readonly key: string; readonly context: SecureContext } | undefined;
  return (material) => {
    const key = JSON.stringify([material.ca, material.cert, material.key]);
    if (made?.key !== key) made = { key, context: makeContext(material) };
    return made.context;
  };
}

export function makeContext({ ca, cert, key }: TlsMaterial): SecureContext {
  return createSecureContext({
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    // `ca` takes the place of Node's own list, so that has to be said too.
    ...(ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  });
}

/** Does the handshake on a connected socket without listeners. Throws `upstream-tls-failed`, `upstream-unverified` or `shutting-down`. */
export function secure(plain: Socket, { host, context, verify, timeout }: SecureOptions, signal: AbortSignal): Promise<SecuredSocket> {
  return new Promise((resolve, reject) => {
    // Without `servername` the certificate is held to `host`, an address then, by its iPAddress names (RFC 5280 §4.2.1.6).
    const name = isIP(host) === 0 ? { servername: host } : {};
    const socket = connectTls({
      socket: plain,
      host,
      ...name,
      secureContext: context,
      rejectUnauthorized: verify,
      checkServerIdentity: checkNames,
    });
    const settle = (error?: SealpostError): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.removeListener('secureConnect', onSecure);
      socket.removeListener('close', onClose);
      if (error === undefined) resolve({ socket, tls: factsOf(socket) });
      else {
        socket.destroy();
        plain.destroy();
        reject(error);
      }
    };
    const onSecure = (): void => settle();
    const onClose = (): void => settle(new SealpostError('upstream-tls-failed', { detail: 'the upstream closed the connection' }));
    const abort = (): void => settle(new SealpostError('shutting-down'));
    const late = (): void => settle(new SealpostError('upstream-tls-failed', { detail: `no handshake in ${timeout} ms` }));
    const timer = setTimeout(late, timeout);
    socket.once('secureConnect', onSecure);
    socket.once('close', onClose);
    // Stays for ever, as the one of the plain socket does.
    socket.on('error', (error: NodeJS.ErrnoException) => settle(refusal(error)));
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
  });
}

/**
 * Node falls back on the CN where there is no DNS name (RFC 6125 §6.4.4). A CN is free text, which CAs have long stopped to verify as a
 * name, and name constraints do not hold it.
 */
function checkNames(host: string, certificate: PeerCertificate): Error | undefined {
  return checkServerIdentity(host, { ...certificate, subject: { ...certificate.subject, CN: '' } });
}

function factsOf(socket: TLSSocket): TlsFacts {
  return { version: socket.getProtocol() ?? '', cipher: socket.getCipher().standardName, verified: socket.authorized };
}

/** Codes only: the text of these errors quotes names out of a certificate that nobody vouches for (A33). */
function refusal(cause: Error & { readonly code?: unknown }): SealpostError {
  const code = typeof cause.code === 'string' ? cause.code : 'unknown reason';
  // Codes of X.509 verification are those of OpenSSL, which begin neither as system errors nor as Node's own do.
  const isCertificate = code === 'ERR_TLS_CERT_ALTNAME_INVALID' || !/^(?:E[A-Z0-9]+|ERR_.*|unknown reason)$/.test(code);
  if (!isCertificate) return new SealpostError('upstream-tls-failed', { detail: code, cause });
  const words = certificateFaults[code];
  return new SealpostError('upstream-unverified', { detail: words === undefined ? code : `${words} (${code})`, cause });
}
