/** The server's side of a TLS handshake, on a socket that is open already: at its first octet, or behind STARTTLS. */
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket } from 'node:tls';

/** How a listener speaks TLS. */
export interface TlsTerms {
  /** `implicit`: from the first octet (RFC 8314 §3.3); `starttls`: after that command (RFC 3207). */
  readonly mode: 'starttls' | 'implicit';
  /** Whether clients are asked for a certificate; `required`: no mail without one that a user of ours has. */
  readonly clientCertificates: 'off' | 'optional' | 'required';
  /** For the next handshake. */
  readonly context: () => SecureContext;
}

export interface HandshakeOptions {
  readonly terms: TlsTerms;
  /** Until it must stand, whatever the client sends meanwhile (A29). */
  readonly withinMs: number;
  /** Open sockets: the TLS socket takes the place of the one below it, since a handshake must be torn down from above. */
  readonly sockets: Set<Socket>;
  /** Called once: the session is encrypted. */
  readonly onSecure: () => void;
  /** Called for every error of the socket, before and after; where it comes before `onSecure`, the socket is gone. */
  readonly onError: (error: Error) => void;
}

/** RFC 5321 §4.5.3.2 gives a client minutes for thought; a handshake needs none. */
export const HANDSHAKE_MS = 15_000;

/** Begins the handshake. The socket that comes back may be destroyed at any time; it is to be read from `onSecure` on. */
export function startTls(below: Socket, { terms, withinMs, sockets, onSecure, onError }: HandshakeOptions): TLSSocket {
  // The idle timer of the session goes on on the new socket.
  below.setTimeout(0);
  below.removeAllListeners('timeout');
  const socket = new TLSSocket(below, {
    isServer: true,
    secureContext: terms.context(),
    requestCert: terms.clientCertificates !== 'off',
    // Whom a certificate stands for is told by the users file, which knows fingerprints; no CA is asked.
    rejectUnauthorized: false,
  });
  sockets.delete(below);
  sockets.add(socket);
  let secure = false;
  const timer = setTimeout(() => socket.destroy(new Error('the TLS handshake took too long')), withinMs);
  timer.unref();
  socket.on('error', onError);
  socket.once('close', () => {
    clearTimeout(timer);
    sockets.delete(socket);
    if (!secure && socket.errored === null) onError(new Error('the client left during the TLS handshake'));
  });
  // A client may end its side of a session, but not of a handshake.
  socket.once('end', () => {
    if (!secure) socket.destroy();
  });
  socket.once('secure', () => {
    secure = true;
    clearTimeout(timer);
    onSecure();
  });
  return socket;
}

/** SHA-256 of the certificate that the client proved to have the key of, in lower-case hex; undefined where there is none that is valid. */
export function peerFingerprint(socket: TLSSocket, now: number): string | undefined {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  if (now < Date.parse(certificate.validFrom) || now > Date.parse(certificate.validTo)) return undefined;
  return createHash('sha256').update(certificate.raw).digest('hex');
}
