/**
 * The lines of an AUTH exchange (RFC 4954): PLAIN (RFC 4616) and LOGIN, with an initial response and without. Only the lines:
 * whether AUTH may be said, and whether name and password are right, is asked elsewhere.
 */
import { isUtf8 } from 'node:buffer';
import { SealpostError } from '../errors.ts';

export type AuthStep =
  /** `challenge` is said behind 334; the next line goes to `answer`. */
  | { readonly kind: 'ask'; readonly challenge: string; readonly answer: (line: Buffer) => AuthStep }
  | { readonly kind: 'try'; readonly name: string; readonly password: string };

/** What EHLO lists. */
export const MECHANISMS = ['PLAIN', 'LOGIN'] as const;

/** `Username:` and `Password:`, as every client of LOGIN knows them. */
const ASK_NAME = 'VXNlcm5hbWU6';
const ASK_PASSWORD = 'UGFzc3dvcmQ6';
/** RFC 4616 §2: octets of an identity, and of a password, that must be taken. */
const MAX_IDENTITY = 255;
const MAX_PASSWORD = 1024;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Reads the command itself. Throws SealpostError with the reply, as every `answer` does. */
export function beginAuth(command: Buffer): AuthStep {
  const [, mechanism = '', initial, ...more] = command.toString('latin1').trim().split(/ +/);
  if (more.length > 0) throw malformed('one initial response at most');
  switch (mechanism.toUpperCase()) {
    case 'PLAIN':
      return initial === undefined
        ? { kind: 'ask', challenge: '', answer: (line) => readPlain(answered(line)) }
        : readPlain(decode(initial));
    case 'LOGIN':
      return initial === undefined
        ? { kind: 'ask', challenge: ASK_NAME, answer: (line) => askPassword(answered(line)) }
        : askPassword(decode(initial));
    case '':
      throw malformed('a mechanism stands behind AUTH');
    default:
      throw new SealpostError('auth-mechanism-unknown');
  }
}

/** `[authzid] NUL authcid NUL passwd` of RFC 4616 §2. */
function readPlain(message: Buffer): AuthStep {
  const parts = textOf(message).split('\0');
  const [as = '', name = '', password = ''] = parts;
  if (parts.length !== 3) throw malformed('PLAIN takes an empty text, the name and the password, a NUL between each');
  // Nobody may act for somebody else.
  if (as !== '' && as !== name) throw new SealpostError('login-refused');
  return attempt(name, password);
}

function askPassword(message: Buffer): AuthStep {
  const name = textOf(message);
  return { kind: 'ask', challenge: ASK_PASSWORD, answer: (line) => attempt(name, textOf(answered(line))) };
}

function attempt(name: string, password: string): AuthStep {
  if (name === '' || password === '') throw malformed('the name or the password is empty');
  if (Buffer.byteLength(name) > MAX_IDENTITY || Buffer.byteLength(password) > MAX_PASSWORD)
    throw malformed('the name or the password is too long');
  if (/\p{Cc}/u.test(name) || password.includes('\0')) throw malformed('a control character in the name or the password');
  return { kind: 'try', name, password };
}

/** A line behind a challenge: base64, or `*`, which ends the exchange (RFC 4954 §4). */
function answered(line: Buffer): Buffer {
  const text = line.toString('latin1');
  if (text === '*') throw new SealpostError('auth-cancelled');
  return decode(text);
}

/** RFC 4954 §4: `=` is the empty initial response; what is not base64 is answered 501. */
function decode(text: string): Buffer {
  if (text !== '=' && !BASE64.test(text)) throw malformed('that is not base64');
  return Buffer.from(text, 'base64');
}

function textOf(octets: Buffer): string {
  if (!isUtf8(octets)) throw malformed('that is not UTF-8');
  return octets.toString('utf8');
}

const malformed = (detail: string): SealpostError => new SealpostError('auth-malformed', { detail });
