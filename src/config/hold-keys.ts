/** `hold`: what held mail is sealed to, and how long it waits. Files that are not named stand in the folder of `keys`. */
import type { z } from 'zod';
import { key } from '../document/schema.ts';
import { duration, type Secret } from './values.ts';

/** `path` and `secret`: how they are written, from the folder of the configuration. */
export const hold = (path: z.ZodType<string>, secret: z.ZodType<Secret>) => ({
  certificate: key(path.optional(), {
    meaning:
      'The certificate that held mail is sealed to; where it is left out, `hold.pem` in the folder of `keys`. Mail can be held while it is there.',
    unit: 'path',
    example: 'keys/hold.pem',
  }),
  key: key(path.optional(), {
    meaning:
      'Its private key; where it is left out, `hold.key` in the folder of `keys`. It need not be on this machine: held mail is released by hand then.',
    unit: 'path',
    example: 'keys/hold.key',
  }),
  passphrase: key(secret.optional(), {
    meaning: 'Opens the encrypted key, so that the relay releases held mail by itself when a certificate appears.',
    unit: 'secret',
    example: 'file:secrets/hold.passphrase',
  }),
  max_age: key(duration.prefault('14d'), {
    meaning: 'How long mail is held before it counts as failed for good.',
    unit: 'duration',
    example: '14d',
  }),
});
