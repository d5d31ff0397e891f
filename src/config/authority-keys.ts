/** `certificates.authority`: the in-house CA. Its files are named by `keys` and `certificates.trust`. */
import { z } from 'zod';
import { key, type Judgement } from '../document/schema.ts';
import { bindAddress, duration, type Secret, text, wholeNumber } from './values.ts';

/** Where the root's list is answered, beside the other: the configuration names only one. */
export const ROOT_LIST_PATH = '/in-house-root.crl';
const HIGHEST_PORT = 65_535;
/** The relay looks once a day and renews at half: a shorter list could end between two looks. */
const LEAST_VALID_MS = 3 * 86_400_000;
const MOST_VALID_MS = 365 * 86_400_000;

const listUrl = text('a URL', (written): Judgement<string> => {
  const wrong = (what: string, mend = 'for example http://relay.clinic.example:8025/in-house.crl'): Judgement<string> => ({
    kind: 'wrong',
    wrong: what,
    mend,
  });
  const url = URL.canParse(written) ? new URL(written) : undefined;
  if (url === undefined) return wrong('is not a URL');
  // RFC 5280 §8: the certificate of an https server would have to be checked first, by a list.
  if (url.protocol !== 'http:') return wrong('does not begin with http://: a list is signed, and https would ask for another list first');
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    return wrong('holds more than a host, a port and a name');
  if (!/^\/[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(url.pathname)) return wrong('names no file right below its host');
  if (url.pathname === ROOT_LIST_PATH) return wrong("has the name of the root's list");
  return { kind: 'value', value: url.href };
});

const crl = () => ({
  url: key(listUrl.optional(), {
    meaning:
      'Where others find the list: it is named in the certificates that are issued from then on. What is served there is for you to see to, or for `listen`.',
    unit: 'URL',
    example: 'http://relay.clinic.example:8025/in-house.crl',
  }),
  listen: key(
    z
      .strictObject({
        host: key(bindAddress, {
          meaning: 'The address on which the relay answers for its lists, over HTTP.',
          unit: 'address',
          example: '0.0.0.0',
        }),
        port: key(wholeNumber(0, HIGHEST_PORT), { meaning: 'The TCP port; 0 takes any free one.', unit: 'number', example: '8025' }),
      })
      .optional(),
    {
      meaning: 'Lets the relay serve the lists itself, under the name in `url`; the list of the root is `in-house-root.crl` beside it.',
      unit: 'keys',
      example: '{ host: 0.0.0.0, port: 8025 }',
    },
  ),
  valid: key(duration.prefault('7d'), {
    meaning: 'How long a list counts; the relay writes the next one at half of it. From `3d` to `365d`.',
    unit: 'duration',
    example: '7d',
  }),
});

/** `secret`: how a secret is written, from the folder of the configuration. */
export const authority = (secret: z.ZodType<Secret>) => ({
  passphrase: key(secret.optional(), {
    meaning: 'Opens the encrypted keys of the in-house CA; where it is left out, commands ask for it on the terminal.',
    unit: 'secret',
    example: 'file:keys/ca.passphrase',
  }),
  crl: key(z.strictObject(crl()).optional(), {
    meaning: 'Revocation lists of the in-house CA: with this key the running relay keeps them fresh, `{}` for all defaults.',
    unit: 'keys',
    example: '{ valid: 7d }',
  }),
  renew: key(
    z
      .strictObject({
        before: key(duration, {
          meaning: 'How long before its end a certificate of the in-house CA is renewed by the relay.',
          unit: 'duration',
          example: '30d',
        }),
      })
      .optional(),
    {
      meaning: 'Lets the relay renew certificates of the in-house CA by itself and send them to their readers, sealed to the old ones.',
      unit: 'keys',
      example: '{ before: 30d }',
    },
  ),
});

interface Lists {
  readonly url?: string | undefined;
  readonly listen?: { readonly host: string; readonly port: number } | undefined;
  readonly valid: number;
}

/** What the keys of `crl` say together and with the listeners for mail: each fault by its key. */
export function crlFaults(
  { url, listen, valid }: Lists,
  listeners: readonly { readonly host: string; readonly port: number }[],
): readonly { readonly key: keyof Lists; readonly wrong: string; readonly mend: string }[] {
  const faults: { key: keyof Lists; wrong: string; mend: string }[] = [];
  if (listen !== undefined && url === undefined)
    faults.push({ key: 'listen', wrong: 'is there, and url is not', mend: 'url: http://relay.clinic.example:8025/in-house.crl' });
  if (listen !== undefined && listen.port !== 0 && listeners.some(({ host, port }) => port === listen.port && host === listen.host))
    faults.push({ key: 'listen', wrong: 'is the address and port of a listener for mail', mend: 'a port of its own' });
  if (valid < LEAST_VALID_MS || valid > MOST_VALID_MS)
    faults.push({ key: 'valid', wrong: 'is not from 3d to 365d', mend: 'for example 7d' });
  return faults;
}
