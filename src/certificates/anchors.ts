/**
 * Which anchors are believed for whom. The general ones count for every mailbox; those of a set only for mailboxes of its
 * domains: so a partner's CA vouches for the partner's people and for nobody else's. Where an exclusive set names a domain, no
 * other anchors count for it: so a public CA, or the one in-house, cannot give out certificates for the partner's people.
 *
 * Verdicts are remembered by all they depend on: the certificate, and the folders that count for the mailbox as they are now.
 */
import { basename } from 'node:path';
import type { Mailbox } from '../message/envelope.ts';
import { anyOf, parsePattern } from '../message/pattern.ts';
import type { AddressPattern } from '../message/pattern.ts';
import type { Certificate } from './certificate.ts';
import type { CertificateFolder, FolderContents } from './folder.ts';
import { buildPath, makeCertificateSet } from './path.ts';
import type { CertificateSet, Path } from './path.ts';
import type { RevocationMode } from './revocation/policy.ts';
import { makeTurns } from './turns.ts';

/** Anchors of some domains: `partner.example`, `*.partner.example` for all below it. */
export interface AnchorSet {
  readonly folder: CertificateFolder;
  readonly domains: readonly string[];
  /** For these domains the anchors of this set count alone, with those of other exclusive sets that name them. */
  readonly exclusive: boolean;
  /** Instead of the site's. */
  readonly revocation?: RevocationMode | undefined;
}

/** `set`: whence its anchor comes; undefined for the general ones. An anchor in both counts as the set's, which is the narrower word. */
export interface FoundPath {
  readonly path: Path;
  readonly set: AnchorSet | undefined;
  /**
   * That of its anchor and those of all anchors that stand in it, by name and key: another CA may have certified one of them, and
   * the way over that CA must not be the easier one.
   */
  readonly passed: readonly (AnchorSet | undefined)[];
}

export type FoundPaths =
  /** The next is to be tried where revocation refuses one. */
  | { readonly kind: 'trusted'; readonly paths: readonly [FoundPath, ...FoundPath[]] }
  | { readonly kind: 'untrusted'; readonly reason: string }
  /** `reason`: why it is untrusted as long as nothing changes, where that can be said. */
  | { readonly kind: 'unavailable'; readonly cause: unknown; readonly reason?: string };

export interface PathFinder {
  /**
   * Never throws: a folder that counts for the mailbox and cannot be read is `unavailable`, and so is one that holds no anchor, where
   * no other vouches: it may be a mount that is not there yet (P5).
   */
  find(certificate: Certificate, mailbox: Mailbox): Promise<FoundPaths>;
}

export interface PathFinderOptions {
  readonly anchors: CertificateFolder;
  /** In the order of their precedence. */
  readonly sets?: readonly AnchorSet[];
  readonly intermediates: CertificateFolder;
  /** ms */
  readonly now: () => number;
}

/** A verdict is remembered while nothing it rests on changes, and not longer than this: dates pass without anybody telling. */
const LONGEST_MEMORY_MS = 60_000;
/** Each holds a key, and issuers that the folders hold already. */
const MAX_REMEMBERED = 2000;
/** Milliseconds of searching after which others get their turn; one search takes some 25 at most. */
const TURN_MS = 10;

/** One folder of anchors; `set` undefined for the general one. */
interface Source {
  readonly folder: CertificateFolder;
  readonly set: AnchorSet | undefined;
  readonly counts: (mailbox: Mailbox) => boolean;
}

type Known = Exclude<FoundPaths, { readonly kind: 'unavailable' }>;
/** A verdict without the certificate, which whoever asks again has: each is a few kilobytes with its key. */
type Remembered =
  | Exclude<Known, { readonly kind: 'trusted' }>
  | {
      readonly kind: 'trusted';
      readonly ways: readonly (Omit<FoundPath, 'path'> & { readonly issuers: readonly Certificate[] })[];
    };
type Read = FolderContents & { readonly kind: 'read' };

export function makePathFinder({ anchors, sets = [], intermediates, now }: PathFinderOptions): PathFinder {
  const sources: readonly Source[] = [
    ...sets.map((set) => {
      const domains = matcherOf(set.domains);
      return { folder: set.folder, set, counts: (mailbox: Mailbox) => domains.matches(mailbox) };
    }),
    { folder: anchors, set: undefined, counts: () => true },
  ];
  const shelf = makeShelf();
  const inTurn = makeTurns(TURN_MS);
  const verdicts = new Map<string, { readonly verdict: Remembered; readonly at: number; readonly until: number }>();

  const remember = (key: string, verdict: Known): void => {
    if (verdicts.size >= MAX_REMEMBERED) verdicts.clear();
    const at = now();
    verdicts.set(key, { verdict: issuersOnly(verdict), at, until: Math.min(at + LONGEST_MEMORY_MS, ...endsOf(verdict)) });
  };
  /** Folders that cannot be read hold nothing here: these only make a reason better. */
  const readOthers = (believed: readonly Source[]): Promise<readonly Anchors[]> =>
    Promise.all(
      sources
        .filter((source) => !believed.includes(source))
        .map(async ({ folder, set }) => {
          const contents = await folder.contents();
          return { set, certificates: contents.kind === 'read' ? shelf(folder, contents) : makeCertificateSet([]) };
        }),
    );
  return {
    find: async (certificate, mailbox) => {
      const middle = await intermediates.contents();
      if (middle.kind === 'unavailable') return middle;
      const believed = believedFor(sources, mailbox);
      const anchors: Anchors[] = [];
      const versions = [`${middle.version}`];
      let unread = middle.unread;
      let empty: Error | undefined;
      for (const source of believed) {
        const contents = await source.folder.contents();
        if (contents.kind === 'unavailable') return contents;
        anchors.push({ set: source.set, certificates: shelf(source.folder, contents) });
        versions.push(`${sources.indexOf(source)}:${contents.version}`);
        unread ??= contents.unread;
        empty ??= emptiness(source, contents, sets.length > 0);
      }
      const key = `${certificate.fingerprint} ${versions.join(' ')}`;
      const known = verdicts.get(key);
      // One from the future was made by a clock that was ahead.
      const isCurrent = known !== undefined && known.at <= now() && now() < known.until;
      let verdict = isCurrent ? restored(known.verdict, certificate) : undefined;
      if (verdict === undefined) {
        const question = { believed, intermediates: shelf(intermediates, middle), now: now() };
        verdict = await inTurn(() => judge(certificate, anchors, question));
        if (verdict.kind === 'untrusted') {
          const others = await readOthers(believed);
          verdict = (await inTurn(() => elsewhere(certificate, others, question))) ?? verdict;
        }
        remember(key, verdict);
      }
      if (verdict.kind === 'trusted') return verdict;
      // An anchor in a file that we were not let read may be the one that is missing.
      if (unread !== undefined) return { kind: 'unavailable', cause: unread };
      return empty === undefined ? verdict : { kind: 'unavailable', cause: empty, reason: `no path to an anchor: ${empty.message}` };
    },
  };
}

/** Where sets are configured the general folder may be empty on purpose. */
function emptiness({ folder, set }: Source, { certificates, broken }: Read, hasSets: boolean): Error | undefined {
  if (certificates.length > 0) return undefined;
  if (broken.length > 0) return new Error(`no file in ${folder.path} holds a certificate that can be read`);
  return set === undefined && hasSets ? undefined : new Error(`${folder.path} holds no certificate`);
}

const matcherOf = (domains: readonly string[]): AddressPattern =>
  anyOf(domains.map((domain) => parsePattern(`*@${domain}`)).flatMap((one) => (one.kind === 'pattern' ? [one.pattern] : [])));

function believedFor(sources: readonly Source[], mailbox: Mailbox): readonly Source[] {
  const counting = sources.filter(({ counts }) => counts(mailbox));
  const exclusive = counting.filter(({ set }) => set?.exclusive === true);
  return exclusive.length > 0 ? exclusive : counting;
}

/** Each folder's certificates by name, made once for as long as they stay the same. */
function makeShelf(): (folder: CertificateFolder, contents: Read) => CertificateSet {
  const made = new Map<CertificateFolder, { readonly version: number; readonly set: CertificateSet }>();
  return (folder, { version, certificates }) => {
    const known = made.get(folder);
    if (known?.version === version) return known.set;
    const set = makeCertificateSet(certificates.map(({ certificate }) => certificate));
    made.set(folder, { version, set });
    return set;
  };
}

interface Anchors {
  readonly set: AnchorSet | undefined;
  readonly certificates: CertificateSet;
}

interface Question {
  readonly believed: readonly Source[];
  readonly intermediates: CertificateSet;
  readonly now: number;
}

function judge(certificate: Certificate, believed: readonly Anchors[], { intermediates, now }: Question): Known {
  const verdict = buildPath(certificate, together(believed), intermediates, now);
  if (verdict.kind === 'untrusted') return verdict;
  const found = (path: Path): FoundPath => {
    const set = believed.find(({ certificates }) => certificates.has(anchorOf(path)))?.set;
    return { path, set, passed: [set, ...passedBy(path, believed)] };
  };
  return { kind: 'trusted', paths: [found(verdict.path), ...verdict.others.map(found)] };
}

/** The first that has an anchor of this name and key, for each certificate of the path above the lowest. */
function passedBy(path: Path, believed: readonly Anchors[]): readonly (AnchorSet | undefined)[] {
  return path.slice(1).flatMap((issuer, below) => {
    const child = path[below] ?? issuer;
    const its = believed.find(({ certificates }) => certificates.issuersOf(child).some(({ spkiDer }) => spkiDer.equals(issuer.spkiDer)));
    return its === undefined ? [] : [its.set];
  });
}

const anchorOf = (path: Path): string => (path.at(-1) ?? path[0]).fingerprint;

function together(anchors: readonly Anchors[]): CertificateSet {
  const [only, ...more] = anchors;
  if (only !== undefined && more.length === 0) return only.certificates;
  return {
    issuersOf: (certificate) => {
      const issuers = anchors.flatMap(({ certificates }) => certificates.issuersOf(certificate));
      return [...new Map(issuers.map((issuer) => [issuer.fingerprint, issuer])).values()];
    },
    has: (fingerprint) => anchors.some(({ certificates }) => certificates.has(fingerprint)),
  };
}

const endsOf = (verdict: Known): readonly number[] =>
  verdict.kind === 'trusted' ? verdict.paths.flatMap(({ path }) => path.map(({ notAfter }) => notAfter.getTime())) : [];

function issuersOnly(verdict: Known): Remembered {
  if (verdict.kind === 'untrusted') return verdict;
  return { kind: 'trusted', ways: verdict.paths.map(({ path: [, ...issuers], ...found }) => ({ issuers, ...found })) };
}

function restored(verdict: Remembered, certificate: Certificate): Known | undefined {
  if (verdict.kind === 'untrusted') return verdict;
  const [first, ...others] = verdict.ways.map(({ issuers, ...found }): FoundPath => ({ path: [certificate, ...issuers], ...found }));
  return first === undefined ? undefined : { kind: 'trusted', paths: [first, ...others] };
}

/** The better reason, where an anchor that is not believed for this mailbox would have done. */
function elsewhere(certificate: Certificate, others: readonly Anchors[], question: Question): Known | undefined {
  const verdict = others.length === 0 ? undefined : judge(certificate, others, question);
  if (verdict?.kind !== 'trusted') return undefined;
  const [{ path, set }] = verdict.paths;
  const anchor = `its anchor ${(path.at(-1) ?? path[0]).subject}`;
  const alone = question.believed.flatMap(({ set }) => (set?.exclusive === true ? [set] : []));
  if (alone.length === 0 && set !== undefined) return { kind: 'untrusted', reason: `${anchor} is believed for ${shown(set)} only` };
  return { kind: 'untrusted', reason: `${anchor} is none of those that alone are believed for ${alone.map(shown).join(', ')}` };
}

const shown = ({ domains, folder }: AnchorSet): string => `${domains.join(', ')} (${basename(folder.path)})`;
