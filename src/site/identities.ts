/**
 * The identities of the configuration: opened for the relay, looked through for `check`, and held against the rules that sign. A rule says
 * for which From it signs, so that no reader is ever shown a signature of another than the author.
 */
import { readFile, stat } from 'node:fs/promises';
import type { Config } from '../config.ts';
import type { Environment } from '../config/environment.ts';
import { readSecret } from '../config/secret.ts';
import type { Fault } from '../document/fault.ts';
import { readSecretFile } from '../document/secret-file.ts';
import { SealpostError } from '../errors.ts';
import type { Rule } from '../policy/decide.ts';
import { rulesInvalid } from '../policy/rules.ts';
import { signedAuthors } from '../policy/sign.ts';
import { type IdentityFiles, type IdentityOptions, loadIdentity, openIdentityFiles } from '../sign/identities.ts';
import { type Identity, type Material, timeFault } from '../sign/identity.ts';

type IdentityPlace = NonNullable<Config['identities']>[number];

const MAX_FILE_BYTES = 1024 * 1024;

/** Throws `config-invalid` for the first that cannot sign, whenever. One whose time is over, or not come, is logged and refuses to sign. */
export const openIdentities = (config: Pick<Config, 'identities'>, { env, ...options }: IdentityOptions & { readonly env: Environment }) =>
  openIdentityFiles(filesOf(config, env), options);

const filesOf = ({ identities = [] }: Pick<Config, 'identities'>, env: Environment): IdentityFiles[] =>
  identities.map((place) => ({ name: place.name, paths: pathsOf(place), read: () => readMaterial(place, env) }));

function pathsOf({ p12, cert, key, passphrase, chain }: IdentityPlace): string[] {
  const secrets = [key, passphrase].flatMap((secret) => (secret?.from === 'file' ? [secret.path] : []));
  return [p12, cert, chain].filter((file) => file !== undefined).concat(secrets);
}

async function readMaterial(place: IdentityPlace, env: Environment): Promise<Material> {
  const chain = place.chain === undefined ? undefined : await readOctets(place.chain);
  if (place.p12 !== undefined)
    return { kind: 'p12', p12: await readSecretFile(place.p12), passphrase: await readSecret(place.passphrase, env), chain };
  const passphrase = place.passphrase === undefined ? undefined : await readSecret(place.passphrase, env);
  const key = place.key.from === 'file' ? await readSecretFile(place.key.path) : Buffer.from(await readSecret(place.key, env));
  return { kind: 'pem', cert: await readOctets(place.cert), key, passphrase, chain };
}

async function readOctets(file: string): Promise<Buffer> {
  try {
    if ((await stat(file)).size > MAX_FILE_BYTES) throw new SealpostError('file-unreadable', { detail: `${file} (larger than 1 MiB)` });
    return await readFile(file);
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown reason';
    throw new SealpostError('file-unreadable', { detail: `${file} (${code})`, cause });
  }
}

/** For people: `clinic signs as forms@clinic.example until 2027-03-01`. */
export function describeIdentity({ name, certificate }: Identity, now: number): string {
  const until = certificate.notAfter.toISOString().slice(0, 10);
  const fault = timeFault({ certificate }, now);
  return `${name} signs as ${certificate.addresses.join(', ')} ${fault === undefined ? `until ${until}` : `no more: ${fault}`}`;
}

export interface IdentityFault {
  /** `identities.clinic` */
  readonly key: string;
  /** The first of its files. */
  readonly place: string;
  readonly wrong: string;
  readonly mend: string;
}

/** What is found of the identities of a configuration, for `check`: those that can be read, and what is wrong with any. Never throws. */
export async function surveyIdentities(
  config: Pick<Config, 'identities'>,
  { env, now }: { readonly env: Environment; readonly now: number },
): Promise<{ readonly identities: readonly Identity[]; readonly faults: readonly IdentityFault[] }> {
  const identities: Identity[] = [];
  const faults: IdentityFault[] = [];
  for (const files of filesOf(config, env)) {
    const at = { key: `identities.${files.name}`, place: files.paths[0] ?? 'environment' };
    const verdict = await loadIdentity(files);
    if (verdict.kind === 'fault') {
      faults.push({ ...at, wrong: verdict.wrong, mend: verdict.mend });
      continue;
    }
    identities.push(verdict.identity);
    const over = timeFault(verdict.identity, now);
    if (over !== undefined)
      faults.push({
        ...at,
        wrong: `its certificate cannot sign now: ${over}`,
        mend: 'put a renewed one into its place: no restart is needed',
      });
  }
  return { identities, faults };
}

/** Throws `policy-invalid` with every fault of the rules that sign. */
export function assertSigners(rules: readonly Rule[], identities: readonly Identity[]): void {
  const faults = signFaults(rules, identities);
  if (faults.length > 0) throw rulesInvalid(faults.map(asFault));
}

export interface SignFault {
  readonly rule: string;
  /** Where the rule stands. */
  readonly place: string;
  readonly key: 'sign';
  readonly wrong: string;
  readonly mend: string;
}

/** As it is told beside other faults. */
export const asFault = ({ rule, place, key, wrong, mend }: SignFault): Fault => ({ place, key, wrong: `the rule ${rule} ${wrong}`, mend });

/** Rules that sign as somebody whom their identity does not name, or whom nobody knows beforehand. */
export function signFaults(rules: readonly Rule[], identities: readonly Pick<Identity, 'name' | 'certificate'>[]): readonly SignFault[] {
  return rules.flatMap((one): SignFault[] => {
    const { name: rule, sign, place = '' } = one;
    if (sign === undefined) return [];
    const at = { rule, place, key: 'sign' } as const;
    const identity = identities.find(({ name }) => name === sign.identity);
    if (identity === undefined) {
      const names = identities.map(({ name }) => name).join(', ');
      return [
        {
          ...at,
          wrong: `signs as ${sign.identity}, which is none of identities`,
          mend: names === '' ? 'declare it there' : `there are: ${names}`,
        },
      ];
    }
    const { addresses } = identity.certificate;
    const mend = `from: { replace: ${addresses[0] ?? 'ADDRESS'} }, or header_from with addresses of the certificate: ${addresses.join(', ')}`;
    const authors = signedAuthors(one);
    if (authors === undefined) return [{ ...at, wrong: `signs as ${sign.identity}, and does not say which From it signs for`, mend }];
    const other = [...authors].find((author) => !addresses.includes(author));
    return other === undefined ? [] : [{ ...at, wrong: `signs as ${sign.identity}, whose certificate does not name ${other}`, mend }];
  });
}
