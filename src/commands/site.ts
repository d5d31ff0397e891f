/** What `check` looks at beyond the text of the files: the folders and addresses they name. */
import { access, constants, readdir, stat } from 'node:fs/promises';
import type { Stats } from 'node:fs';
import { isIP } from 'node:net';
import path from 'node:path';
import type { Config } from '../config.ts';
import type { Secret } from '../config/values.ts';
import type { Fault } from '../document/fault.ts';
import { secretFault } from '../document/secret-file.ts';
import { systemCode } from '../document/yaml.ts';
import { ownFolder } from '../upkeep/own-certificates.ts';

/** This machine and this process, as far as a check depends on them. */
export interface Host {
  /** The addresses of its interfaces. */
  readonly addresses: readonly string[];
  /** Of the process; undefined where the platform has none. */
  readonly uid: number | undefined;
}

/** Faults of the folders and listeners of a configuration, in the order of its keys. */
export async function inspectSite(config: Config, host: Host): Promise<Fault[]> {
  const { sources, trust } = config.certificates;
  // The relay makes it.
  const own = ownFolder(config);
  const readable = await Promise.all([
    ...sources.flatMap(({ files = [] }, index) =>
      files.filter((folder) => folder !== own).map((folder) => inspectReadable(folder, `certificates.sources[${index}].files`)),
    ),
    inspectReadable(trust.anchors, 'certificates.trust.anchors'),
    inspectReadable(trust.intermediates, 'certificates.trust.intermediates'),
    ...(trust.crls === undefined ? [] : [inspectReadable(trust.crls, 'certificates.trust.crls')]),
    ...trust.anchorSets.map(({ anchors }, index) => inspectReadable(anchors, `certificates.trust.anchor_sets[${index}].anchors`)),
  ]);
  const data = new Map([
    [path.dirname(config.audit.file), 'audit'],
    [path.dirname(config.queue.sqlite), 'queue.sqlite'],
  ]);
  const written = await Promise.all([...data].map(([folder, key]) => inspectWritable(folder, key, host)));
  return [...inspectListeners(config, host), ...readable.flat(), ...(await inspectKeys(config, host)), ...written.flat()];
}

/** An address that no interface has would fail at the start only, on another day. */
function inspectListeners(config: Config, host: Host): Fault[] {
  const everywhere = new Set(['localhost', '0.0.0.0', '::']);
  return config.listen.flatMap((listener, index) => {
    const ours =
      everywhere.has(listener.host) || listener.host.startsWith('127.') || host.addresses.some((own) => sameAddress(own, listener.host));
    const mend = `one of ${[...new Set(['127.0.0.1', ...host.addresses])].join(', ')}, or 0.0.0.0 for all`;
    const fault = {
      place: config.file,
      key: `listen[${index}].host`,
      wrong: `no interface of this machine has the address ${listener.host}`,
      mend,
    };
    return ours ? [] : [fault];
  });
}

/** IPv6 addresses have many spellings; URL hosts have one. */
function sameAddress(a: string, b: string): boolean {
  return a === b || (isIP(a) === 6 && isIP(b) === 6 && new URL(`http://[${a}]`).hostname === new URL(`http://[${b}]`).hostname);
}

async function inspectReadable(folder: string, key: string): Promise<Fault[]> {
  const found = await folderAt(folder, key, `mkdir -p ${folder}`);
  if (found.kind === 'fault') return [found.fault];
  try {
    await readdir(folder);
    return [];
  } catch (error) {
    return [
      {
        place: folder,
        key,
        wrong: `cannot be read (${systemCode(error) ?? 'unknown reason'})`,
        mend: `chmod u+rx ${folder}, or chown it to the user of sealpost`,
      },
    ];
  }
}

/**
 * Private keys: whoever reads this folder opens mail, whoever writes it forges certificates. It belongs to whoever issues
 * certificates, who need not be the relay's user: then the relay need not get in, as long as nothing that it reads is there.
 */
async function inspectKeys(config: Config, host: Host): Promise<Fault[]> {
  const folder = config.keys;
  const needed = filesOf(config).find(({ file }) => isWithin(file, folder));
  const found = await folderAt(folder, 'keys', `mkdir -m 0700 ${folder}`);
  if (found.kind === 'fault') return found.hidden && needed === undefined ? [] : [found.fault];
  const open = inspectMode(folder, found.stats, 0o077, 'keys', '0700');
  if (needed === undefined || inspectOwner(folder, found.stats, 'keys', host).length === 0) return open;
  const wrong = `belongs to another user, and ${needed.key} is in it`;
  const mend = `move it into a folder that the relay may read, for example secrets/: ${needed.file}`;
  return [...open, { place: folder, key: 'keys', wrong, mend }];
}

/** The files that the relay reads of the configuration's word, each by its key. */
function filesOf({ listen, upstream, certificates, clients, identities = [] }: Config): { readonly key: string; readonly file: string }[] {
  const files: { key: string; file: string }[] = [];
  const add = (key: string, file: string | undefined): void => {
    if (file !== undefined) files.push({ key, file });
  };
  const fileOf = (secret: Secret | undefined): string | undefined => (secret?.from === 'file' ? secret.path : undefined);
  for (const [index, { cert, key }] of listen.entries()) {
    add(`listen[${index}].cert`, cert);
    add(`listen[${index}].key`, fileOf(key));
  }
  for (const [index, { ca, cert, key, auth }] of upstream.entries()) {
    add(`upstream[${index}].ca`, ca);
    add(`upstream[${index}].cert`, cert);
    add(`upstream[${index}].key`, fileOf(key));
    add(`upstream[${index}].auth.password`, fileOf(auth?.password));
  }
  for (const [index, { ldap }] of certificates.sources.entries()) {
    add(`certificates.sources[${index}].ldap.ca`, ldap?.ca);
    add(`certificates.sources[${index}].ldap.bind.password`, fileOf(ldap?.bind?.password));
  }
  for (const { name, p12, cert, key, passphrase, chain } of identities) {
    add(`identities.${name}.p12`, p12);
    add(`identities.${name}.cert`, cert);
    add(`identities.${name}.key`, fileOf(key));
    add(`identities.${name}.passphrase`, fileOf(passphrase));
    add(`identities.${name}.chain`, chain);
  }
  add('clients.users', clients.users);
  return files;
}

const isWithin = (file: string, folder: string): boolean => file.startsWith(folder.endsWith(path.sep) ? folder : folder + path.sep);

/** A group may read it, so that root writes and the relay reads; everybody may not. */
export async function inspectSecretFile(file: string, key: string): Promise<Fault[]> {
  try {
    const stats = await stat(file);
    const wrong = secretFault(stats);
    const mend = stats.isFile() ? `chmod o= ${file}` : 'name the file that holds the secret';
    return wrong === undefined ? [] : [{ place: file, key, wrong, mend }];
  } catch {
    // Reading it will say so.
    return [];
  }
}

/** The queue refuses a folder that others may look into (P2); an audit file may stand among other logs. */
async function inspectWritable(folder: string, key: string, host: Host): Promise<Fault[]> {
  const found = await folderAt(folder, key, `mkdir -m 0700 ${folder}`);
  if (found.kind === 'fault') return [found.fault];
  const queue = key === 'queue.sqlite';
  const open = [
    ...inspectMode(folder, found.stats, queue ? 0o077 : 0o022, key, '0700'),
    ...(queue ? inspectOwner(folder, found.stats, key, host) : []),
  ];
  try {
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    return open;
  } catch (error) {
    return [
      ...open,
      {
        place: folder,
        key,
        wrong: `cannot be written (${systemCode(error) ?? 'unknown reason'})`,
        mend: `chown it to the user of sealpost, chmod 0700 ${folder}`,
      },
    ];
  }
}

/** `forbidden`: bits of the mode that must not be set; `mend` in octal. */
export function inspectMode(folder: string, stats: Stats, forbidden: number, key: string, mend: string): Fault[] {
  const mode = (stats.mode & 0o7777).toString(8).padStart(4, '0');
  return (stats.mode & forbidden) === 0
    ? []
    : [{ place: folder, key, wrong: `its mode is ${mode}: open to other users`, mend: `chmod ${mend} ${folder}` }];
}

function inspectOwner(folder: string, stats: Stats, key: string, host: Host): Fault[] {
  if (host.uid === undefined || stats.uid === host.uid || host.uid === 0) return [];
  return [{ place: folder, key, wrong: 'belongs to another user', mend: `chown ${host.uid} ${folder}` }];
}

type FolderVerdict =
  | { readonly kind: 'folder'; readonly stats: Stats }
  /** `hidden`: it may be there, and this user may not see it. */
  | { readonly kind: 'fault'; readonly fault: Fault; readonly hidden: boolean };

async function folderAt(folder: string, key: string, mend: string): Promise<FolderVerdict> {
  try {
    const stats = await stat(folder);
    if (stats.isDirectory()) return { kind: 'folder', stats };
    const fault = { place: folder, key, wrong: 'is not a folder', mend: 'name a folder, or move the file away' };
    return { kind: 'fault', hidden: false, fault };
  } catch (error) {
    const missing = systemCode(error) === 'ENOENT';
    const wrong = missing ? 'is not there' : `cannot be looked at (${systemCode(error) ?? 'unknown reason'})`;
    return {
      kind: 'fault',
      hidden: systemCode(error) === 'EACCES',
      fault: { place: folder, key, wrong, mend: missing ? mend : 'look at the permissions of the folders above it' },
    };
  }
}
