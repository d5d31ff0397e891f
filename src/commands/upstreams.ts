/** What `check` looks at of the upstreams: the files and secrets they name. No upstream is spoken to. */
import { X509Certificate } from 'node:crypto';
import type { Config } from '../config.ts';
import type { Environment } from '../config/environment.ts';
import { readSecret } from '../config/secret.ts';
import type { Secret } from '../config/values.ts';
import { makeContext } from '../delivery/tls.ts';
import type { Fault } from '../document/fault.ts';
import { readText, systemCode } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import { inspectSecretFile } from './site.ts';

type Upstream = Config['upstream'][number];
type Read = { readonly kind: 'text'; readonly text: string | undefined } | { readonly kind: 'fault'; readonly fault: Fault };

/** Faults in the order of the upstreams. */
export async function inspectUpstreams(config: Config, env: Environment): Promise<Fault[]> {
  return (await Promise.all(config.upstream.map((upstream, index) => inspectUpstream(upstream, `upstream[${index}]`, env)))).flat();
}

async function inspectUpstream({ ca, cert, key, auth }: Upstream, name: string, env: Environment): Promise<Fault[]> {
  const read = {
    ca: await reading(`${name}.ca`, ca, () => readText(ca ?? '')),
    cert: await reading(`${name}.cert`, cert, () => readText(cert ?? '')),
    key: await readingSecret(`${name}.key`, key, env),
    password: await readingSecret(`${name}.auth.password`, auth?.password, env),
  };
  const faults = Object.values(read).flatMap((one) => (one.kind === 'fault' ? [one.fault] : []));
  const text = (one: Read): string | undefined => (one.kind === 'text' ? one.text : undefined);
  const authorities = text(read.ca);
  if (ca !== undefined && authorities !== undefined && !isCertificate(authorities))
    faults.push({
      place: ca,
      key: `${name}.ca`,
      ...NO_PEM,
    });
  const pair = { cert: text(read.cert), key: text(read.key) };
  if (cert !== undefined && pair.cert !== undefined && pair.key !== undefined) faults.push(...inspectPair(pair.cert, pair.key, cert, name));
  return faults;
}

function inspectPair(cert: string, key: string, place: string, name: string): Fault[] {
  try {
    makeContext({ cert, key });
    return [];
  } catch (error) {
    const mismatched = systemCode(error) === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH';
    const what = isCertificate(cert) ? 'key' : 'cert';
    return [
      mismatched
        ? { place, key: `${name}.cert`, wrong: 'does not belong to the key', mend: 'name the certificate that was issued for this key' }
        : {
            place,
            key: `${name}.${what}`,
            wrong: 'is not usable PEM',
            mend: 'PEM without a passphrase: openssl pkey -in FILE takes it off a key',
          },
    ];
  }
}

export const NO_PEM = { wrong: 'holds no certificate in PEM', mend: 'openssl x509 -inform DER -in FILE makes PEM of DER' } as const;

export function isCertificate(pem: string): boolean {
  try {
    return pem.includes('-----BEGIN') && new X509Certificate(pem).serialNumber !== '';
  } catch {
    return false;
  }
}

/** A port that says otherwise than its upstream is nearly always a slip: one of the two is only seen as a silence of minutes. */
export function notePorts({ upstream }: Config): string[] {
  return upstream.flatMap(({ port, tls }, index) => {
    if (port === 465 && tls === 'starttls')
      return [
        `upstream[${index}]: port 465 begins with TLS nearly everywhere, and tls: starttls then waits for a greeting in vain: tls: implicit`,
      ];
    if ((port === 25 || port === 587) && tls === 'implicit')
      return [`upstream[${index}]: port ${port} begins in clear nearly everywhere, and tls: implicit then fails: tls: starttls`];
    return [];
  });
}

export async function readingSecret(key: string, secret: Secret | undefined, env: Environment): Promise<Read> {
  const [exposed] = secret?.from === 'file' ? await inspectSecretFile(secret.path, key) : [];
  if (exposed !== undefined) return { kind: 'fault', fault: exposed };
  const place = secret === undefined ? undefined : secret.from === 'file' ? secret.path : `environment ${secret.name}`;
  return reading(key, place, () => (secret === undefined ? Promise.resolve('') : readSecret(secret, env)));
}

/** Nothing where the key is not written, which is `place` undefined. */
export async function reading(key: string, place: string | undefined, read: () => Promise<string>): Promise<Read> {
  if (place === undefined) return { kind: 'text', text: undefined };
  try {
    return { kind: 'text', text: await read() };
  } catch (error) {
    if (!(error instanceof SealpostError)) throw error;
    const empty = error.code === 'config-invalid';
    const wrong = empty ? 'is empty or not set' : `cannot be read (${systemCode(error.cause) ?? 'unknown reason'})`;
    const mend = empty ? 'write the secret there' : 'look at its path and permissions; the relay reads it as its own user';
    return { kind: 'fault', fault: { place, key, wrong, mend } };
  }
}
