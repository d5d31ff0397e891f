/** The declaration of the keys as text: docs/configuration.md, and the file that `init` writes. */
import { stringify } from 'yaml';
import { z } from 'zod';
import { bare, factsOf, keysOf } from '../document/schema.ts';
import type { KeyFacts } from '../document/schema.ts';
import { declareKeys } from './keys.ts';

interface Entry extends KeyFacts {
  /** `limits.message_bytes`, `listen[].port` */
  readonly path: string;
  /** As YAML in one line; null where the key may be left out and nothing takes its place; undefined where it must be written. */
  readonly standard: string | null | undefined;
}

/** Any folder: only facts are read, and none of them depends on it. */
const declared = () => declareKeys('/');

function entriesOf(schema: z.core.$ZodType, prefix: string): Entry[] {
  return Object.entries(keysOf(schema)).flatMap(([name, below]) => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    const inner = bare(below);
    const deeper = inner instanceof z.ZodArray ? entriesOf(inner.element, `${path}[]`) : entriesOf(below, path);
    const facts = factsOf(below);
    if (facts === undefined) throw new TypeError(`the key ${path} is declared without its facts`);
    return [{ path, ...facts, standard: standardOf(below) }, ...deeper];
  });
}

function standardOf(schema: z.core.$ZodType): string | null | undefined {
  if (schema instanceof z.ZodOptional) return null;
  if (!(schema instanceof z.ZodPrefault)) return undefined;
  const value: unknown = schema.def.defaultValue;
  return stringify(value, { collectionStyle: 'flow', flowCollectionPadding: false, lineWidth: 0 }).trim();
}

const INTRODUCTION = `# Configuration

<!-- Generated from src/config/keys.ts by \`npm run docs\`: edit the declaration, not this page. -->

\`sealpost.yaml\` is looked for in this order: \`-c FILE\`, the file that \`SEALPOST_CONFIG\` names, \`./sealpost.yaml\`,
\`/etc/sealpost/sealpost.yaml\`. \`sealpost init\` writes a small one that works, \`sealpost check\` tells every fault with its
place and its mend. A key that is not listed here is an error, and so is a key that stands twice.

**Paths** are relative to the folder of the file. **Sizes** are whole octets, \`26214400\`, or carry a unit: \`kB\`, \`MB\`, \`GB\`
(powers of 1000), \`KiB\`, \`MiB\`, \`GiB\` (powers of 1024). **Durations** carry \`s\`, \`m\`, \`h\` or \`d\`: \`90s\`, \`5d\`.
**Rates** are a number, a slash and \`s\`, \`min\`, \`h\` or \`d\`: \`30/min\`.

**The environment** overrides the file: \`limits.message_bytes\` is \`SEALPOST_LIMITS__MESSAGE_BYTES\`. Lists, and keys within
their entries, have no names there. A name that begins with \`SEALPOST_\` and names no key is an error, since it was meant to
change something; \`SEALPOST_CONFIG\`, \`SEALPOST_DEBUG\` and the names that Kubernetes and Docker make up for a service called
sealpost are not keys.
`;

/** docs/configuration.md, whole. */
export function renderReference(): string {
  const entries = entriesOf(declared(), '');
  const required = entries.filter((entry) => entry.standard === undefined && !/[.[]/.test(entry.path)).map((entry) => `\`${entry.path}\``);
  const rows = entries.map(({ path, unit, standard, meaning, example }) => {
    return `| \`${path}\` | ${unit} | ${showStandard(standard, example)} | ${meaning} |`;
  });
  const table = ['| key | written as | default | meaning |', '|---|---|---|---|', ...rows].join('\n');
  return `${INTRODUCTION}\nWithout a default, and so in every file: ${required.join(', ')}.\n\n${table}\n`;
}

function showStandard(standard: Entry['standard'], example: string): string {
  if (standard === undefined) return `must be written, for example \`${example}\``;
  if (standard === null) return `none, for example \`${example}\``;
  return standard === '{}' ? 'see below' : `\`${standard}\``;
}

/** Commented out: only the operator knows which address others reach. */
const LIST_EXAMPLE = `    # Where others find what is revoked. It stands in certificates that are issued from then on, so set it before the first:
    # crl:
    #   url: http://relay.clinic.example:8025/in-house.crl
    #   listen: { host: 0.0.0.0, port: 8025 }`;

/** What a first sealpost.yaml says: the keys without default and the passphrases of its keys, each with its meaning above it. Answers YAML text. */
export function renderFirstConfig(site: { readonly hostname: string; readonly operator: string }): string {
  const values: Readonly<Record<string, string>> = {
    hostname: ` ${site.hostname}`,
    operator: ` ${JSON.stringify(site.operator)}`,
    listen: '\n  - { host: 127.0.0.1, port: 2525 }',
    upstream: '\n  - { host: 127.0.0.1, port: 25 }',
    certificates: `\n  authority:\n    passphrase: file:keys/ca.passphrase\n${LIST_EXAMPLE}`,
    hold: '\n  passphrase: file:keys/hold.passphrase',
  };
  const schema = keysOf(declared());
  const parts = Object.entries(values).map(([name, value]) => {
    const below = schema[name];
    return `# ${below === undefined ? '' : (factsOf(below)?.meaning ?? '').replaceAll('`', '').replace(/\[[^\]]*\]\(([^)]*)\)/g, 'docs/$1')}\n${name}:${value}\n`;
  });
  const others = Object.keys(schema).filter((name) => !Object.hasOwn(values, name));
  const head = '# sealpost check says what is wrong here; docs/configuration.md lists every key.\n';
  return [head, ...parts, `# At their defaults: ${others.join(', ')}.\n`].join('\n');
}
