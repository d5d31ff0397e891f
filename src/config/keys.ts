/**
 * Every key of sealpost.yaml, declared once: schema, default, meaning, unit, example. The types, the mends in fault messages,
 * the names in the environment, docs/configuration.md and the file that `init` writes are all read from here.
 * A key stands here only once it works; every other one is an error, so that nobody trusts a setting that does nothing.
 */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { audit } from './audit-keys.ts';
import { certificates } from './certificate-keys.ts';
import { hold } from './hold-keys.ts';
import { identities } from './identity-keys.ts';
import { listener } from './listener-keys.ts';
import { upstream } from './upstream-keys.ts';
import {
  domain,
  domainPattern,
  duration,
  listOf,
  mailbox,
  network,
  oneOf,
  pathFrom,
  rate,
  secretFrom,
  size,
  wholeNumber,
} from './values.ts';

/** RFC 5321 §4.5.3.1.8: a server takes at least 100 recipients. */
const USUAL_RECIPIENTS = 100;

/** A group of keys; left out, it is all defaults. */
const section = <Shape extends z.ZodRawShape>(shape: Shape) => z.strictObject(shape);

const limits = () =>
  section({
    message_bytes: key(size.prefault('25MiB'), {
      meaning: 'The largest message taken, announced as SIZE (RFC 1870). Sealing makes it about two fifths larger.',
      unit: 'size',
      example: '25MiB',
    }),
    recipients: key(wholeNumber(1, 10_000).prefault(USUAL_RECIPIENTS), {
      meaning: 'Recipients of one message; the client is asked to send the rest in another.',
      unit: 'number',
      example: '100',
    }),
    connections: key(wholeNumber(1, 100_000).prefault(200), {
      meaning: 'Clients at the same time, over all listeners. Beyond it the one that has done nothing for longest makes room.',
      unit: 'number',
      example: '200',
    }),
    connections_per_address: key(wholeNumber(1, 100_000).prefault(100), {
      meaning: 'Of these, from one IPv4 address or IPv6 /64.',
      unit: 'number',
      example: '100',
    }),
    in_flight_bytes: key(size.prefault('512MiB'), {
      meaning: 'All messages together between the start of their content and the verdict; not less than `limits.message_bytes`.',
      unit: 'size',
      example: '512MiB',
    }),
    data_rate: key(wholeNumber(1, 1_000_000).prefault(512), {
      meaning: 'Octets a second that a message must come at; a client may lag behind by one minute.',
      unit: 'number',
      example: '512',
    }),
    refusals: key(wholeNumber(1, 100_000).prefault(100), {
      meaning: 'Refused commands and recipients in one session since its last message.',
      unit: 'number',
      example: '100',
    }),
    client_rate: key(rate.optional(), {
      meaning: 'Messages of one client address, those of this machine too; beyond it 452 4.3.2.',
      unit: 'rate',
      example: '600/h',
    }),
  });

const timeouts = () =>
  section({
    command: key(duration.prefault('5m'), {
      meaning: 'How long a client may take to send one whole command line.',
      unit: 'duration',
      example: '5m',
    }),
    message: key(duration.prefault('10m'), {
      meaning: 'How long it may take from the start of a message to its end; what the relay itself takes is not counted.',
      unit: 'duration',
      example: '10m',
    }),
    session: key(duration.prefault('30m'), {
      meaning: 'How long a session may last. A message that is within its own time is let end.',
      unit: 'duration',
      example: '30m',
    }),
    lookup: key(duration.prefault('10s'), {
      meaning: 'How long one look-up of certificates may take, all sources and what is asked about trust together.',
      unit: 'duration',
      example: '10s',
    }),
  });

const retry = () =>
  section({
    max_age: key(duration.prefault('5d'), {
      meaning: 'How long an upstream is tried before the message counts as failed for good.',
      unit: 'duration',
      example: '5d',
    }),
    first: key(duration.prefault('1m'), {
      meaning: 'The wait before the second attempt is between this and twice this; it doubles from there.',
      unit: 'duration',
      example: '1m',
    }),
    longest: key(duration.prefault('1h'), { meaning: 'No wait between attempts is longer.', unit: 'duration', example: '1h' }),
  });

const notices = () =>
  section({
    domains: key(z.array(domainPattern).prefault([]), {
      meaning:
        'Senders who may be told what became of their mail, by domain. Anybody else may be a visitor, or forged: then the user who logged in is told.',
      unit: 'list',
      example: '[clinic.example]',
    }),
    delay: key(duration.prefault('4h'), {
      meaning: 'How long a message may wait before its sender is told that it is late, once for each recipient.',
      unit: 'duration',
      example: '4h',
    }),
    rate: key(rate.prefault('60/h'), {
      meaning: 'Notices to one address; in all ten times as many. What is over is withheld, counted and said in the audit log.',
      unit: 'rate',
      example: '60/h',
    }),
  });

const queue = (path: z.ZodType<string>) =>
  section({
    sqlite: key(path.prefault('data/queue.sqlite'), {
      meaning: 'The queue, an SQLite file; its folder is the data folder, where large sealed bodies stand beside it.',
      unit: 'path',
      example: 'data/queue.sqlite',
    }),
    kept_bounced: key(duration.prefault('30d'), {
      meaning: 'How long a message that failed for good stays in the queue, sealed and visible.',
      unit: 'duration',
      example: '30d',
    }),
  });

const log = () =>
  section({
    level: key(oneOf('trace', 'debug', 'info', 'warn', 'error').prefault('info'), {
      meaning: 'The least weighty line that is logged: trace, debug, info, warn or error.',
      unit: 'word',
      example: 'info',
    }),
    format: key(oneOf('json', 'pretty').prefault('json'), {
      meaning: '`json` for programs, `pretty` for people.',
      unit: 'word',
      example: 'json',
    }),
  });

/** `folder`: where the configuration file stands, absolute; relative paths start there. */
export function declareKeys(folder: string) {
  const path = pathFrom(folder);
  return section({
    hostname: key(domain, {
      meaning: 'The name of this relay: in its greeting, in EHLO and in Received.',
      unit: 'domain',
      example: 'relay.clinic.example',
    }),
    operator: key(mailbox, {
      meaning: 'The mailbox of whoever looks after this relay. It gets a copy of every notice of mail that failed or is late.',
      unit: 'mailbox',
      example: 'postmaster@clinic.example',
    }),
    listen: key(listOf(section(listener(folder))), {
      meaning: 'Where scripts hand mail in.',
      unit: 'list',
      example: '[{ host: 127.0.0.1, port: 2525 }]',
    }),
    clients: key(
      section({
        networks: key(listOf(network).prefault(['127.0.0.0/8', '::1']), {
          meaning: 'The networks whose clients may hand in mail; everybody else is answered 550 5.7.1.',
          unit: 'list',
          example: '[127.0.0.0/8, "::1"]',
        }),
        proxy: key(z.array(network).prefault([]), {
          meaning: 'The addresses of proxies that speak the PROXY protocol, version 1 or 2, on each connection; it is demanded of them.',
          unit: 'list',
          example: '[192.0.2.10]',
        }),
        xclient: key(z.array(network).prefault([]), {
          meaning: 'The addresses that may name the client by XCLIENT.',
          unit: 'list',
          example: '[192.0.2.11]',
        }),
        users: key(path.optional(), {
          meaning: 'The file of those who may log in, see [users](users.md).',
          unit: 'path',
          example: 'users.yaml',
        }),
      }).prefault({}),
      { meaning: 'Who may hand in mail.', unit: 'keys', example: '{ networks: [127.0.0.0/8] }' },
    ),
    timeouts: key(timeouts().prefault({}), { meaning: 'How long clients are waited for.', unit: 'keys', example: '{ command: 5m }' }),
    limits: key(limits().prefault({}), { meaning: 'What is too much.', unit: 'keys', example: '{ message_bytes: 25MiB }' }),
    upstream: key(listOf(section(upstream(folder))), {
      meaning: 'The mail servers that sealed mail is handed to, tried in this order.',
      unit: 'list',
      example: '[{ host: 127.0.0.1, port: 25 }]',
    }),
    certificates: key(section(certificates(path, secretFrom(folder))).prefault({}), {
      meaning: 'Certificates of recipients, and which of them to believe.',
      unit: 'keys',
      example: '{ sources: [{ files: certs/recipients }] }',
    }),
    profile: key(oneOf('compatible', 'strict').prefault('compatible'), {
      meaning:
        '`compatible`: what every reader opens (RSA PKCS#1 v1.5, AES-256-CBC). `strict`: OAEP with SHA-256 or ECDH, and AES-256-GCM, which Outlook cannot read.',
      unit: 'word',
      example: 'compatible',
    }),
    policies: key(path.prefault('policies'), {
      meaning: 'The folder of the rules, see [policies](policies.md).',
      unit: 'path',
      example: 'policies',
    }),
    mixed: key(oneOf('all_or_none', 'split').prefault('all_or_none'), {
      meaning:
        'What becomes of a message when a rule refuses some of its recipients after DATA. `all_or_none`: it is refused for all of them. `split`: the others get it, and a notice tells the sender who does not.',
      unit: 'word',
      example: 'split',
    }),
    keys: key(path.prefault('keys'), {
      meaning:
        'The folder of the private keys, mode 0700 and outside the data folder: those of the in-house CA, which the relay reads only where it is to sign; the pair of [held mail](hold.md); the spool key of [mail in clear](pass.md).',
      unit: 'path',
      example: 'keys',
    }),
    hold: key(section(hold(path, secretFrom(folder))).prefault({}), {
      meaning: 'Mail that waits for a certificate or a word, see [hold](hold.md).',
      unit: 'keys',
      example: '{ max_age: 14d }',
    }),
    identities: identities(folder),
    retry: key(retry().prefault({}), { meaning: 'When an upstream did not take a message.', unit: 'keys', example: '{ max_age: 5d }' }),
    notices: key(notices().prefault({}), {
      meaning: 'Who is told what became of mail, see [notices](notices.md).',
      unit: 'keys',
      example: '{ domains: [clinic.example] }',
    }),
    queue: key(queue(path).prefault({}), { meaning: 'Where sealed mail waits.', unit: 'keys', example: '{ sqlite: data/queue.sqlite }' }),
    audit: key(section(audit(path)).prefault({}), {
      meaning: 'The audit log, see [audit](audit.md).',
      unit: 'keys, or a path',
      example: 'data/audit.jsonl',
    }),
    log: key(log().prefault({}), { meaning: 'What is said on standard output.', unit: 'keys', example: '{ level: info }' }),
  });
}
