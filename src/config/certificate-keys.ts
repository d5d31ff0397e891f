/** `certificates`: where those of recipients are looked for, and which are believed. */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { addressBook } from './address-book-keys.ts';
import { harvest } from './harvest-keys.ts';
import { authority } from './authority-keys.ts';
import { ldap } from './ldap-keys.ts';
import { domainPattern, duration, fetchNetwork, listOf, loopbackResolver, oneOf, oneOrMore, type Secret, yesOrNo } from './values.ts';

const section = <Shape extends z.ZodRawShape>(shape: Shape) => z.strictObject(shape);

const revocationModes = ['hard', 'soft', 'off'] as const;

const anchorSet = (path: z.ZodType<string>) => ({
  anchors: key(path, { meaning: 'The folder of this set.', unit: 'path', example: 'certs/partner-anchors' }),
  domains: key(listOf(domainPattern), {
    meaning: 'For mailboxes of these domains its certificates count, and for no others.',
    unit: 'list',
    example: "[partner.example, '*.partner.example']",
  }),
  exclusive: key(yesOrNo.prefault(false), {
    meaning: 'Whether for these domains no other anchors count, the general ones neither.',
    unit: 'true or false',
    example: 'true',
  }),
  revocation: key(oneOf(...revocationModes).optional(), {
    meaning: 'For certificates below these anchors, instead of `certificates.trust.revocation`.',
    unit: 'word',
    example: 'hard',
  }),
});

const trust = (path: z.ZodType<string>) =>
  section({
    anchors: key(path.prefault('certs/anchors'), {
      meaning: 'The folder of CA certificates that are trusted.',
      unit: 'path',
      example: 'certs/anchors',
    }),
    intermediates: key(path.prefault('certs/intermediates'), {
      meaning: 'The folder of CA certificates that may stand between an anchor and a recipient; not trusted by themselves.',
      unit: 'path',
      example: 'certs/intermediates',
    }),
    anchor_sets: key(z.array(section(anchorSet(path))).prefault([]), {
      meaning: 'Further folders of CA certificates, each believed for some domains only.',
      unit: 'list',
      example: '[{ anchors: certs/partner-anchors, domains: [partner.example] }]',
    }),
    revocation: key(oneOf(...revocationModes).prefault('soft'), {
      meaning:
        'Whether revocation is asked for, and what follows where nobody answers: `soft` takes the certificate and says so, `hard` does not.',
      unit: 'word',
      example: 'hard',
    }),
    crls: key(path.optional(), {
      meaning: 'A folder of revocation lists, DER or PEM, that you fill: for CAs whose lists cannot be fetched.',
      unit: 'path',
      example: 'certs/crls',
    }),
    fetch_networks: key(z.array(fetchNetwork).prefault([]), {
      meaning: 'Networks that lists and OCSP answers may be fetched from though their addresses are not public: where your own CA is.',
      unit: 'list',
      example: '[10.1.0.0/16]',
    }),
  });

const smimea = section({
  resolver: key(loopbackResolver.prefault('127.0.0.1'), {
    meaning: 'A DNS resolver on this machine that validates with DNSSEC, with its port where it is not 53.',
    unit: 'address',
    example: "'127.0.0.1:5353'",
  }),
  trust: key(oneOf('anchors', 'dnssec').prefault('anchors'), {
    meaning: 'What makes a published certificate trusted: `anchors`, a path like any other; `dnssec`, the signed record itself (usage 3).',
    unit: 'word',
    example: 'anchors',
  }),
});

const source = (path: z.ZodType<string>, secret: z.ZodType<Secret>) => ({
  files: key(oneOrMore(path).optional(), {
    meaning:
      'A folder with recipient certificates, or a list of folders that count as one: PEM, DER or PKCS#7, sub-folders too. ' +
      'Commands write to the first; the relay itself writes to `certs` in the data folder.',
    unit: 'path or list',
    example: '[certs/recipients, data/certs]',
  }),
  smimea: key(smimea.optional(), {
    meaning: "Certificates that the recipient's domain publishes in DNS, authenticated by DNSSEC (RFC 8162).",
    unit: 'keys',
    example: '{ resolver: 127.0.0.1 }',
  }),
  ldap: key(section(ldap(path, secret)).optional(), {
    meaning: 'An LDAP directory that holds certificates, such as OpenLDAP or Active Directory; see [LDAP](ldap.md).',
    unit: 'keys',
    example: '{ url: ldaps://ldap.clinic.example, base: "ou=people,dc=clinic,dc=example" }',
  }),
});

/** What is wrong with an entry of `sources`: each is of exactly one kind. */
export function sourceFault(entry: Readonly<Record<string, unknown>>): { readonly wrong: string; readonly mend: string } | undefined {
  const kinds = Object.keys(entry).filter((kind) => entry[kind] !== undefined);
  const mend = 'one kind to an entry: [{ files: certs/recipients }]';
  return kinds.length === 1 ? undefined : { wrong: kinds.length === 0 ? 'is empty' : `is of two kinds: ${kinds.join(' and ')}`, mend };
}

interface AnchorFolders {
  readonly anchors: string;
  readonly anchor_sets: readonly { readonly anchors: string }[];
}

/** Sub-folders count with their folder: a set within other anchors would be believed for all that these are believed for. */
export function anchorSetFaults(
  { anchors, anchor_sets: sets }: AnchorFolders,
  isWithin: (inner: string, outer: string) => boolean,
): readonly { readonly index: number; readonly wrong: string; readonly mend: string }[] {
  return sets.flatMap(({ anchors: folder }, index) => {
    const others = [anchors, ...sets.filter((_, other) => other !== index).map((set) => set.anchors)];
    const other = others.find((one) => isWithin(folder, one) || isWithin(one, folder));
    if (other === undefined) return [];
    const how = folder === other ? 'is' : isWithin(folder, other) ? 'lies in' : 'holds';
    const wrong = `${how} a folder of other anchors: folders count with their sub-folders`;
    return [{ index, wrong, mend: 'a folder beside it, for example certs/partner-anchors' }];
  });
}

const cache = () =>
  section({
    found: key(duration.prefault('1h'), {
      meaning: 'How long a certificate that a remote source answered is used before the source is asked again.',
      unit: 'duration',
      example: '1h',
    }),
    absent: key(duration.prefault('5m'), {
      meaning: 'How long it is believed that a remote source has none.',
      unit: 'duration',
      example: '5m',
    }),
    stale: key(duration.prefault('1d'), {
      meaning: 'How long an answer is used while its source does not answer; not less than `certificates.cache.found`.',
      unit: 'duration',
      example: '1d',
    }),
  });

/** `secret`: how a secret is written, from the folder of the configuration. */
export const certificates = (path: z.ZodType<string>, secret: z.ZodType<Secret>) => ({
  sources: key(listOf(section(source(path, secret))).prefault([{ files: ['certs/recipients', 'data/certs'] }]), {
    meaning: 'Where certificates of recipients are looked for, in this order.',
    unit: 'list',
    example: '[{ files: [certs/recipients, data/certs] }]',
  }),
  cache: key(cache().prefault({}), {
    meaning: 'How long answers of remote sources are kept.',
    unit: 'keys',
    example: '{ found: 1h, absent: 5m, stale: 1d }',
  }),
  trust: key(trust(path).prefault({}), {
    meaning: 'Which certificates are believed.',
    unit: 'keys',
    example: '{ anchors: certs/anchors }',
  }),
  pin: key(yesOrNo.prefault(false), {
    meaning: 'Whether another certificate of an address that mail was sealed to before waits for `sealpost certs approve`.',
    unit: 'true or false',
    example: 'true',
  }),
  harvest: key(harvest().prefault({}), {
    meaning: 'Which certificates are taken from signed mail.',
    unit: 'keys',
    example: '{ address: keys@relay.clinic.example }',
  }),
  authority: key(section(authority(secret)).prefault({}), {
    meaning: 'The in-house CA, see [in-house CA](in-house-ca.md).',
    unit: 'keys',
    example: '{ passphrase: file:keys/ca.passphrase }',
  }),
  ...addressBook(),
});
