/** A CA and a certificate of a server, as an operator gets them: by openssl alone. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { succeed } from '../interop/programs.ts';

export interface ServerCertificate {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

/** Writes ca.pem, NAME.pem and NAME.key into `dir`, for a server that is called `host`. */
export async function makeServerCertificate(dir: string, name: string, host: string): Promise<ServerCertificate> {
  const at = (file: string): string => join(dir, file);
  const newKey = ['-newkey', 'rsa:2048', '-nodes', '-sha256'];
  await writeFile(at('tls.cnf'), '[req]\ndistinguished_name = name\n[name]\n');
  const ca = ['req', '-x509', ...newKey, '-days', '30', '-subj', '/O=Clinic Example/CN=TLS test CA', '-config', at('tls.cnf')];
  const isCa = ['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
  await succeed('openssl', [...ca, ...isCa, '-keyout', at('tls-ca.key'), '-out', at('tls-ca.pem')]);
  const request = ['req', '-new', ...newKey, '-subj', `/CN=${host}`, '-config', at('tls.cnf')];
  await succeed('openssl', [...request, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`)]);
  await writeFile(
    at('tls.ext'),
    `basicConstraints = critical,CA:FALSE\nextendedKeyUsage = serverAuth\nsubjectAltName = DNS:${host}\nauthorityKeyIdentifier = keyid\n`,
  );
  const signed = ['-CA', at('tls-ca.pem'), '-CAkey', at('tls-ca.key'), '-set_serial', '4711', '-days', '30', '-sha256'];
  await succeed('openssl', ['x509', '-req', ...signed, '-in', at(`${name}.csr`), '-extfile', at('tls.ext'), '-out', at(`${name}.pem`)]);
  return { ca: at('tls-ca.pem'), certificate: at(`${name}.pem`), key: at(`${name}.key`) };
}
