/** Stands where a table says `certificate: found`: nothing is ever sealed to it. */
import { createSecretKey } from 'node:crypto';
import type { Certificate } from '../../certificates/certificate.ts';
import type { Chosen } from '../../certificates/directory.ts';

const nothing = Buffer.alloc(0);

const certificate: Certificate = {
  der: nothing,
  fingerprint: 'assumed',
  subject: 'assumed',
  issuer: 'assumed',
  serial: '00',
  issuerDer: nothing,
  serialDer: nothing,
  subjectDer: nothing,
  notBefore: new Date(0),
  notAfter: new Date(0),
  addresses: [],
  publicKey: createSecretKey(Buffer.alloc(1)),
  spkiDer: nothing,
  key: undefined,
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
  unknownCritical: [],
  subjectKeyId: undefined,
  authorityKeyId: undefined,
  crlPoints: [],
  ocspUrls: [],
  ocspNoCheck: false,
};

export const ASSUMED: Chosen = { certificate, source: 'assumed', place: 'assumed', path: [certificate], revocation: 'off' };
