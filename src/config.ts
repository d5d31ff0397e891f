/**
 * sealpost.yaml: found, read, overridden by the environment, held to its schema, frozen. Every fault is told at once, with its
 * place and its mend; nothing is repaired silently. The keys themselves are declared in config/keys.ts.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { applyOverrides, readEnvironment } from './config/environment.ts';
import type { Environment, Override } from './config/environment.ts';
import { auditPlace, withAuditKeys, withAuditName } from './config/audit-keys.ts';
import { declareKeys } from './config/keys.ts';
import { adminFault } from './config/admin-keys.ts';
import { crlFaults } from './config/authority-keys.ts';
import { addressBookFaults } from './config/address-book-keys.ts';
import { anchorSetFaults, sourceFault } from './config/certificate-keys.ts';
import { ownFolderBeside } from './config/own-folder.ts';
import { ldapFaults } from './config/ldap-keys.ts';
import { listenerFaults } from './config/listener-keys.ts';
import { isSameAccount, upstreamFaults } from './config/upstream-keys.ts';
import { isLoopback } from './config/values.ts';
import { inOrder, showFaults, showPath } from './document/fault.ts';
import type { Fault, Path, Place, Reading } from './document/fault.ts';
import { judge } from './document/schema.ts';
import { readHashed, readYaml, systemCode, unreadable } from './document/yaml.ts';
import type { OperatorDocument } from './document/yaml.ts';
import { SealpostError } from './errors.ts';

type CamelName<Name> = Name extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<CamelName<Tail>>}` : Name;
type Camel<Value> = Value extends readonly (infer Entry)[]
  ? readonly Camel<Entry>[]
  : Value extends object
    ? { readonly [Name in keyof Value as CamelName<Name>]: Camel<Value[Name]> }
    : Value;

/**
 * The configuration, frozen: names in camelCase (`config.limits.messageBytes`), sizes in octets, durations in milliseconds,
 * paths absolute, networks with their prefix length. `file` is where it was read, `sha256`
 * the hash of its octets, `overridden` the names in the environment that set keys.
 */
export type Config = Camel<z.output<ReturnType<typeof declareKeys>>> & {
  readonly file: string;
  readonly sha256: string;
  readonly overridden: readonly string[];
};

export interface ConfigPlace {
  /** `-c FILE`; else SEALPOST_CONFIG, ./sealpost.yaml, /etc/sealpost/sealpost.yaml. */
  readonly file?: string | undefined;
  readonly env: Environment;
  readonly cwd: string;
}

const NAME = 'sealpost.yaml';
const IF_MISSING = 'sealpost init makes one; or name yours: sealpost -c FILE';
export const SYSTEM_WIDE = '/etc/sealpost/sealpost.yaml';

/** Throws `config-invalid` with every fault, or `file-unreadable`. */
export async function loadConfig(from: ConfigPlace): Promise<Config> {
  const read = await readConfig(from);
  if (read.kind === 'valid') return read.value;
  const count = read.faults.length === 1 ? '1 fault' : `${read.faults.length} faults`;
  throw new SealpostError('config-invalid', { detail: `${count}\n${showFaults(read.faults)}` });
}

/** As `loadConfig`, with the faults as values. Throws `file-unreadable` where there is nothing to read. */
export async function readConfig(from: ConfigPlace): Promise<Reading<Config>> {
  const file = await findFile(from);
  const schema = declareKeys(path.dirname(file));
  const environment = readEnvironment(schema, withAuditName(from.env));
  const { text, sha256 } = await readHashed(file, IF_MISSING);
  const document = readYaml(file, text);
  if (document.kind === 'invalid') return { kind: 'invalid', faults: [...document.faults, ...environment.faults] };
  const written = applyOverrides(withAuditKeys(document.value.value ?? {}), environment.overrides);
  const place = placer(document.value, environment.overrides);
  const judged = judge(schema, written, place);
  const faults = judged.kind === 'invalid' ? judged.faults : acrossKeys(judged.value, place);
  if (judged.kind === 'invalid' || faults.length > 0 || environment.faults.length > 0) {
    return { kind: 'invalid', faults: [...faults, ...environment.faults] };
  }
  const overridden = environment.overrides.map(({ name }) => name);
  return { kind: 'valid', value: Object.freeze({ ...camel(withOwnFolder(judged.value, written)), file, sha256, overridden }) };
}

/** Of the sources that nobody has written the second folder is the relay's own, which stands beside its queue wherever that is. */
function withOwnFolder<Value extends z.output<ReturnType<typeof declareKeys>>>(config: Value, written: unknown): Value {
  const isWritten = z.looseObject({ certificates: z.looseObject({ sources: z.unknown().refine(isSet) }) }).safeParse(written).success;
  if (isWritten) return config;
  const own = ownFolderBeside(config.queue.sqlite);
  const sources = config.certificates.sources.map(({ files = [], ...rest }) => ({ ...rest, files: [...files.slice(0, 1), own] }));
  return { ...config, certificates: { ...config.certificates, sources } };
}

const isSet = (written: unknown): boolean => written !== undefined;

function placer(document: OperatorDocument, overrides: readonly Override[]): Place {
  return (path, side) => {
    const override = overrides.find((override) => showPath(override.path) === showPath(path));
    return override === undefined ? document.place(auditPlace(path, document.value), side) : `environment ${override.name}`;
  };
}

async function findFile({ file, env, cwd }: ConfigPlace): Promise<string> {
  const named = file ?? env['SEALPOST_CONFIG'];
  if (named !== undefined && named !== '') return path.resolve(cwd, named);
  const places = [path.resolve(cwd, NAME), SYSTEM_WIDE];
  for (const place of places) {
    if (await isThere(place)) return place;
  }
  throw new SealpostError('file-unreadable', {
    detail: `no configuration at ${places.join(' or ')}`,
    hint: IF_MISSING,
  });
}

/** A file that is there and cannot be read is not passed over: another one would silently take its place. */
async function isThere(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return false;
    throw unreadable(file, error);
  }
}

/** What no key can tell alone. */
function acrossKeys(config: z.output<ReturnType<typeof declareKeys>>, place: Place): Fault[] {
  const faults: Fault[] = [];
  const tell = (at: Path, wrong: string, mend: string): void => {
    faults.push({ place: place(at, 'value'), key: showPath(at), wrong, mend });
  };
  const { retry } = config;
  if (retry.first > retry.longest) tell(['retry', 'first'], 'is longer than retry.longest', 'the first wait is the shortest');
  if (retry.longest > retry.max_age)
    tell(['retry', 'longest'], 'is longer than retry.max_age', 'a wait that ends before the message is given up');
  if (config.limits.in_flight_bytes < config.limits.message_bytes)
    tell(['limits', 'in_flight_bytes'], 'is less than limits.message_bytes', 'room for one message at least, for twenty better');
  for (const [index, upstream] of config.upstream.entries()) {
    const own = config.listen.some(({ host, port }) => port === upstream.port && reaches(upstream.host, host, config.hostname));
    if (own) tell(['upstream', index, 'port'], 'is a listener of this relay', 'the port of your mail server: mail would go in a circle');
    for (const { key, wrong, mend } of upstreamFaults(upstream)) tell(['upstream', index, key], wrong, mend);
    // Each would count for itself what the mail server counts together.
    const before = config.upstream.slice(0, index).some((other) => other.rate !== undefined && isSameAccount(other, upstream));
    if (upstream.rate !== undefined && before)
      tell(['upstream', index, 'rate'], 'is a second one for the same host, port and user', 'one entry with the whole rate');
  }
  const { cache } = config.certificates;
  if (cache.stale < cache.found)
    tell(
      ['certificates', 'cache', 'stale'],
      'is less than certificates.cache.found',
      'what is fresh may also be used while its source is down',
    );
  for (const { key, wrong, mend } of addressBookFaults(config.certificates)) tell(['certificates', key], wrong, mend);
  for (const [index, source] of config.certificates.sources.entries()) {
    const fault = sourceFault(source);
    if (fault !== undefined) tell(['certificates', 'sources', index], fault.wrong, fault.mend);
    const { ldap } = source;
    if (ldap !== undefined)
      for (const { key, wrong, mend } of ldapFaults(ldap)) tell(['certificates', 'sources', index, 'ldap', key], wrong, mend);
  }
  const { crl } = config.certificates.authority;
  for (const { key, wrong, mend } of crl === undefined ? [] : crlFaults(crl, config.listen))
    tell(['certificates', 'authority', 'crl', key], wrong, mend);
  for (const { index, wrong, mend } of anchorSetFaults(config.certificates.trust, isWithin))
    tell(['certificates', 'trust', 'anchor_sets', index, 'anchors'], wrong, mend);
  const seen = new Set<string>();
  for (const [index, listener] of config.listen.entries()) {
    for (const { key, wrong, mend } of listenerFaults(listener, config.clients.users !== undefined))
      tell(['listen', index, key], wrong, mend);
    const { host, port } = listener;
    const address = `${host} ${port}`;
    if (port !== 0 && seen.has(address)) tell(['listen', index], 'is the address and port of a listener above', 'give each its own port');
    seen.add(address);
  }
  const ofAdmin = adminFault(config.admin, [...config.listen, crl?.listen]);
  if (ofAdmin !== undefined) tell(['admin', 'port'], ofAdmin.wrong, ofAdmin.mend);
  const data = path.dirname(config.queue.sqlite);
  // The running relay may write the data folder and nothing else: whoever takes it over must not reach the keys.
  if (isWithin(config.keys, data)) tell(['keys'], 'stands in the data folder', `a folder outside ${data}`);
  if (config.audit.file === config.queue.sqlite) tell(['audit', 'file'], 'is the file of the queue', 'for example audit: data/audit.jsonl');
  return inOrder(faults);
}

/** As far as the text tells: the same address, this machine's own name, or both on loopback, where a listener on all addresses is too. */
const reaches = (upstream: string, listener: string, hostname: string): boolean =>
  upstream === listener ||
  upstream === hostname ||
  (isLoopback(upstream) && (['localhost', '0.0.0.0', '::'].includes(listener) || (upstream === 'localhost' && isLoopback(listener))));

const isWithin = (inner: string, outer: string): boolean =>
  inner === outer || inner.startsWith(outer.endsWith(path.sep) ? outer : outer + path.sep);

/** A frozen copy with camelCase names. */
function camel<Value>(value: Value): Camel<Value>;
function camel(value: unknown): unknown {
  if (Array.isArray(value)) return Object.freeze(value.map((entry: unknown) => camel(entry)));
  if (typeof value !== 'object' || value === null) return value;
  const renamed = Object.entries(value).map(
    ([name, below]) => [name.replaceAll(/_[a-z]/g, (hit) => hit.charAt(1).toUpperCase()), camel(below)] as const,
  );
  return Object.freeze(Object.fromEntries(renamed));
}
