/** Object identifiers of certificates, by the names of the documents that define them. */

/** RFC 5280 §4.2.1. */
export const extensionOids = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  cRLDistributionPoints: '2.5.29.31',
  certificatePolicies: '2.5.29.32',
  policyMappings: '2.5.29.33',
  authorityKeyIdentifier: '2.5.29.35',
  policyConstraints: '2.5.29.36',
  extKeyUsage: '2.5.29.37',
  inhibitAnyPolicy: '2.5.29.54',
  /** RFC 5280 §4.2.2.1. */
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
  /** RFC 6960 §4.2.2.2.1. */
  ocspNoCheck: '1.3.6.1.5.5.7.48.1.5',
  /** RFC 4262 §2; the same OID as the signed attribute of RFC 8551 §2.5.2. */
  smimeCapabilities: '1.2.840.113549.1.9.15',
} as const;

/** RFC 5280 §4.2.1.12. */
export const emailProtection = '1.3.6.1.5.5.7.3.4';
export const anyExtendedKeyUsage = '2.5.29.37.0';

/** RFC 5280 §4.2.1.4. */
export const anyPolicy = '2.5.29.32.0';

/** RFC 5280 appendix A.1: the attribute type of a mail address in a distinguished name. */
export const emailAddress = '1.2.840.113549.1.9.1';

/** RFC 5280 §4.2.2.1: the access method of OCSP. */
export const ocspAccess = '1.3.6.1.5.5.7.48.1';
/** RFC 6960 §4.2.1, §4.4.1, §4.2.2.2. */
export const ocspBasic = '1.3.6.1.5.5.7.48.1.1';
export const ocspNonce = '1.3.6.1.5.5.7.48.1.2';
export const ocspSigning = '1.3.6.1.5.5.7.3.9';

/** RFC 9598 §3. */
export const smtpUtf8Mailbox = '1.3.6.1.5.5.7.8.9';

/** RFC 3279 §2.3.1, RFC 5480 §2.1.1. */
export const rsaEncryption = '1.2.840.113549.1.1.1';
export const ecPublicKey = '1.2.840.10045.2.1';

/** RFC 5480 §2.1.1.1: the curves of RFC 8551 §2.3 readers, as node:crypto and people name them. */
export const curves: Readonly<Record<string, { readonly curve: 'P-256' | 'P-384' | 'P-521'; readonly octets: number }>> = {
  '1.2.840.10045.3.1.7': { curve: 'P-256', octets: 32 },
  '1.3.132.0.34': { curve: 'P-384', octets: 48 },
  '1.3.132.0.35': { curve: 'P-521', octets: 66 },
};

/** Signatures that a path is built on; what is missing here (MD5, SHA-1, SHA-224) can be forged or is on its way there. */
export const strongSignatures: ReadonlySet<string> = new Set([
  '1.2.840.113549.1.1.11', // sha256WithRSAEncryption (RFC 4055 §5)
  '1.2.840.113549.1.1.12', // sha384WithRSAEncryption
  '1.2.840.113549.1.1.13', // sha512WithRSAEncryption
  '1.2.840.10045.4.3.2', // ecdsa-with-SHA256 (RFC 5758 §3.2)
  '1.2.840.10045.4.3.3', // ecdsa-with-SHA384
  '1.2.840.10045.4.3.4', // ecdsa-with-SHA512
  '1.3.101.112', // id-Ed25519 (RFC 8410 §3)
  '1.3.101.113', // id-Ed448
]);

/** RSASSA-PSS names its hash in its parameters (RFC 4055 §3.1). */
export const rsassaPss = '1.2.840.113549.1.1.10';
export const strongHashes: ReadonlySet<string> = new Set([
  '2.16.840.1.101.3.4.2.1', // SHA-256
  '2.16.840.1.101.3.4.2.2', // SHA-384
  '2.16.840.1.101.3.4.2.3', // SHA-512
]);

/** RFC 5652 §11, RFC 5035 §3, RFC 8551 §2.5.3: attributes that stand under a signature. */
export const signedAttributeOids = {
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingTime: '1.2.840.113549.1.9.5',
  smimeCapabilities: '1.2.840.113549.1.9.15',
  encryptionKeyPreference: '1.2.840.113549.1.9.16.2.11',
  signingCertificateV2: '1.2.840.113549.1.9.16.2.47',
} as const;

/** RFC 5652 §5.1, RFC 2985 §5. */
export const signedData = '1.2.840.113549.1.7.2';
