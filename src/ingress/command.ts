/**
 * The command lines MAIL and RCPT (RFC 5321 §4.1.1.2–3), read from the octets the client sent: smtp-server's own reader takes
 * `a)(uid=*)@y`, drops source routes and rewrites A-labels, so a mailbox could be looked up as one and delivered as another.
 */
import { isUtf8 } from 'node:buffer';
import { SealpostError } from '../errors.ts';
import { parseMailbox, type Mailbox, type Notify, type Recipient } from '../message/envelope.ts';
import { assertRet, readEnvid, readNotify, readOrcpt } from './dsn.ts';

/** Octets of one command line: 512, and what SIZE, BODY, SMTPUTF8 and DSN add (RFC 5321 §4.5.3.1.4, RFC 3461 §5), with room for UTF-8. */
export const MAX_COMMAND_LINE = 2048;
/** Octets of a line of an AUTH exchange (RFC 4954 §4.9). */
export const MAX_AUTH_LINE = 12_288;

const KEYWORDS = { MAIL: /^MAIL FROM: *(?=<)/i, RCPT: /^RCPT TO: *(?=<)/i } as const;
/** What stands between < and >, where a quoted string may hold either. No two branches start alike: linear time. */
const PATH = /^<((?:[^"<>\\]|"(?:[^"\\]|\\.)*")*)>/su;
/** esmtp-param of RFC 5321 §4.1.2. */
const PARAMETER = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e]+))?$/;
/** size-value of RFC 1870 §6.1. */
const SIZE_VALUE = /^\d{1,20}$/;

export interface MailCommand {
  /** Null is the null reverse-path `<>`. */
  readonly sender: Mailbox | null;
  /** True where the client said SMTPUTF8 (RFC 6531 §3.4): recipients may then be UTF-8 too. */
  readonly smtputf8: boolean;
  /** As it was sent; null where it was not. */
  readonly envid: string | null;
  /** Octets the client says it will send (RFC 1870); 0 where it does not say. */
  readonly declared: number;
  /** True where the client said BODY=8BITMIME (RFC 6152 §3). */
  readonly eightBit: boolean;
}

type AddressCode = 'sender-invalid' | 'address-invalid';

export interface Offered {
  /** The limit that a declared SIZE is held to. */
  readonly messageBytes: number;
  /** Whether AUTH is known here: its parameter of MAIL is then read, and means nothing, since no client speaks for another. */
  readonly auth: boolean;
}

/** Reads MAIL. Throws SealpostError with the reply. */
export function readMail(line: Buffer, offered: Offered): MailCommand {
  const { path, parameters } = splitLine(line, 'MAIL', 'sender-invalid');
  const asked = readMailParameters(parameters, offered);
  return { sender: path === '' ? null : readMailbox(path, 'sender-invalid', asked.smtputf8), ...asked };
}

/** Reads RCPT; `hostname` completes a bare `postmaster`, which every server must take (RFC 5321 §4.1.1.3). */
export function readRcpt(line: Buffer, smtputf8: boolean, hostname: string): Recipient {
  const { path, parameters } = splitLine(line, 'RCPT', 'address-invalid');
  let notify: Notify = null;
  let orcpt: string | null = null;
  for (const [name, value] of parameters) {
    if (name === 'NOTIFY') notify = readNotify(value);
    else if (name === 'ORCPT') orcpt = readOrcpt(value);
    else throw new SealpostError('parameter-unknown', { detail: name });
  }
  const complete = path.toLowerCase() === 'postmaster' ? `${path}@${hostname}` : path;
  return { mailbox: readMailbox(complete, 'address-invalid', smtputf8), notify, orcpt };
}

interface SplitLine {
  readonly path: string;
  /** Upper-case keyword → value, null where it has none. */
  readonly parameters: ReadonlyMap<string, string | null>;
}

function splitLine(line: Buffer, verb: keyof typeof KEYWORDS, code: AddressCode): SplitLine {
  // Octets that are not UTF-8 would all become U+FFFD: two addresses, one mailbox.
  if (!isUtf8(line)) throw new SealpostError(code, { detail: 'it is neither ASCII nor UTF-8' });
  const text = line.toString('utf8');
  const keyword = KEYWORDS[verb].exec(text);
  if (keyword === null) throw new SealpostError(code, { detail: 'an address stands between < and >' });
  const rest = text.slice(keyword[0].length);
  const path = PATH.exec(rest);
  if (path?.[1] === undefined) throw new SealpostError(code, { detail: 'the < is not closed by a >' });
  const tail = rest.slice(path[0].length);
  if (tail !== '' && !tail.startsWith(' ')) throw new SealpostError(code, { detail: 'something follows the >' });
  return { path: path[1], parameters: splitParameters(tail) };
}

function splitParameters(tail: string): ReadonlyMap<string, string | null> {
  const parameters = new Map<string, string | null>();
  for (const word of tail.split(' ')) {
    if (word === '') continue;
    const match = PARAMETER.exec(word);
    if (match?.[1] === undefined) throw new SealpostError('parameter-invalid');
    const name = match[1].toUpperCase();
    if (parameters.has(name)) throw new SealpostError('parameter-invalid', { detail: `${name} stands twice` });
    parameters.set(name, match[2] ?? null);
  }
  return parameters;
}

/** Whatever EHLO does not offer is refused, never ignored (RFC 5321 §4.1.1.11). */
function readMailParameters(parameters: ReadonlyMap<string, string | null>, { messageBytes, auth }: Offered): Omit<MailCommand, 'sender'> {
  let envid: string | null = null;
  for (const [name, value] of parameters) {
    switch (name) {
      case 'SIZE':
        if (value === null || !SIZE_VALUE.test(value))
          throw new SealpostError('parameter-invalid', { detail: 'SIZE is a number of octets' });
        if (Number(value) > messageBytes) throw tooBig(messageBytes);
        break;
      case 'BODY':
        if (!/^(?:7BIT|8BITMIME)$/i.test(value ?? '')) throw new SealpostError('parameter-invalid', { detail: 'BODY is 7BIT or 8BITMIME' });
        break;
      case 'SMTPUTF8':
        if (value !== null) throw new SealpostError('parameter-invalid', { detail: 'SMTPUTF8 takes no value' });
        break;
      case 'ENVID':
        envid = readEnvid(value);
        break;
      case 'RET':
        assertRet(value);
        break;
      case 'AUTH':
        // RFC 4954 §5: clients that know AUTH, such as Postfix, say AUTH=<>.
        if (!auth) throw new SealpostError('parameter-unknown', { detail: name });
        if (value === null) throw new SealpostError('parameter-invalid', { detail: 'AUTH is a mailbox or <>' });
        break;
      default:
        throw new SealpostError('parameter-unknown', { detail: name });
    }
  }
  const eightBit = /^8BITMIME$/i.test(parameters.get('BODY') ?? '');
  return { smtputf8: parameters.has('SMTPUTF8'), envid, declared: Number(parameters.get('SIZE') ?? 0), eightBit };
}

function readMailbox(path: string, code: AddressCode, smtputf8: boolean): Mailbox {
  const verdict = parseMailbox(path);
  if (verdict.kind === 'fault') throw new SealpostError(code, { detail: verdict.fault });
  // The path as written counts, not the folded mailbox: a domain in UTF-8 needs SMTPUTF8 as well (RFC 6531 §3.2).
  if (!smtputf8 && /[^\x00-\x7f]/.test(path)) throw new SealpostError('address-needs-smtputf8');
  return verdict.mailbox;
}

/** The refusal of a message over the limit, declared or real (RFC 1870 §6). */
export function tooBig(messageBytes: number): SealpostError {
  return new SealpostError('message-too-big', { detail: `the limit is ${messageBytes} octets` });
}
