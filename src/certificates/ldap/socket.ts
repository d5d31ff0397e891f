/**
 * A connection to a directory server, in clear or under TLS. TLS is 1.2 or 1.3, and the certificate is verified for the name or
 * address that stands in the configuration. There is no fall-back: whatever fails here ends the connection before the relay's
 * login or an address is sent (A26).
 */
import { X509Certificate } from 'node:crypto';
import { BlockList, isIP, connect as connectPlain, type Socket } from 'node:net';
import { checkServerIdentity, connect as connectTls, createSecureContext, getCACertificates } from 'node:tls';
import type { PeerCertificate, SecureContext } from 'node:tls';
import type { SealpostError } from '../../errors.ts';
import { unavailable } from './fault.ts';

/** `off` for this machine alone: the socket is held to that. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly tls: 'implicit' | 'starttls' | 'off';
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Throws `lookup-unavailable`, also where `signal` is aborted. The listener for errors stays for ever: one that comes late ends nothing. */
export async function dial({ host, port, tls }: ServerAddress, signal: AbortSignal): Promise<Socket> {
  const socket = connectPlain({ host, port, autoSelectFamily: true, noDelay: true });
  await established(socket, 'connect', signal, (code) => unavailable(`no connection (${code})`, { hint: REACHABLE }));
  const address = socket.remoteAddress ?? '';
  // A name in the configuration may come to mean another machine.
  if (tls === 'off' && !loopback.check(address, address.includes(':') ? 'ipv6' : 'ipv4')) {
    socket.destroy();
    throw unavailable('without TLS only servers on this machine are asked', { hint: 'starttls: true, or ldaps:// in the url' });
  }
  return socket;
}

/** The handshake on a connected socket. Throws `lookup-unavailable`. */
export async function secure(plain: Socket, host: string, context: SecureContext, signal: AbortSignal): Promise<Socket> {
  // Without `servername` the certificate is held to `host`, an address then, by its iPAddress names (RFC 5280 §4.2.1.6).
  const name = isIP(host) === 0 ? { servername: host } : {};
  const socket = connectTls({ socket: plain, host, ...name, secureContext: context, checkServerIdentity: checkNames });
  socket.once('close', () => plain.destroy());
  await established(socket, 'secureConnect', signal, tlsFault);
  return socket;
}

/** `ca`: PEM of CAs that are trusted beside those of Node. Throws `lookup-unavailable` where it is none. */
export function makeContext(ca: string | undefined): SecureContext {
  // OpenSSL passes over PEM that is none.
  if (ca !== undefined && !isCertificate(ca)) throw unavailable('the file of ca holds no certificate in PEM', { hint: CA_HINT });
  const authorities = ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] };
  return createSecureContext({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', ...authorities });
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

function established(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
  faultOf: (code: string) => SealpostError,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (fault?: SealpostError): void => {
      signal.removeEventListener('abort', abort);
      socket.removeListener(event, done);
      socket.removeListener('close', closed);
      if (fault === undefined) resolve();
      else {
        socket.destroy();
        reject(fault);
      }
    };
    const done = (): void => settle();
    const abort = (): void => settle(faultOf('no answer in time'));
    const closed = (): void => settle(faultOf('closed by the server'));
    socket.once(event, done);
    socket.once('close', closed);
    socket.on('error', (error: NodeJS.ErrnoException) => settle(faultOf(error.code ?? 'unknown reason')));
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
  });
}

/** A CN is free text, which CAs have long stopped to verify as a name (RFC 6125 §6.4.4), and Node falls back on it. */
function checkNames(host: string, certificate: PeerCertificate): Error | undefined {
  return checkServerIdentity(host, { ...certificate, subject: { ...certificate.subject, CN: '' } });
}

const REACHABLE = 'is the server running, and do host and port in url fit? a firewall between?';
const CA_HINT = 'openssl x509 -inform DER -in FILE makes PEM of DER';
const certificateFaults: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'it has expired',
  CERT_NOT_YET_VALID: 'it is not valid yet',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its CA is not trusted',
  UNABLE_TO_GET_ISSUER_CERT: 'its CA is not known',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its CA is not known',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its CA is not known',
  ERR_TLS_CERT_ALTNAME_INVALID: 'it is for another name',
};

/** Codes only: the texts of these errors quote names out of a certificate that nobody vouches for. */
function tlsFault(code: string): SealpostError {
  const words = certificateFaults[code];
  return words === undefined
    ? unavailable(`no TLS (${code})`, { hint: 'the server must speak TLS 1.2 or 1.3; does ldap:// or ldaps:// fit the port?' })
    : unavailable(`the certificate of the server is not believed: ${words} (${code})`, {
        hint: 'mend its certificate, name the server in url as its certificate does, or name its CA: ca: PATH',
      });
}
