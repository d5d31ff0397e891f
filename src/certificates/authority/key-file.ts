/**
 * The private key of a CA in a file: PKCS#8 in PEM, encrypted under a passphrase (RFC 5958 §3). Above it stands the SHA-256 of what
 * is encrypted, so that a file that was damaged is not taken for a wrong passphrase: somebody would try passphrases for days.
 */
import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { SealpostError } from '../../errors.ts';
import { octetString, sequence } from '../encode.ts';
import { decryptPbes2, encryptPbes2 } from '../pkcs12/pbes2.ts';

/** What people choose wants stretching: a tenth of a second a guess and core. node:crypto itself writes 2,048. */
export const KEY_ITERATIONS = 600_000;

const LABEL = 'ENCRYPTED PRIVATE KEY';
const MAX_KEY_FILE = 64 * 1024;
const DIGEST = /^# sha-256 ([0-9a-f]{64})\r?$/m;
const BLOCK = /-----BEGIN ([A-Z ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----/;

export function writeKeyFile(key: KeyObject, passphrase: string, what: string): string {
  const plain = key.export({ type: 'pkcs8', format: 'der' });
  const { algorithm, ciphertext } = encryptPbes2(plain, passphrase, KEY_ITERATIONS);
  plain.fill(0);
  const der = sequence(algorithm, octetString(ciphertext));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return [`# ${what}`, `# sha-256 ${sha256(der)}`, `-----BEGIN ${LABEL}-----`, ...lines, `-----END ${LABEL}-----`, ''].join('\n');
}

export const isEncryptedKey = (text: string): boolean => BLOCK.exec(text)?.[1] === LABEL;

/** Throws `key-malformed`, whose detail tells a wrong passphrase from a damaged file; `file` names it for people. */
export function readKeyFile(text: string, passphrase: string | undefined, file: string): KeyObject {
  const found = examine(text, passphrase, file);
  if (found.kind === 'open') return found.key;
  try {
    return createPrivateKey({ key: found.der, format: 'der', type: 'pkcs8', passphrase: found.passphrase });
  } catch (cause) {
    throw found.fault(cause);
  }
}

/** The same for whoever shares its thread with mail: the passphrase of a key that this program wrote is stretched on another one. */
export async function unlockKeyFile(text: string, passphrase: string | undefined, file: string): Promise<KeyObject> {
  const found = examine(text, passphrase, file);
  if (found.kind === 'open') return found.key;
  let plain: Buffer | undefined;
  try {
    plain = await decryptPbes2(found.der, found.passphrase);
    if (plain !== undefined) return createPrivateKey({ key: plain, format: 'der', type: 'pkcs8' });
  } catch (cause) {
    throw found.fault(cause);
  } finally {
    plain?.fill(0);
  }
  return readKeyFile(text, passphrase, file);
}

type Examined =
  | { readonly kind: 'open'; readonly key: KeyObject }
  /** `fault`: what a passphrase that does not open it means. */
  | { readonly kind: 'locked'; readonly der: Buffer; readonly passphrase: string; readonly fault: (cause: unknown) => SealpostError };

function examine(text: string, passphrase: string | undefined, file: string): Examined {
  const damaged = (cause?: unknown): SealpostError =>
    new SealpostError('key-malformed', { detail: `${file} is damaged`, hint: 'restore it from a backup of the keys folder', cause });
  const [, , body = ''] = (text.length > MAX_KEY_FILE ? null : BLOCK.exec(text)) ?? [];
  if (body.trim() === '') throw damaged();
  const der = Buffer.from(body, 'base64');
  const [, digest] = DIGEST.exec(text) ?? [];
  if (digest !== undefined && digest !== sha256(der)) throw damaged();
  if (!isEncryptedKey(text)) {
    try {
      return { kind: 'open', key: createPrivateKey({ key: text, format: 'pem' }) };
    } catch (cause) {
      throw damaged(cause);
    }
  }
  if (passphrase === undefined) throw locked(file);
  const fault = (cause: unknown): SealpostError => (digest === undefined && !isWhole(der) ? damaged(cause) : wrongPassphrase(file, cause));
  return { kind: 'locked', der, passphrase, fault };
}

const wrongPassphrase = (file: string, cause: unknown): SealpostError =>
  new SealpostError('key-malformed', {
    detail: `the passphrase does not open ${file}`,
    hint: 'certificates.authority.passphrase names the one that this key was made with',
    cause,
  });

const locked = (file: string): SealpostError =>
  new SealpostError('key-malformed', {
    detail: `${file} is encrypted and its passphrase is not known`,
    hint: 'certificates.authority.passphrase: file:keys/ca.passphrase names it; or run the command at a terminal, and it asks',
  });

/** As far as its outermost length tells, in the form that lengths of a key's size have (X.690 §8.1.3). */
function isWhole(der: Buffer): boolean {
  return der.length > 4 && der[0] === 0x30 && der[1] === 0x82 && der.length === 4 + der.readUInt16BE(2);
}

const sha256 = (octets: Buffer): string => createHash('sha256').update(octets).digest('hex');
