/** The keys of one entry of `upstream`. */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { host, isLoopback, oneOf, pathFrom, rate, secretFrom, userName, wholeNumber, yesOrNo } from './values.ts';

const HIGHEST_PORT = 65_535;

/** `folder`: where the configuration file stands, absolute. */
export const upstream = (folder: string) => ({
  host: key(host, {
    meaning:
      'The mail server that sealed mail is handed to, by name or IP address. Its certificate must be for what stands here. Without TLS only this machine: 127.0.0.0/8, `::1`, `localhost`.',
    unit: 'host',
    example: '127.0.0.1',
  }),
  port: key(wholeNumber(1, HIGHEST_PORT), { meaning: 'Its TCP port.', unit: 'number', example: '25' }),
  tls: key(oneOf('off', 'starttls', 'implicit').prefault('off'), {
    meaning: '`starttls` on ports 25 and 587, `implicit` on 465: TLS 1.2 or 1.3, or no mail at all. `off` only to this machine.',
    unit: 'word',
    example: 'starttls',
  }),
  verify: key(yesOrNo.prefault(true), {
    meaning: 'Whether its certificate must be valid, for `host`, and from a CA that is trusted. `false` only to this machine.',
    unit: 'true or false',
    example: 'true',
  }),
  ca: key(pathFrom(folder).optional(), {
    meaning: 'A PEM file of CAs that are trusted for this upstream beside those of Node, for one with an in-house certificate.',
    unit: 'path',
    example: 'certs/upstream-ca.pem',
  }),
  cert: key(pathFrom(folder).optional(), {
    meaning: 'A PEM file with the certificate that the relay shows, its intermediates behind it; `key` belongs to it.',
    unit: 'path',
    example: 'certs/upstream-client.pem',
  }),
  key: key(secretFrom(folder).optional(), {
    meaning: 'The private key of `cert`, PEM without a passphrase.',
    unit: 'secret',
    example: 'file:secrets/upstream-client.key',
  }),
  auth: key(
    z
      .strictObject({
        user: key(userName, { meaning: 'The name the relay logs in with.', unit: 'text', example: 'relay@clinic.example' }),
        password: key(secretFrom(folder), {
          meaning: 'Where the password stands. It is read for each connection, so a new one counts without a restart.',
          unit: 'secret',
          example: 'file:secrets/upstream-password',
        }),
      })
      .optional(),
    {
      meaning: 'Login, by AUTH PLAIN or LOGIN; under TLS, or to this machine.',
      unit: 'keys',
      example: '{ user: relay@clinic.example, password: file:secrets/upstream-password }',
    },
  ),
  concurrency: key(wholeNumber(1, 1000).prefault(3), { meaning: 'Connections to it at the same time.', unit: 'number', example: '3' }),
  rate: key(rate.optional(), {
    meaning:
      'Messages that may begin in any stretch of that length, over restarts too. Left out: as many as it takes. See [delivery](delivery.md).',
    unit: 'rate',
    example: '30/min',
  }),
});

type Upstream = z.output<z.ZodObject<ReturnType<typeof upstream>>>;

/** What the keys of one upstream say together: each fault by its key. */
export function upstreamFaults({
  host,
  tls,
  verify,
  cert,
  key,
  ...entry
}: Upstream): readonly { key: keyof Upstream; wrong: string; mend: string }[] {
  const faults: { key: keyof Upstream; wrong: string; mend: string }[] = [];
  const tell = (key: keyof Upstream, wrong: string, mend: string): void => void faults.push({ key, wrong, mend });
  // P3: what is neither encrypted nor verified stays on this machine.
  const here = isLoopback(host);
  if (!here && tls === 'off') tell('tls', `is off, and ${host} is another machine`, 'tls: starttls, or tls: implicit on port 465');
  if (!here && !verify)
    tell('verify', `is false, and ${host} is another machine`, 'verify: true; for an in-house certificate name its CA: ca: PATH');
  if (cert !== undefined && key === undefined) tell('cert', 'has no key', 'key: file:PATH beside it');
  if (key !== undefined && cert === undefined) tell('key', 'has no certificate', 'cert: PATH beside it');
  const idle = 'does nothing while tls is off';
  if (tls === 'off' && entry.ca !== undefined) tell('ca', idle, 'tls: starttls or implicit, or take it out');
  if (tls === 'off' && cert !== undefined) tell('cert', idle, 'tls: starttls or implicit, or take it out');
  return faults;
}

/** True where the mail server counts both together. */
export const isSameAccount = (one: Upstream, other: Upstream): boolean =>
  one.host === other.host && one.port === other.port && one.auth?.user === other.auth?.user;
