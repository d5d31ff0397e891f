/** The users file as it is written: its keys, what is wrong in it, and what each entry lets its user do. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Fault, Reading } from '../../document/fault.ts';
import { inOrder, showPath } from '../../document/fault.ts';
import { readRate, type Rate } from '../../document/rate.ts';
import { judge, key, leaf, type Judgement } from '../../document/schema.ts';
import { readYaml } from '../../document/yaml.ts';
import { parseMailbox, type Mailbox } from '../../message/envelope.ts';
import { anyOf, parsePattern, type AddressPattern } from '../../message/pattern.ts';
import { readHash, type PasswordHash } from './password-hash.ts';
import type { User } from './users.ts';

/** One entry of the file. */
export interface UserEntry {
  readonly user: User;
  /** Null where only certificates are taken. */
  readonly password: PasswordHash | null;
  /** SHA-256 of the certificates, lower-case hex. */
  readonly certificates: readonly string[];
  /** Patterns as they are written; null where any mailbox is meant. */
  readonly senders: readonly string[] | null;
  readonly recipients: readonly string[] | null;
  /** Changes with everything that is written of the user: what was remembered of an older entry fits it no more. */
  readonly digest: string;
}

/** The entries as of the last look; undefined while the file cannot be read. */
export type Entries = () => ReadonlyMap<string, UserEntry> | undefined;

const NAME = /^[A-Za-z0-9._@+-]{1,128}$/;

const wrong = (what: string, mend?: string): Judgement<never> => ({ kind: 'wrong', wrong: what, ...(mend === undefined ? {} : { mend }) });

/** The name of a user, as AUTH says it. */
export function readUserName(written: unknown): Judgement<string> {
  return typeof written === 'string' && NAME.test(written)
    ? { kind: 'value', value: written }
    : wrong('is not the name of a user', 'letters, digits and . _ - @ +, at most 128: forms');
}

export function readUserMailbox(written: unknown): Judgement<Mailbox> {
  const verdict = parseMailbox(typeof written === 'string' ? written : '');
  return verdict.kind === 'mailbox' ? { kind: 'value', value: verdict.mailbox } : wrong(`is not a mail address: ${verdict.fault}`);
}

export function readUserPattern(written: unknown): Judgement<AddressPattern> {
  const verdict = typeof written === 'string' ? parsePattern(written) : undefined;
  if (verdict?.kind === 'pattern') return { kind: 'value', value: verdict.pattern };
  return verdict === undefined ? wrong('is not a pattern', '"*@clinic.example"') : wrong(verdict.fault, verdict.mend);
}

/** SHA-256 in hex, with the colons that openssl writes or without. */
export function readFingerprint(written: unknown): Judgement<string> {
  const hex = typeof written === 'string' ? written.replaceAll(':', '').toLowerCase() : '';
  return /^[0-9a-f]{64}$/.test(hex)
    ? { kind: 'value', value: hex }
    : wrong('is not a SHA-256 fingerprint', 'openssl x509 -in client.pem -noout -fingerprint -sha256 shows it');
}

const entry = z.strictObject({
  name: key(leaf(readUserName), { meaning: 'Who logs in.', unit: 'name', example: 'forms' }),
  password: key(leaf(readHash).optional(), {
    meaning: 'The argon2id hash of the password.',
    unit: 'PHC string',
    example: '$argon2id$v=19$m=19456,t=2,p=1$…$…',
  }),
  certificates: key(z.array(leaf(readFingerprint)).min(1).optional(), {
    meaning: 'SHA-256 fingerprints of client certificates.',
    unit: 'list',
    example: '["ab:12:…"]',
  }),
  mailbox: key(leaf(readUserMailbox).optional(), {
    meaning: 'Where notices for this user go.',
    unit: 'mailbox',
    example: 'forms@clinic.example',
  }),
  senders: key(z.array(leaf(readUserPattern)).min(1).optional(), {
    meaning: 'What may stand in MAIL FROM.',
    unit: 'list',
    example: '["*@clinic.example"]',
  }),
  recipients: key(z.array(leaf(readUserPattern)).min(1).optional(), {
    meaning: 'Who may be written to.',
    unit: 'list',
    example: '["*@clinic.example"]',
  }),
  rate: key(leaf<Rate>(readRate).optional(), { meaning: 'Messages in any stretch of time.', unit: 'rate', example: '60/min' }),
});

const schema = z.strictObject({
  users: key(z.array(entry), { meaning: 'Who may log in.', unit: 'list', example: '[{ name: forms, password: … }]' }),
});

/** The entries of `text`, or every fault with its place in `file`. */
export function readUserEntries(file: string, text: string): Reading<readonly UserEntry[]> {
  const document = readYaml(file, text);
  if (document.kind === 'invalid') return document;
  const { value: written, place } = document.value;
  const judged = judge(schema, written ?? {}, place);
  if (judged.kind === 'invalid') return { kind: 'invalid', faults: judged.faults.map(withoutOtherPages) };
  const faults: Fault[] = [];
  const tell = (path: readonly PropertyKey[], what: string, mend: string): void => {
    faults.push({ place: place(path, 'value'), key: showPath(path), wrong: what, mend });
  };
  const { users } = judged.value;
  const names = new Set<string>();
  const certificates = new Set<string>();
  for (const [index, user] of users.entries()) {
    if (names.has(user.name)) tell(['users', index, 'name'], 'stands twice', 'one entry a user');
    names.add(user.name);
    for (const [at, fingerprint] of (user.certificates ?? []).entries()) {
      if (certificates.has(fingerprint)) tell(['users', index, 'certificates', at], 'belongs to a user above', 'one user a certificate');
      certificates.add(fingerprint);
    }
    if (user.password === undefined && user.certificates === undefined)
      tell(['users', index], 'has neither a password nor certificates', `sealpost users add ${user.name} sets a password`);
  }
  if (faults.length > 0) return { kind: 'invalid', faults: inOrder(faults) };
  return { kind: 'valid', value: users.map(entryOf) };
}

/** The keys of this file are not in docs/configuration.md. */
const withoutOtherPages = (fault: Fault): Fault =>
  fault.mend.startsWith('docs/configuration.md') ? { ...fault, mend: 'docs/users.md shows every key' } : fault;

function entryOf(written: z.output<typeof entry>): UserEntry {
  const { name, password, certificates, mailbox, senders, recipients, rate } = written;
  const own = parseMailbox(name);
  const mayBeFrom = senders && anyOf(senders);
  const mayBeTo = recipients && anyOf(recipients);
  const user = Object.freeze<User>({
    name,
    mailbox: mailbox ?? (own.kind === 'mailbox' ? own.mailbox : null),
    maySend: (sender) => mayBeFrom?.matches(sender) ?? true,
    mayReach: (recipient) => mayBeTo?.matches(recipient) ?? true,
    rate: rate ?? null,
  });
  const sources = (patterns: readonly AddressPattern[] | undefined) => patterns?.map(({ source }) => source) ?? null;
  const patterns = { senders: sources(senders), recipients: sources(recipients) };
  const facts = [name, password?.cost, password?.salt.toString('hex'), password?.hash.toString('hex'), certificates];
  const rights = [mailbox?.address, patterns, rate];
  const digest = createHash('sha256')
    .update(JSON.stringify([facts, rights]))
    .digest('hex');
  return { user, password: password ?? null, certificates: certificates ?? [], ...patterns, digest };
}
