import type { Certificate } from '../../certificates/certificate.ts';

/** `RSA-2048`, `P-256`; where mail is not sealed to such a key, OpenSSL's name of it. */
export const keyText = ({ key, publicKey }: Certificate): string =>
  key === undefined ? (publicKey.asymmetricKeyType ?? '?') : key.type === 'rsa' ? `RSA-${key.bits}` : key.curve;
