import type { Certificate } from './certificate.ts';

/** RFC 7468 §5. */
export const certificatePem = ({ der }: Certificate): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')}\n-----END CERTIFICATE-----\n`;
