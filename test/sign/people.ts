/** Identities made in memory: a root, a CA below it, and whoever signs. */
import { parseCertificate } from '../../src/certificates/certificate.ts';
import type { Identity } from '../../src/sign/identity.ts';
import * as pki from '../certificates/pki.ts';

export const root = pki.ecKeys();
const ROOT = pki.name(['CN', 'Root']);
const SUB = pki.name(['CN', 'Issuing CA']);
export const sub = pki.ecKeys();

const below = (extensions: readonly Buffer[]): readonly Buffer[] => [
  pki.ca(),
  pki.keyUsage(pki.KEY_CERT_SIGN, pki.CRL_SIGN),
  ...extensions,
];
export const rootDer = pki.issueDer({ subject: ROOT, keys: root, issuer: ROOT, signer: root, extensions: below([]) });
export const subDer = pki.issueDer({ subject: SUB, keys: sub, issuer: ROOT, signer: root, extensions: below([]) });

export const DIGITAL_SIGNATURE = 0;
export const NON_REPUDIATION = 1;
export const KEY_ENCIPHERMENT = 2;
export const KEY_AGREEMENT = 4;

export interface Wish {
  readonly addresses?: readonly string[];
  readonly keys?: pki.KeyPair;
  readonly usage?: readonly number[];
  readonly purposes?: readonly string[];
  readonly from?: Date;
  readonly to?: Date;
}

/** A certificate below the issuing CA, for S/MIME where nothing else is wished. */
export function certificateFor({
  addresses = ['forms@clinic.example'],
  keys = pki.ecKeys(),
  usage = [DIGITAL_SIGNATURE, KEY_AGREEMENT],
  purposes = [pki.emailProtection],
  from,
  to,
}: Wish = {}) {
  const extensions = [
    pki.keyUsage(...usage),
    pki.purposes(...purposes),
    ...(addresses.length === 0 ? [] : [pki.san(...addresses.map(pki.email))]),
  ];
  const times = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
  const der = pki.issueDer({ subject: pki.name(['CN', 'Clinic forms']), keys, issuer: SUB, signer: sub, extensions, ...times });
  return { der, keys };
}

export function identityFor(name: string, wish: Wish = {}): Identity {
  const { der, keys } = certificateFor(wish);
  return { name, key: keys.privateKey, certificate: parseCertificate(der), chain: [parseCertificate(subDer)] };
}

export const pemOf = (...ders: readonly Buffer[]): Buffer =>
  Buffer.from(ders.map((der) => `-----BEGIN CERTIFICATE-----\n${der.toString('base64')}\n-----END CERTIFICATE-----\n`).join(''));
