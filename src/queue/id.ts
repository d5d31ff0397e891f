/** Digits and letters that cannot be taken for one another when a subject line is read out on the telephone. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const TIME_DIGITS = 9;
const RANDOM_DIGITS = 6;

/** A new queue id: nine digits of milliseconds, so that ids sort by time, and thirty random bits. `now` in ms since the epoch. */
export function newQueueId(now: number, randomBytes: (octets: number) => Buffer): string {
  let time = '';
  for (let rest = now, digit = 0; digit < TIME_DIGITS; digit++, rest = Math.floor(rest / 32)) time = ALPHABET.charAt(rest % 32) + time;
  return time + Array.from(randomBytes(RANDOM_DIGITS), (octet) => ALPHABET.charAt(octet % 32)).join('');
}
