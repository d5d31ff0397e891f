/** The keys of one `ldap` of `certificates.sources`. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { key, leaf } from '../document/schema.ts';
import type { Judgement } from '../document/schema.ts';
import { foldDomain } from '../message/envelope.ts';
import { isLoopback, listOf, oneOf, type Secret, text, userName, yesOrNo } from './values.ts';

/** One server. A name is kept folded; an IPv6 address without its brackets. */
export interface LdapUrl {
  readonly scheme: 'ldap' | 'ldaps';
  readonly host: string;
  readonly port: number;
}

const HIGHEST_PORT = 65_535;
/** RFC 4516 has a search behind the host; here it stands in keys of its own. */
const URL_FORM = /^(ldaps?):\/\/(?:\[([0-9A-Fa-f:.]+)\]|([^\s/?#:@[\]]+))(?::(\d{1,5}))?\/?$/i;
const URL_MEND = 'ldaps://ldap.clinic.example, or a list of servers with the same content';

/** Undefined where it is none. */
function readUrl(written: unknown): LdapUrl | undefined {
  const [, scheme, address, name = '', port] = (typeof written === 'string' ? URL_FORM.exec(written) : null) ?? [];
  if (scheme === undefined) return undefined;
  const secure = scheme.toLowerCase() === 'ldaps';
  const number = port === undefined ? (secure ? 636 : 389) : Number(port);
  if (number < 1 || number > HIGHEST_PORT) return undefined;
  const host = address === undefined ? (isIP(name) === 4 ? name : foldName(name)) : isIP(address) === 6 ? address : undefined;
  return host === undefined ? undefined : { scheme: secure ? 'ldaps' : 'ldap', host, port: number };
}

const foldName = (name: string): string | undefined => {
  const folded = foldDomain(name);
  return folded === undefined || /^[\d.]+$/.test(folded) ? undefined : folded;
};

const urls = leaf((written): Judgement<readonly LdapUrl[]> => {
  const list: readonly unknown[] = Array.isArray(written) ? written : [written];
  const read = list.map(readUrl);
  const wrong = read.indexOf(undefined);
  if (list.length === 0) return { kind: 'wrong', wrong: 'is empty', mend: URL_MEND };
  if (wrong >= 0) return { kind: 'wrong', wrong: `${list.length > 1 ? `entry ${wrong + 1} ` : ''}is not an LDAP server`, mend: URL_MEND };
  return { kind: 'value', value: read.filter((url) => url !== undefined) };
});

/** As directories name attributes: RFC 4512 §1.4 and §2.5, with options. */
const attribute = text('the name of an attribute', (written) =>
  /^[A-Za-z][A-Za-z0-9-]*(?:;[A-Za-z0-9-]+)*$/.test(written)
    ? { kind: 'value', value: written }
    : { kind: 'wrong', wrong: 'is not the name of an attribute', mend: 'for example mail' },
);
/** Only its form; the directory knows whether there is one. */
const distinguishedName = text('a distinguished name', (written) =>
  /^[^=,]+=/.test(written)
    ? { kind: 'value', value: written }
    : { kind: 'wrong', wrong: 'is not a distinguished name', mend: 'for example cn=relay,dc=clinic,dc=example' },
);

/** `secret`: how a secret is written, from the folder of the configuration. */
export const ldap = (path: z.ZodType<string>, secret: z.ZodType<Secret>) => ({
  url: key(urls, {
    meaning:
      'The directory server: `ldaps://HOST` or `ldap://HOST`, a port behind it where it is not the usual one. A list names servers with the same content, asked in this order.',
    unit: 'URL or list',
    example: 'ldaps://ldap.clinic.example',
  }),
  starttls: key(yesOrNo.prefault(true), {
    meaning: 'Whether `ldap://` begins TLS before anything else; without it nothing is asked. `false` only for servers on this machine.',
    unit: 'true or false',
    example: 'true',
  }),
  ca: key(path.optional(), {
    meaning: 'A PEM file of CAs that are trusted for these servers beside those of Node. Read for each connection.',
    unit: 'path',
    example: 'certs/ldap-ca.pem',
  }),
  bind: key(
    z
      .strictObject({
        dn: key(userName, {
          meaning: 'Who the relay logs in as (simple bind). Active Directory also takes `name@domain` and `DOMAIN\\name`.',
          unit: 'distinguished name',
          example: 'cn=relay,dc=clinic,dc=example',
        }),
        password: key(secret, {
          meaning: 'Where the password stands. It is read for each connection, so a new one counts without a restart.',
          unit: 'secret',
          example: 'file:secrets/ldap-password',
        }),
      })
      .optional(),
    {
      meaning: 'The login of the relay. Left out: it asks anonymously.',
      unit: 'keys',
      example: '{ dn: "cn=relay,dc=clinic,dc=example", password: file:secrets/ldap-password }',
    },
  ),
  base: key(distinguishedName, {
    meaning: 'The entry below which people are looked for.',
    unit: 'distinguished name',
    example: 'ou=people,dc=clinic,dc=example',
  }),
  scope: key(oneOf('sub', 'one', 'base').prefault('sub'), {
    meaning: '`sub`: all entries below `base`, and itself. `one`: those right below it. `base`: itself alone.',
    unit: 'word',
    example: 'sub',
  }),
  mail_attributes: key(listOf(attribute).prefault(['mail', 'proxyAddresses']), {
    meaning: 'Attributes that hold the mail address, each compared as a whole. In `proxyAddresses` it stands behind `smtp:`.',
    unit: 'list',
    example: '[mail, proxyAddresses]',
  }),
  certificate_attributes: key(listOf(attribute).prefault(['userSMIMECertificate', 'userCertificate']), {
    meaning: 'Attributes that hold certificates; see [LDAP](ldap.md) for the forms they may have.',
    unit: 'list',
    example: '[userSMIMECertificate, userCertificate]',
  }),
  references: key(oneOf('unavailable', 'ignore').prefault('unavailable'), {
    meaning:
      'What it means where a search finds no certificate and the server refers to others for a part of `base`, which are not asked. `unavailable`: 451, since the certificate may stand there. `ignore`: there is none.',
    unit: 'word',
    example: 'ignore',
  }),
});

type Ldap = z.output<z.ZodObject<ReturnType<typeof ldap>>>;

/** What the keys of one entry say together: each fault by its key. */
export function ldapFaults({ url, starttls, ca }: Ldap): readonly { key: keyof Ldap; wrong: string; mend: string }[] {
  const faults: { key: keyof Ldap; wrong: string; mend: string }[] = [];
  const tell = (key: keyof Ldap, wrong: string, mend: string): void => void faults.push({ key, wrong, mend });
  const clear = starttls ? [] : url.filter(({ scheme }) => scheme === 'ldap');
  const away = clear.find(({ host }) => !isLoopback(host));
  if (away !== undefined) tell('starttls', `is false, and ${away.host} is another machine`, 'take it out, or ldaps:// in url');
  if (!starttls && clear.length === 0)
    tell('starttls', 'is about ldap://, and url has none', 'take it out: ldaps:// is TLS from the first octet');
  if (ca !== undefined && clear.length === url.length) tell('ca', 'does nothing without TLS', 'take it out, or ldaps:// in url');
  return faults;
}
