/** `certificates`: where those of recipients are looked for, and which are believed. */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { addressBook } from './address-book-keys.ts';
import { duration, listOf, oneOf, yesOrNo } from './values.ts';

const section = <Shape extends z.ZodRawShape>(shape: Shape) => z.strictObject(shape);

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
    revocation: key(oneOf('off').prefault('off'), {
      meaning: 'Whether revocation is asked for. Only `off` works for now.',
      unit: 'word',
      example: 'off',
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

export const certificates = (path: z.ZodType<string>) => ({
  sources: key(listOf(section(source(path))).prefault([{ files: 'certs/recipients' }]), {
    meaning: 'Where certificates of recipients are looked for, in this order.',
    unit: 'list',
    example: '[{ files: certs/recipients }]',
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
  ...addressBook(),
});
