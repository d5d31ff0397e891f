/** `certificates.authority`: the in-house CA. Its files are named by `keys` and `certificates.trust`. */
import type { z } from 'zod';
import { key } from '../document/schema.ts';
import type { Secret } from './values.ts';

/** `secret`: how a secret is written, from the folder of the configuration. */
export const authority = (secret: z.ZodType<Secret>) => ({
  passphrase: key(secret.optional(), {
    meaning: 'Opens the encrypted keys of the in-house CA; where it is left out, commands ask for it on the terminal.',
    unit: 'secret',
    example: 'file:keys/ca.passphrase',
  }),
});
