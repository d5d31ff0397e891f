/** `certificates.harvest`: certificates that come with signed mail. */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { mailbox, text } from './values.ts';

/** With colons or without, as openssl prints it. */
const fingerprint = text('a SHA-256 fingerprint', (written) => {
  const value = written.replaceAll(':', '').toLowerCase();
  return /^[0-9a-f]{64}$/.test(value)
    ? { kind: 'value', value }
    : { kind: 'wrong', wrong: 'is not a SHA-256 fingerprint', mend: 'openssl x509 -in ca.pem -noout -fingerprint -sha256 shows it' };
});

export const harvest = () =>
  z.strictObject({
    address: key(mailbox.optional(), {
      meaning: 'Signed mail to this address gives its certificate and goes nowhere; see [harvest](harvest.md).',
      unit: 'address',
      example: 'keys@relay.clinic.example',
    }),
    approve_issuers: key(z.array(fingerprint).prefault([]), {
      meaning: 'SHA-256 fingerprints of CA certificates: what was issued below one of them is taken without `sealpost certs approve`.',
      unit: 'list',
      example: "['ed49046dcd799b6c4da9f241cb5b3fbb7d16c3c8ebe71b8045a0ab4534b2e0e0']",
    }),
  });
