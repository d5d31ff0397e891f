/**
 * XCLIENT (postfix.org/XCLIENT_README.html): a proxy or a test says as whom it speaks. Only listed addresses may; for all others
 * the command does not exist (A15). LOGIN is not believed: it would be a way past the users file, whose rights and rates hang
 * on a user who has shown a password.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { SealpostError } from '../errors.ts';
import { UNKNOWN_ADDRESS } from './announced.ts';
import { heloName } from './reply.ts';

/** What EHLO says of it. */
export const XCLIENT_OFFER = 'XCLIENT NAME ADDR PORT PROTO HELO';

/** What was said; undefined where it was not. */
export interface Assumed {
  /** UNKNOWN_ADDRESS where the proxy does not know. */
  readonly address: string | undefined;
  readonly port: number | undefined;
  /** As the client would have said it in HELO or EHLO. */
  readonly helo: string | undefined;
  readonly extended: boolean | undefined;
}

/** The values that say that there is none (XCLIENT_README). */
const ABSENT: ReadonlySet<string> = new Set(['[UNAVAILABLE]', '[TEMPUNAVAIL]']);
const ATTRIBUTE = /^([A-Za-z]+)=([\x21-\x7e]*)$/;
const HIGHEST_PORT = 65_535;

const wrong = (detail: string): SealpostError => new SealpostError('parameter-invalid', { detail });

/** Reads the whole line before anything of it counts. Throws SealpostError with the reply. */
export function readXclient(line: Buffer): Assumed {
  const [, ...words] = line.toString('latin1').trim().split(/ +/);
  if (words.length === 0) throw wrong('XCLIENT says nothing');
  const said = new Map<string, string | null>();
  for (const word of words) {
    const [, name = '', written = ''] = ATTRIBUTE.exec(word) ?? [];
    const attribute = name.toUpperCase();
    if (name === '' || said.has(attribute)) throw wrong('an attribute of XCLIENT is malformed, or stands twice');
    said.set(attribute, ABSENT.has(written.toUpperCase()) ? null : decodeXtext(written));
  }
  return assume(said);
}

function assume(said: ReadonlyMap<string, string | null>): Assumed {
  let [address, port, helo]: [string | undefined, number | undefined, string | undefined] = [undefined, undefined, undefined];
  let extended: boolean | undefined;
  for (const [attribute, value] of said) {
    switch (attribute) {
      case 'ADDR':
        address = value === null ? UNKNOWN_ADDRESS : readAddress(value);
        break;
      case 'PORT':
        if (value !== null && !(/^\d{1,5}$/.test(value) && Number(value) <= HIGHEST_PORT)) throw wrong('PORT is a number');
        port = value === null ? undefined : Number(value);
        break;
      case 'HELO':
        helo = value === null ? undefined : heloName(value);
        break;
      case 'PROTO':
        if (value !== null && !/^E?SMTP$/i.test(value)) throw wrong('PROTO is SMTP or ESMTP');
        extended = value === null ? undefined : value.length === 'ESMTP'.length;
        break;
      case 'NAME':
        // A name counts for nothing here, with or without a proxy.
        break;
      case 'LOGIN':
        if (value !== null) throw new SealpostError('parameter-unknown', { detail: 'LOGIN: users log in themselves' });
        break;
      default:
        throw new SealpostError('parameter-unknown', { detail: attribute });
    }
  }
  return { address, port, helo, extended };
}

function readAddress(written: string): string {
  const bare = written.replace(/^IPv6:/i, '');
  if ((isIPv4(bare) || isIPv6(bare)) && !bare.includes('%')) return bare.toLowerCase();
  throw wrong('ADDR is an IP address');
}

/** RFC 3461 §4. What it hides may be anything; each attribute judges its own. */
const decodeXtext = (text: string): string =>
  text.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
