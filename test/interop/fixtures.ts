/** Readers with keys, made by the openssl command alone: a CA and one person for every kind of key that mail is sealed to. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { succeed } from './programs.ts';

export type ReaderName = 'anna' | 'otto' | 'ben' | 'carla' | 'dora';

/** One person who reads mail. All paths are of PEM files but `p12`. */
export interface Reader {
  readonly name: ReaderName;
  readonly address: string;
  readonly kind: 'rsa' | 'ec';
  readonly certificate: string;
  readonly key: string;
  /** PKCS#12 with 3DES, the only kind that every reader imports; undefined for EC, on which gpgsm 2.2 crashes. */
  readonly p12: string | undefined;
}

export interface Readers {
  readonly ca: string;
  /** What opens every `p12`. */
  readonly passphrase: string;
  /** `anna` and `otto` RSA-2048, `ben` P-256, `carla` P-384, `dora` P-521. */
  readonly people: Readonly<Record<ReaderName, Reader>>;
}

const PASSPHRASE = 'three blind mice';
const DAYS = '30';

const keys: Readonly<Record<ReaderName, readonly string[]>> = {
  anna: ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  otto: ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  ben: ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  carla: ['EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  dora: ['EC', '-pkeyopt', 'ec_paramgen_curve:P-521'],
};

/** Makes the CA and all readers in `dir`, which is made where it is missing. Takes about half a second. */
export async function makeReaders(dir: string): Promise<Readers> {
  await mkdir(dir, { recursive: true });
  const ca = join(dir, 'ca.pem');
  const caKey = join(dir, 'ca.key');
  const extensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'].flatMap((text) => ['-addext', text]);
  const self = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-sha256', '-days', DAYS, '-subj', '/O=Clinic Example/CN=Interop test CA'];
  await succeed('openssl', [...self, ...extensions, '-config', await writeConfig(dir), '-keyout', caKey, '-out', ca]);
  const make = (name: ReaderName): Promise<Reader> => makeReader(dir, name, ca, caKey);
  const [anna, otto, ben, carla, dora] = await Promise.all([make('anna'), make('otto'), make('ben'), make('carla'), make('dora')]);
  return { ca, passphrase: PASSPHRASE, people: { anna, otto, ben, carla, dora } };
}

/** Debian's openssl.cnf would add its own extensions beside ours. */
async function writeConfig(dir: string): Promise<string> {
  const path = join(dir, 'openssl.cnf');
  await writeFile(path, '[req]\ndistinguished_name = name\n[name]\n');
  return path;
}

async function makeReader(dir: string, name: ReaderName, ca: string, caKey: string): Promise<Reader> {
  const address = `${name}@clinic.example`;
  const [algorithm, ...options] = keys[name];
  const kind = algorithm === 'RSA' ? 'rsa' : 'ec';
  const path = (ending: string): string => join(dir, `${name}.${ending}`);
  const [key, request, certificate, extensions] = [path('key'), path('csr'), path('pem'), path('ext')];
  await writeFile(
    extensions,
    [
      'basicConstraints = critical,CA:FALSE',
      `keyUsage = critical,digitalSignature,${kind === 'rsa' ? 'keyEncipherment' : 'keyAgreement'}`,
      'extendedKeyUsage = emailProtection',
      `subjectAltName = email:${address}`,
      'subjectKeyIdentifier = hash',
      'authorityKeyIdentifier = keyid',
    ].join('\n'),
  );
  await succeed('openssl', ['genpkey', '-algorithm', algorithm ?? 'RSA', ...options, '-out', key]);
  const subject = ['-subj', `/O=Clinic Example/CN=${name}`, '-config', join(dir, 'openssl.cnf')];
  await succeed('openssl', ['req', '-new', '-key', key, ...subject, '-out', request]);
  // A serial with the high bit set is what naive writers of INTEGER get wrong.
  const serial = `0x9c${Buffer.from(name).toString('hex')}`;
  const signedBy = ['-CA', ca, '-CAkey', caKey, '-set_serial', serial, '-sha256', '-days', DAYS];
  await succeed('openssl', ['x509', '-req', ...signedBy, '-in', request, '-extfile', extensions, '-out', certificate]);
  const p12 = kind === 'rsa' ? path('p12') : undefined;
  if (p12 !== undefined) await writePkcs12({ name, key, certificate }, p12, { ca, passphrase: PASSPHRASE });
  return { name, address, kind, certificate, key, p12 };
}

/** Writes key and certificate as PKCS#12 with 3DES to `path`; every call has fresh salts. */
export async function writePkcs12(
  { name, key, certificate }: Pick<Reader, 'name' | 'key' | 'certificate'>,
  path: string,
  { ca, passphrase }: Pick<Readers, 'ca' | 'passphrase'>,
): Promise<void> {
  const threeDes = ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1'];
  const files = ['-inkey', key, '-in', certificate, '-certfile', ca, '-name', name, '-out', path];
  await succeed('openssl', ['pkcs12', '-export', ...threeDes, ...files, '-passout', `pass:${passphrase}`]);
}
