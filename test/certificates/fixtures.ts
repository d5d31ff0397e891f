/** Certificates as values, for tests of what is done with them: no key in them can open anything. */
import { createHash, generateKeyPairSync } from 'node:crypto';
import type { Certificate, PublicKeyKind } from '../../src/certificates/certificate.ts';

const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ec: PublicKeyKind = { type: 'ec', curve: 'P-256' };

export const rsaKey: PublicKeyKind = { type: 'rsa', bits: 2048 };

/** A certificate called `name`, valid from 2026 to 2027; its fingerprint follows from its name. */
export function certificateNamed(name: string, facts: Partial<Certificate> = {}): Certificate {
  const der = Buffer.from(name);
  const nothing = Buffer.alloc(0);
  return {
    der,
    fingerprint: createHash('sha256').update(der).digest('hex'),
    subject: `CN=${name}`,
    issuer: 'CN=CA',
    serial: '01',
    issuerDer: nothing,
    serialDer: nothing,
    subjectDer: der,
    notBefore: new Date('2026-01-01T00:00:00Z'),
    notAfter: new Date('2027-01-01T00:00:00Z'),
    addresses: [`${name}@example.org`],
    publicKey,
    key: ec,
    keyFault: undefined,
    signatureFault: undefined,
    capabilities: [],
    keyUsage: undefined,
    extendedKeyUsage: undefined,
    ca: false,
    pathLength: undefined,
    nameConstraints: undefined,
    policies: { valid: undefined, mappings: [], requireExplicit: undefined, inhibitMapping: undefined, inhibitAny: undefined },
    subjectAltName: undefined,
    spkiDer: nothing,
    unknownCritical: [],
    subjectKeyId: undefined,
    authorityKeyId: undefined,
    crlPoints: [],
    ocspUrls: [],
    ocspNoCheck: false,
    ...facts,
  };
}
