/**
 * Parameters of RFC 3461: ENVID and RET of MAIL, NOTIFY and ORCPT of RCPT. What is kept is what was sent, xtext left in it, and
 * only where it means what the RFC says: it goes on to an upstream and, decoded, into notices.
 */
import { SealpostError } from '../errors.ts';
import type { Notify } from '../message/envelope.ts';
import { parseNotify } from '../message/notify.ts';

/** §4.4, §4.2: characters of the whole value. */
const MAX_ENVID = 100;
const MAX_ORCPT = 500;
/** xtext of §4, of printable ASCII once it is decoded: `+` and two upper-case hex digits for 0x20 to 0x7e. */
const XTEXT = /^(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[2-6][0-9A-F]|\+7[0-9A-E])+$/;
/** addr-type of §4.2, an atom. */
const ADDRESS_TYPE = /^[A-Za-z0-9!#$%&'*/?^_`{|}~-]{1,40}$/;

export function readEnvid(value: string | null): string {
  if (value === null || value.length > MAX_ENVID || !XTEXT.test(value)) throw wrong(`ENVID is xtext of at most ${MAX_ENVID} characters`);
  return value;
}

/** FULL is taken and answered like HDRS: no notice of this relay holds content. */
export function assertRet(value: string | null): void {
  if (!/^(?:FULL|HDRS)$/i.test(value ?? '')) throw wrong('RET is FULL or HDRS');
}

export function readNotify(value: string | null): Notify {
  const notify = parseNotify(value ?? '');
  if (notify === undefined) throw wrong('NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY');
  return notify;
}

export function readOrcpt(value: string | null): string {
  const [type = '', ...rest] = (value ?? '').split(';');
  if (value === null || value.length > MAX_ORCPT || !ADDRESS_TYPE.test(type) || !XTEXT.test(rest.join(';')))
    throw wrong(`ORCPT is a type, a semicolon and an address in xtext, at most ${MAX_ORCPT} characters`);
  return value;
}

const wrong = (detail: string): SealpostError => new SealpostError('parameter-invalid', { detail });
