/** What makes the private Postfix a submission host: TLS demanded, and a login against a password file of Cyrus SASL. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { missingPostfix } from './postfix.ts';
import { missingPrograms, succeed } from './programs.ts';

export interface SubmissionOptions {
  /** A folder that exists and that the caller removes. */
  readonly dir: string;
  /** Files of PEM. */
  readonly certificate: string;
  readonly key: string;
  readonly user: string;
  readonly password: string;
}

/** The text of a skip. */
export function missingSubmission(): string | undefined {
  return missingPostfix() ?? missingPrograms({ saslpasswd2: 'sasl2-bin' });
}

/** Lines of main.cf: nothing without TLS and a login, which is offered as PLAIN and LOGIN and under TLS alone. */
export async function submission({ dir, certificate, key, user, password }: SubmissionOptions): Promise<Record<string, string>> {
  // Where Debian's Postfix looks, beside its main.cf.
  const folder = join(dir, 'etc/sasl');
  await mkdir(folder, { recursive: true });
  const database = join(folder, 'sasldb2');
  const realm = 'postfix.example';
  await writeFile(
    join(folder, 'smtpd.conf'),
    `pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: ${database}\n`,
  );
  await succeed('saslpasswd2', ['-p', '-c', '-u', realm, '-f', database, user], { input: Buffer.from(password) });
  await succeed('chown', ['postfix', database]);
  return {
    smtpd_tls_security_level: 'encrypt',
    smtpd_tls_cert_file: certificate,
    smtpd_tls_key_file: key,
    smtpd_tls_auth_only: 'yes',
    smtpd_tls_received_header: 'yes',
    smtpd_sasl_auth_enable: 'yes',
    smtpd_sasl_local_domain: realm,
    smtpd_sasl_path: 'smtpd',
    smtpd_sasl_authenticated_header: 'yes',
    smtpd_relay_restrictions: 'permit_sasl_authenticated,reject',
    smtpd_tls_loglevel: '1',
  };
}
