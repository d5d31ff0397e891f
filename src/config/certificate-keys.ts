/** `certificates`: where those of recipients are looked for, and which are believed. */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { domainPattern, listOf, network, oneOf, yesOrNo } from './values.ts';

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
    fetch_networks: key(z.array(network).prefault([]), {
      meaning: 'Networks that lists and OCSP answers may be fetched from though their addresses are not public: where your own CA is.',
      unit: 'list',
      example: '[10.1.0.0/16]',
    }),
  });

const source = (path: z.ZodType<string>) => ({
  files: key(path.optional(), {
    meaning: 'A folder with recipient certificates: PEM, DER or PKCS#7, sub-folders too.',
    unit: 'path',
    example: 'certs/recipients',
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

export const certificates = (path: z.ZodType<string>) => ({
  sources: key(listOf(section(source(path))).prefault([{ files: 'certs/recipients' }]), {
    meaning: 'Where certificates of recipients are looked for, in this order.',
    unit: 'list',
    example: '[{ files: certs/recipients }]',
  }),
  trust: key(trust(path).prefault({}), {
    meaning: 'Which certificates are believed.',
    unit: 'keys',
    example: '{ anchors: certs/anchors }',
  }),
});
