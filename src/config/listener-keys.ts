/** The keys of one entry of `listen`. */
import type { z } from 'zod';
import { key } from '../document/schema.ts';
import { bindAddress, isLoopback, oneOf, pathFrom, secretFrom, wholeNumber } from './values.ts';

const HIGHEST_PORT = 65_535;

/** `folder`: where the configuration file stands, absolute. */
export const listener = (folder: string) => ({
  host: key(bindAddress, {
    meaning: 'The address that is listened on: an IP address of this machine, or `localhost`.',
    unit: 'address',
    example: '127.0.0.1',
  }),
  port: key(wholeNumber(0, HIGHEST_PORT), { meaning: 'The TCP port; 0 takes any free one.', unit: 'number', example: '2525' }),
  tls: key(oneOf('off', 'starttls', 'implicit').prefault('off'), {
    meaning:
      '`starttls` for ports 25 and 587: clients on other machines hand in nothing before it. `implicit` for port 465: TLS from the first octet. TLS 1.2 and 1.3 only.',
    unit: 'word',
    example: 'starttls',
  }),
  cert: key(pathFrom(folder).optional(), {
    meaning: 'A PEM file with the certificate of this listener, its intermediates behind it. Read anew when it changes.',
    unit: 'path',
    example: 'secrets/relay.pem',
  }),
  key: key(secretFrom(folder).optional(), {
    meaning: 'The private key of `cert`, PEM without a passphrase. A file is read anew when it changes.',
    unit: 'secret',
    example: 'file:secrets/relay.key',
  }),
  auth: key(oneOf('off', 'optional', 'required').prefault('optional'), {
    meaning:
      'AUTH PLAIN and LOGIN, offered once `clients.users` is set, under TLS or from this machine. `required`: whoever did not log in hands in nothing, `clients.networks` or not.',
    unit: 'word',
    example: 'required',
  }),
  client_certificates: key(oneOf('off', 'optional', 'required').prefault('off'), {
    meaning:
      'Whether clients are asked for a certificate. One whose fingerprint stands with a user in `clients.users` logs that user in. `required`: no mail without such a one.',
    unit: 'word',
    example: 'optional',
  }),
});

type Listener = z.output<z.ZodObject<ReturnType<typeof listener>>>;

/** What the keys of one listener say together: each fault by its key. `users`: whether there is a file of users. */
export function listenerFaults(entry: Listener, users: boolean): readonly { key: keyof Listener; wrong: string; mend: string }[] {
  const faults: { key: keyof Listener; wrong: string; mend: string }[] = [];
  const tell = (key: keyof Listener, wrong: string, mend: string): void => void faults.push({ key, wrong, mend });
  const { tls, cert, key: secret, auth, client_certificates } = entry;
  if (tls === 'off') {
    const idle = 'does nothing while tls is off';
    if (cert !== undefined) tell('cert', idle, 'tls: starttls or implicit, or take it out');
    if (secret !== undefined) tell('key', idle, 'tls: starttls or implicit, or take it out');
    if (client_certificates !== 'off') tell('client_certificates', idle, 'tls: starttls or implicit, or client_certificates: off');
    if (auth === 'required' && !isLoopback(entry.host))
      tell('auth', 'lets nobody in: without TLS only clients on this machine may log in', 'tls: starttls or implicit');
  } else {
    if (cert === undefined) tell('tls', `is ${tls}, and there is no certificate`, 'cert: PATH beside it');
    if (secret === undefined) tell('tls', `is ${tls}, and there is no private key`, 'key: file:PATH beside it');
  }
  const nobody = 'lets nobody in: there are no users';
  if (auth === 'required' && !users) tell('auth', nobody, 'clients: { users: users.yaml }');
  if (client_certificates !== 'off' && !users) tell('client_certificates', nobody, 'clients: { users: users.yaml }');
  return faults;
}
