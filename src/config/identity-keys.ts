/** `identities`: the certificates and keys that the site signs with, by the names that rules use. */
import type { z } from 'zod';
import { key } from '../document/schema.ts';
import { mapOf, type Read } from './address-book-keys.ts';
import { pathFrom, type Secret, secretFrom } from './values.ts';

/** Where one identity stands: a PKCS#12, or certificate and key in PEM. `chain`: PEM of what stands above the certificate. */
export type IdentityPlace = {
  readonly name: string;
  readonly passphrase?: Secret | undefined;
  readonly chain?: string | undefined;
} & (
  | { readonly p12: string; readonly passphrase: Secret; readonly cert?: undefined; readonly key?: undefined }
  | { readonly cert: string; readonly key: Secret; readonly p12?: undefined }
);

const EXAMPLE = 'clinic: { p12: secrets/clinic.p12, passphrase: file:secrets/clinic.passphrase }';
const KNOWN: readonly string[] = ['p12', 'cert', 'key', 'passphrase', 'chain'];

const wrong = (what: string, mend?: string): Read<never> => ({ kind: 'wrong', wrong: what, ...(mend === undefined ? {} : { mend }) });

/** `folder`: where the configuration file stands, absolute. */
function identityIn(folder: string): (name: string, written: unknown) => Read<IdentityPlace> {
  const path = pathFrom(folder);
  const secret = secretFrom(folder);
  return (name, written) => {
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(name)) return wrong('is not a name', 'ASCII letters, digits, dots, hyphens: clinic');
    if (typeof written !== 'object' || written === null || Array.isArray(written)) return wrong('wants keys below it');
    const entries = new Map<string, unknown>(Object.entries(written));
    const unknown = [...entries.keys()].find((one) => !KNOWN.includes(one));
    if (unknown !== undefined) return wrong(`does not know ${unknown}`, `here stand: ${KNOWN.join(', ')}`);
    const faults: string[] = [];
    const take = <T>(one: string, kind: z.ZodType<T>): T | undefined => {
      if (!entries.has(one)) return undefined;
      const read = kind.safeParse(entries.get(one));
      if (!read.success) faults.push(`${one} ${read.error.issues[0]?.message ?? 'is wrong'}`);
      return read.data;
    };
    const [p12, cert, chain] = [take('p12', path), take('cert', path), take('chain', path)];
    const [own, passphrase] = [take('key', secret), take('passphrase', secret)];
    if (faults[0] !== undefined) return wrong(faults[0]);
    if (p12 !== undefined) {
      if (cert !== undefined || own !== undefined)
        return wrong('has p12 beside cert or key', 'a PKCS#12 holds both: take one of the two out');
      return passphrase === undefined
        ? wrong('has no passphrase for its p12', 'passphrase: file:PATH or env:NAME')
        : { kind: 'value', value: { name, p12, passphrase, chain } };
    }
    if (cert === undefined || own === undefined) return wrong(`has neither p12 nor ${cert === undefined ? 'cert' : 'key'}`);
    return { kind: 'value', value: { name, cert, key: own, passphrase, chain } };
  };
}

export const identities = (folder: string) =>
  key(mapOf(EXAMPLE, identityIn(folder)).optional(), {
    meaning:
      'The certificates and private keys that rules sign with, by name, see [signing](signing.md). Each is `p12` with its `passphrase`, or `cert` and `key` in PEM (`passphrase` where the key is encrypted); `chain`, a PEM file, where the certificates above it stand apart. Read anew when a file changes.',
    unit: 'identities',
    example: `{ ${EXAMPLE} }`,
  });
