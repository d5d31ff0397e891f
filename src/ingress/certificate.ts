/**
 * The certificate that a listener shows, live: once its files change on disk, the sessions that begin from then on see the new
 * one, without a signal or a restart. The files are polled, since change notices are lost on network file systems and in containers.
 *
 * Certificate and key are two files, and nobody writes two files at once. So a change is looked at only after both have rested
 * for a poll, and a pair that cannot be read, is cut short or does not fit together leaves the old one in use, with one warning;
 * it is tried again at every poll.
 */
import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import type { Logger } from 'pino';
import { readText } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';

export interface CertificateFiles {
  /** PEM: the listener's own certificate first, then those between it and its CA. */
  readonly certificate: string;
  /** The file of the private key, whose changes are looked for; undefined where the key stands in no file. */
  readonly keyFile: string | undefined;
  /** The private key as PEM; rejects with SealpostError. */
  readonly readKey: () => Promise<string>;
}

export interface LiveCertificate {
  /** For the next handshake. */
  context(): SecureContext;
  /** Looks at the files now. */
  refresh(): Promise<void>;
  /** Ends the polling. */
  close(): void;
}

export interface LiveOptions {
  readonly log: Logger;
  /** ms */
  readonly now: () => number;
  /** ms between two looks at the files. */
  readonly pollMs?: number;
}

const POLL_MS = 1000;
/** Longer than an afternoon, shorter than the life of a certificate that is renewed by a program. */
export const EXPIRES_SOON_MS = 14 * 86_400_000;
const BEGINNING = '-----BEGIN CERTIFICATE-----';
const BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * SP 800-52r2 §3.3.1: AES, ephemeral ECDH, SHA-2; no RSA key exchange, no CBC with SHA-1, no 3DES. The CBC suites with SHA-2 are
 * for old Windows, which has no GCM with an RSA certificate.
 */
const CIPHERS = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-SHA384',
  'ECDHE-RSA-AES256-SHA384',
  'ECDHE-ECDSA-AES128-SHA256',
  'ECDHE-RSA-AES128-SHA256',
].join(':');

/** A certificate chain and its key as texts, and what they make. */
export interface Pair {
  readonly text: string;
  readonly context: SecureContext;
  /** The listener's own certificate. */
  readonly own: X509Certificate;
}

/** Reads both files. Throws `listener-certificate-unusable` or `file-unreadable`, and what `readKey` throws. */
export async function readPair({ certificate, readKey }: CertificateFiles): Promise<Pair> {
  const chain = await readText(certificate);
  const secret = await readKey();
  const unusable = (what: string, cause?: unknown): SealpostError =>
    new SealpostError('listener-certificate-unusable', { detail: `${certificate}: ${what}`, cause });
  const blocks = chain.match(BLOCK) ?? [];
  if (blocks.length === 0) throw unusable('there is no PEM certificate in it');
  if (blocks.length !== chain.split(BEGINNING).length - 1) throw unusable('a certificate in it is cut short');
  let own: X509Certificate | undefined;
  for (const block of blocks) {
    try {
      const read = new X509Certificate(block);
      own ??= read;
    } catch (cause) {
      throw unusable('a certificate in it is damaged', cause);
    }
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(secret);
  } catch (cause) {
    throw unusable('its key is not a PEM private key without a passphrase', cause);
  }
  if (own === undefined || !own.checkPrivateKey(key)) throw unusable('it does not fit its key');
  try {
    return { text: `${chain}\0${secret}`, context: makeContext(chain, secret), own };
  } catch (cause) {
    throw unusable('TLS does not take it: its key or signature is too weak', cause);
  }
}

function makeContext(cert: string, key: string): SecureContext {
  return createSecureContext({
    cert,
    key,
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.3',
    ciphers: CIPHERS,
    honorCipherOrder: true,
    // Without tickets there is nothing to resume: each session shows its certificate anew, and no ticket key outlives a reload.
    // Renegotiation in TLS 1.2 only costs; TLSSocket.disableRenegotiation() does nothing where no tls.Server made the socket.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    sessionIdContext: 'sealpost',
  });
}

/** Throws what `readPair` throws, where there is nothing to start with. */
export async function openLiveCertificate(files: CertificateFiles, { log, now, pollMs = POLL_MS }: LiveOptions): Promise<LiveCertificate> {
  let known = await stampOf(files);
  let used = await readPair(files);
  let settled = '';
  let complaint: string | undefined;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  tell(used, 'certificate of a listener read');

  function tell({ own }: Pair, message: string): void {
    const about = { path: files.certificate, fingerprint: own.fingerprint256.replaceAll(':', '').toLowerCase(), not_after: own.validTo };
    const left = Date.parse(own.validTo) - now();
    if (left < 0) log.warn(about, 'certificate of a listener has expired');
    else if (left < EXPIRES_SOON_MS) log.warn(about, 'certificate of a listener expires soon');
    else log.info(about, message);
  }

  const refresh = async (): Promise<void> => {
    const stamp = await stampOf(files);
    const rests = stamp === known;
    known = stamp;
    if (!rests || stamp === settled) return;
    try {
      const pair = await readPair(files);
      if (pair.text !== used.text) {
        used = pair;
        tell(pair, 'certificate of a listener changed');
      }
      complaint = undefined;
      // Written to while it was read: looked at once more.
      settled = (await stampOf(files)) === stamp && isOld(stamp, now()) ? stamp : '';
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error);
      if (said !== complaint)
        log.warn({ path: files.certificate, err: error }, 'certificate of a listener cannot be used, the old one stays');
      complaint = said;
    }
  };
  const poll = async (): Promise<void> => {
    await refresh();
    rest();
  };
  const rest = (): void => {
    if (closed) return;
    timer = setTimeout(() => void poll(), pollMs);
    timer.unref();
  };
  rest();
  return {
    context: () => used.context,
    refresh,
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** A file this young may change again within the same tick of the file system's clock. */
const SETTLED_AFTER_MS = 2000;

/** What of the files tells a change without reading them; the youngest time of them in front. Never rejects. */
async function stampOf({ certificate, keyFile }: CertificateFiles): Promise<string> {
  let youngest = 0n;
  const parts: string[] = [];
  for (const file of keyFile === undefined ? [certificate] : [certificate, keyFile]) {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs, ctimeMs } = await stat(file, { bigint: true });
      if (ctimeMs > youngest) youngest = ctimeMs;
      parts.push([dev, ino, size, mtimeNs, ctimeNs].join(':'));
    } catch {
      parts.push('gone');
    }
  }
  return `${youngest} ${parts.join(' ')}`;
}

const isOld = (stamp: string, now: number): boolean => Math.abs(now - Number(stamp.split(' ')[0])) > SETTLED_AFTER_MS;
