/** `admin`: where the relay answers for its health over HTTP. */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { bindAddress, wholeNumber } from './values.ts';

const HIGHEST_PORT = 65_535;

export const admin = () =>
  key(
    z
      .strictObject({
        host: key(bindAddress.prefault('127.0.0.1'), {
          meaning: 'The address that is listened on. Anybody who reaches it learns whether mail is taken, and why not; nothing of mail.',
          unit: 'address',
          example: '127.0.0.1',
        }),
        port: key(wholeNumber(0, HIGHEST_PORT).prefault(8025), {
          meaning: 'The TCP port; 0 takes any free one.',
          unit: 'number',
          example: '8025',
        }),
      })
      .optional(),
    {
      meaning:
        'Lets the relay answer for its health over HTTP, `/healthz` and `/readyz`, see [readiness](readiness.md); off where it is left out.',
      unit: 'keys',
      example: '{ host: 127.0.0.1, port: 8025 }',
    },
  );

interface Address {
  readonly host: string;
  readonly port: number;
}

/** Its port against those of the other listeners: for mail, and for revocation lists. */
export function adminFault(
  own: Address | undefined,
  others: readonly (Address | undefined)[],
): { wrong: string; mend: string } | undefined {
  if (own === undefined || own.port === 0) return undefined;
  const taken = others.some((other) => other !== undefined && other.port === own.port && other.host === own.host);
  return taken ? { wrong: 'is the address and port of another listener', mend: 'a port of its own' } : undefined;
}
