/**
 * The login of the relay, and what is remembered of one that was refused: Active Directory locks an account after some wrong passwords,
 * and a relay that asks for every recipient would lock its own within a second. So the same password is tried again after a pause that
 * grows, and another one at once.
 */
import { createHash } from 'node:crypto';
import type { SealpostError } from '../../errors.ts';
import { unavailable } from './fault.ts';
import { type Result, results } from './message.ts';

export interface Login {
  readonly dn: string;
  /** Not empty. */
  readonly password: string;
}

export interface Logins {
  /** Why this login is not tried now; undefined where it may be. */
  refusal(login: Login | undefined): SealpostError | undefined;
  /** The directory refused it; answers the fault to tell. */
  refused(login: Login | undefined, result: Result): SealpostError;
  /** The directory took it. */
  taken(): void;
}

/** ms to the next try; the last one stays. Three tries in the half hour that Active Directory usually counts over. */
const PAUSES_MS = [60_000, 300_000, 1_800_000] as const;
const pauseOf = (times: number): number => PAUSES_MS[Math.min(times, PAUSES_MS.length - 1)] ?? 0;

interface Refusal {
  /** Of name and password, so that neither is kept. */
  readonly digest: string;
  readonly result: Result;
  readonly times: number;
  /** ms */
  readonly until: number;
}

/** `now`: ms. */
export function makeLogins(now: () => number): Logins {
  let last: Refusal | undefined;
  return {
    refusal: (login) => {
      if (last === undefined || last.digest !== digestOf(login)) return undefined;
      const wait = last.until - now();
      // More than the whole pause is a clock that was set back.
      return wait > 0 && wait <= pauseOf(last.times) ? faultOf(last, now()) : undefined;
    },
    refused: (login, result) => {
      const digest = digestOf(login);
      const times = last?.digest === digest ? last.times + 1 : 0;
      last = { digest, result, times, until: now() + pauseOf(times) };
      return faultOf(last, now());
    },
    taken: () => {
      last = undefined;
    },
  };
}

/** Throws `lookup-unavailable` where there is no password. */
export function loginOf(dn: string, password: string | undefined): Login {
  // RFC 4513 §5.1.2: a server takes an empty password for no login at all, and says that all is well.
  if (password === undefined || password === '') throw unavailable('the password of bind is empty');
  return { dn, password };
}

const digestOf = (login: Login | undefined): string =>
  createHash('sha256')
    .update(JSON.stringify([login?.dn, login?.password]))
    .digest('hex');

/** What Active Directory says in figures: error codes of Windows ([MS-ERREF] 2.2), by their hexadecimal form. */
const activeDirectoryReasons: Readonly<Record<string, string>> = {
  '525': 'there is no such account',
  '52e': 'name or password is wrong',
  '530': 'the account may not log in at this time',
  '531': 'the account may not log in from here',
  '532': 'the password has expired',
  '533': 'the account is disabled',
  '701': 'the account has expired',
  '773': 'the password must be changed first',
  '775': 'the account is locked',
};

function faultOf({ result: { code, reason = '' }, until }: Refusal, now: number): SealpostError {
  const usual = code === results.invalidCredentials ? 'name or password is wrong, or the account is locked' : 'it may not log in so';
  const why = Object.hasOwn(activeDirectoryReasons, reason) ? activeDirectoryReasons[reason] : usual;
  return unavailable(`the directory refuses the login of the relay: ${why} (LDAP result ${code})`, {
    hint: `mend bind: another password counts at once, the same one is tried again in ${Math.ceil((until - now) / 1000)} s`,
  });
}
