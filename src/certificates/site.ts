/** The certificate stage of one site: its sources, trust and directory, made from the configuration. */
import { randomBytes } from 'node:crypto';
import { sep } from 'node:path';
import type { Logger } from 'pino';
import { type AddressBook, type BookEntries, makeAddressBook } from './address-book.ts';
import { makeAnswering } from './answering.ts';
import { type CacheAges, makeCachedSource } from './cache.ts';
import type { AnchorSet } from './anchors.ts';
import { type Directory, makeDirectory } from './directory.ts';
import { makeFileSource, openRecipientFolder, type RecipientFolder } from './files.ts';
import { type CertificateFolder, makeCertificateFolder } from './folder.ts';
import { joinFolders, takenIntermediates, withCertificates } from './joined-folder.ts';
import { makeResolver } from './smimea/resolver.ts';
import { makeSmimeaSource, type SmimeaOptions } from './smimea/source.ts';
import { type LdapPlaces, makeLdapSource } from './ldap/source.ts';
import type { Certificate } from './certificate.ts';
import type { LdapSecrets } from './ldap/servers.ts';
import type { KnownCertificates } from './known.ts';
import { openRevocation } from './revocation/open.ts';
import type { AskOwnWord } from './revocation/own-word.ts';
import type { RevocationMode, RevocationPolicy } from './revocation/policy.ts';
import type { CertificateSource } from './source.ts';
import { makeTrust, type Trust } from './trust.ts';

/** One entry of `certificates.sources`: exactly one of these. Absolute paths. */
export interface SourceEntry {
  /** Folders that are one source. */
  readonly files?: readonly string[] | undefined;
  readonly ldap?: LdapPlaces | undefined;
  readonly smimea?: SmimeaEntry | undefined;
}

interface SmimeaEntry {
  /** On loopback. */
  readonly resolver: { readonly address: string; readonly port: number };
  readonly trust: SmimeaOptions['trust'];
}

/** As the configuration names them; absolute paths. */
export interface CertificatePlaces extends BookEntries {
  readonly sources: readonly SourceEntry[];
  /** How long answers of remote sources are used. */
  readonly cache: CacheAges;
  readonly trust: {
    readonly anchors: string;
    readonly intermediates: string;
    /** Anchors of some domains only. */
    readonly anchorSets?: readonly AnchorSetEntry[];
    readonly revocation: RevocationMode;
    /** The folder of revocation lists. */
    readonly crls?: string | undefined;
    /** Networks that lists and answers may be fetched from though they are not public. */
    readonly fetchNetworks: readonly string[];
  };
}

/** One entry of `certificates.trust.anchor_sets`; an absolute path. */
export interface AnchorSetEntry {
  readonly anchors: string;
  readonly domains: readonly string[];
  readonly exclusive: boolean;
  /** Instead of the site's. */
  readonly revocation?: RevocationMode | undefined;
}

export interface SiteOptions {
  /** ms */
  readonly now: () => number;
  readonly log: Logger;
  /** ms for one look-up. */
  readonly patience: number;
  /** Where indexes and caches are kept, absolute; it need not exist. A command that only looks reads them and writes none. */
  readonly cache: { readonly folder: string; readonly writable: boolean };
  /** The one folder that the relay makes and writes itself, absolute: missing or empty at the first look it is no mount that comes late. */
  readonly own?: string | undefined;
  /** Reads what an LDAP source names in files and the environment, for each connection. May throw. */
  readonly ldapSecrets: (places: LdapPlaces) => Promise<LdapSecrets>;
  /** Where certificates are pinned to those that are known. */
  readonly known?: KnownCertificates | undefined;
  /** What the in-house CA of this site has revoked. */
  readonly ownWord?: AskOwnWord | undefined;
  /** Told every second of a long first look at a folder how many files it has seen. */
  readonly progress?: ((files: number) => void) | undefined;
}

/** The certificate stage of one site. */
export interface SiteCertificates {
  readonly directory: Directory;
  readonly addressBook: AddressBook;
  /** For a look at many certificates: it judges by the lists and answers that are at hand, and fetches nothing. */
  readonly trust: Trust;
  /** As for mail, with these certificates beside the intermediates. */
  readonly trustWith: (more: readonly Certificate[]) => Trust;
  /** The folders among the sources, in the order they are asked. */
  readonly recipients: readonly RecipientFolder[];
  readonly anchors: CertificateFolder;
  /** Those of the operator, and those that the relay has taken. */
  readonly intermediates: CertificateFolder;
  /** In the order of the configuration. */
  readonly anchorSets: readonly AnchorSet[];
  /** False where a source gave no answer when it was asked last, and that is not long ago. */
  readonly answering: () => boolean;
  /** Ends polling, connections and threads. */
  close(): Promise<void>;
}

/** What is asked over a network is `remote`: its answers are kept for a while (cache.ts). */
interface OpenSource {
  readonly source: CertificateSource;
  readonly remote: boolean;
}

export function openSiteCertificates(places: CertificatePlaces, options: SiteOptions): SiteCertificates {
  const { now, log, patience, ownWord } = options;
  const open = (path: string): CertificateFolder => makeCertificateFolder({ path, ...options });
  const anchors = open(places.trust.anchors);
  // A command may look before a relay has made it, which is no news; the relay makes it at its start.
  const quiet = log.child({}, { level: 'silent' });
  // What the relay takes with a harvested certificate is no source of trust by itself either.
  const taken = makeCertificateFolder({ ...options, path: takenIntermediates(options.cache.folder), log: quiet });
  const intermediates = joinFolders(open(places.trust.intermediates), taken, { made: options.cache.writable });
  const recipients: RecipientFolder[] = [];
  const openSource = ({ files, ldap, smimea }: SourceEntry): OpenSource => {
    if (files !== undefined) {
      const [first, ...others] = openFolders(files, options);
      if (first === undefined) throw new Error('a source of no folder');
      recipients.push(first, ...others);
      return { source: makeFileSource(first, ...others), remote: false };
    }
    if (smimea !== undefined) {
      const resolver = makeResolver({ ...smimea.resolver, randomBytes });
      return { source: makeSmimeaSource({ resolver, trust: smimea.trust, now: options.now }), remote: true };
    }
    if (ldap !== undefined)
      return { source: makeLdapSource(ldap, { now, patience, secrets: () => options.ldapSecrets(ldap) }), remote: true };
    throw new Error('a source of no kind');
  };
  const answering = makeAnswering(() => performance.now());
  const sources = places.sources.map(openSource).map(({ source, remote }) => {
    const watched = answering.watch(source);
    return remote ? makeCachedSource(watched, { ages: places.cache, now, log, patience }) : watched;
  });
  const anchorSets = (places.trust.anchorSets ?? []).map((set): AnchorSet => ({ ...set, folder: open(set.anchors) }));
  const { crls, fetchNetworks, revocation: mode } = places.trust;
  const revocation = openRevocation({ crls, fetchNetworks, ...options });
  const trustBy = (policy: RevocationPolicy, between = intermediates): Trust =>
    makeTrust({ anchors, sets: anchorSets, intermediates: between, now, revocation: { policy, mode }, ownWord });
  const directory = makeDirectory({ sources, trust: trustBy(revocation.asking), ...options });
  return {
    directory,
    addressBook: makeAddressBook(directory, places),
    trust: trustBy(revocation.atHand),
    trustWith: (more) => trustBy(revocation.asking, withCertificates(intermediates, more)),
    recipients,
    anchors,
    intermediates,
    anchorSets,
    answering: () => answering.all(),
    close: async () => {
      for (const source of sources) await source.close();
      await revocation.close();
      for (const folder of [anchors, intermediates, ...anchorSets.map((set) => set.folder)]) folder.close();
    },
  };
}

function openFolders(paths: readonly string[], options: SiteOptions): RecipientFolder[] {
  const { own } = options;
  const labels = labelsOf(paths, own);
  return paths.map((path, index) => openRecipientFolder({ ...options, path, label: labels[index] ?? path, own: path === own }));
}

/** As much of the end of each path as tells it from the others; of the relay's own folder `data/certs`. */
function labelsOf(paths: readonly string[], own: string | undefined): readonly string[] {
  const end = (path: string, parts: number): string => path.split(sep).filter(Boolean).slice(-parts).join('/');
  return paths.map((path) => {
    const isTold = (parts: number): boolean => paths.every((other) => other === path || end(other, parts) !== end(path, parts));
    let parts = path === own ? 2 : 1;
    while (!isTold(parts) && parts < path.split(sep).length) parts++;
    return end(path, parts);
  });
}
