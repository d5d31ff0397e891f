/** An LDAP source as the tests ask it. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { makeDirectory, type Directory } from '../../../src/certificates/directory.ts';
import { makeCertificateFolder } from '../../../src/certificates/folder.ts';
import { certificatePem } from '../../../src/certificates/pem.ts';
import { makeTrust } from '../../../src/certificates/trust.ts';
import { type LdapPlaces, makeLdapSource } from '../../../src/certificates/ldap/source.ts';
import type { LdapSecrets } from '../../../src/certificates/ldap/servers.ts';
import type { CertificateSource, SourceAnswer } from '../../../src/certificates/source.ts';
import { SealpostError } from '../../../src/errors.ts';
import { mailboxOf } from '../openssl.ts';
import { authority } from './people.ts';
import { BASE, type Owner } from './slapd.ts';

export const places = (url: LdapPlaces['url'], more: Partial<LdapPlaces> = {}): LdapPlaces => ({
  url,
  starttls: false,
  base: BASE,
  scope: 'sub',
  mailAttributes: ['mail', 'proxyAddresses'],
  certificateAttributes: ['userSMIMECertificate', 'userCertificate'],
  references: 'unavailable',
  ...more,
});

export const clear = (port: number): LdapPlaces['url'][number] => ({ scheme: 'ldap', host: '127.0.0.1', port });

export interface Asking {
  readonly secrets?: () => Promise<LdapSecrets>;
  readonly now?: () => number;
  readonly patience?: number;
}

export function openSource(owner: Owner, where: LdapPlaces, asking: Asking = {}): CertificateSource {
  const secrets = asking.secrets ?? (async () => ({ ca: undefined, password: undefined }));
  const source = makeLdapSource(where, { now: asking.now ?? Date.now, patience: asking.patience ?? 5000, secrets });
  owner.after(() => source.close());
  return source;
}

export const ask = (source: CertificateSource, address: string): Promise<SourceAnswer> =>
  source.lookup(mailboxOf(address), AbortSignal.timeout(20_000));

/** What the operator reads of an answer: its kind, or why there is none. */
export async function told(source: CertificateSource, address: string): Promise<string> {
  const answer = await ask(source, address);
  if (answer.kind !== 'unavailable') return answer.kind;
  const { cause } = answer;
  return cause instanceof SealpostError ? `unavailable: ${cause.code}: ${cause.detail}` : `unavailable: ${String(cause)}`;
}

/** The real directory and the real trust, with the CA of people.ts as the only anchor. */
export function directoryOver(owner: Owner, source: CertificateSource): Directory {
  const log = pino({ level: 'silent' });
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-anchors-'));
  mkdirSync(join(folder, 'none'));
  writeFileSync(join(folder, 'ca.pem'), certificatePem(authority));
  const open = (path: string) => makeCertificateFolder({ path, log, now: Date.now });
  const [anchors, intermediates] = [open(folder), open(join(folder, 'none'))];
  owner.after(() => {
    anchors.close();
    intermediates.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return makeDirectory({
    sources: [source],
    trust: makeTrust({ anchors, intermediates, now: Date.now }),
    now: Date.now,
    log,
    patience: 10_000,
  });
}
