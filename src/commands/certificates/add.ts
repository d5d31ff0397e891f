/**
 * `certs add`: certificates from wherever people keep them into the first folder of recipients, one PEM file an address. One thread reads
 * and judges, a file at a time; others write (intake/shelve.ts). What is said to be added is durable, and whoever runs it again after it
 * was stopped goes on where it stood, since what is there already is passed over.
 */
import process from 'node:process';
import type { Readable } from 'node:stream';
import { makeTurn } from '../../certificates/bundle.ts';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';
import { type Account, type AccountWish, openAccount } from './intake/account.ts';
import { type Origin, refusalOf } from './intake/outcome.ts';
import { openPasswords, type Passwords } from './intake/passwords.ts';
import { chunksOf, type Finding, findings } from './intake/read.ts';
import { openShelving, type Shelving } from './intake/shelve.ts';
import { filesOf } from './intake/walk.ts';
import { makeFolderLock } from './folder-lock.ts';
import { firstFolder } from './paths.ts';
import type { CertificatePaths } from './paths.ts';
import { withSite } from './site.ts';
import type { Site } from './site.ts';

export interface AddWish extends AccountWish {
  readonly passwordFile?: string;
}

/** Adds what is usable and says why not of the rest; throws at the end where anything was refused. */
export async function add(given: readonly string[], paths: CertificatePaths, terminal: Terminal, wish: AddWish): Promise<void> {
  const passwords = openPasswords(wish.passwordFile, given.includes('-'), terminal);
  const account = openAccount(paths, terminal, wish);
  const stop = stopBySignal();
  try {
    await withSite(paths, terminal, (site) =>
      addAll(given, { site, paths, terminal, passwords, account, dry: wish.dryRun === true, stop }),
    );
  } finally {
    stop.forget();
  }
  const { refused, taken, alreadyThere } = account.counts;
  if (stop.asked)
    throw new SealpostError('certificate-unusable', {
      detail: `stopped after ${taken + alreadyThere + refused}`,
      hint: 'what was told as added is whole; the same command goes on from there',
    });
  if (refused === 0) return;
  const hint = account.cut ? '--verbose tells all of them, --json too' : 'the reasons stand above';
  throw new SealpostError('certificate-unusable', { detail: `${refused} of ${refused + taken + alreadyThere} not added`, hint });
}

interface Adding {
  readonly site: Site;
  readonly paths: CertificatePaths;
  readonly terminal: Terminal;
  readonly passwords: Passwords;
  readonly account: Account;
  readonly dry: boolean;
  readonly stop: { readonly asked: boolean };
}

async function addAll(given: readonly string[], adding: Adding): Promise<void> {
  const { site, paths, terminal, account, dry, stop } = adding;
  const folder = firstFolder(paths);
  const there = await site.takePlaces(folder);
  const shelving = openShelving({
    folder,
    lock: dry ? undefined : makeFolderLock(folder, terminal, stop),
    tell: (outcome) => {
      if (outcome.kind === 'refused' && outcome.certificate !== undefined) there.delete(outcome.certificate.fingerprint);
      return account.tell(outcome);
    },
  });
  const turn = makeTurn();
  const authorities = new Set<string>();
  const firsts = dry ? new Map<string, Origin>() : undefined;
  try {
    for await (const finding of allFindings(given, adding)) {
      // A signal, and the threads that write, are heard between two certificates.
      await turn();
      if (stop.asked) break;
      await take(finding, { site, account, shelving, there, firsts, authorities });
    }
    await shelving.flush();
  } finally {
    await shelving.close();
    await account.end(stop.asked);
  }
}

async function* allFindings(given: readonly string[], { terminal, passwords, stop }: Adding): AsyncGenerator<Finding> {
  const reading = { passwords, stop };
  for (const one of given) {
    if (one === '-') yield* findings(octetsOf(terminal.stdin), one, reading);
    else
      for (const named of filesOf(one, terminal.cwd)) {
        if (stop.asked) return;
        else if (named.kind === 'file') yield* findings(chunksOf(named.path), named.shown, reading);
        else yield { kind: 'refused', origin: { file: named.shown }, refusal: named.refusal };
      }
  }
}

async function* octetsOf(stream: Readable): AsyncGenerator<Buffer> {
  for await (const chunk of stream) yield Buffer.from(chunk);
}

interface Taking {
  readonly site: Site;
  readonly account: Account;
  readonly shelving: Shelving;
  /** Files by fingerprint: what was there, and what was taken. */
  readonly there: Map<string, string>;
  /** In a dry run, by fingerprint: what was there is not among them. */
  readonly firsts: Map<string, Origin> | undefined;
  /** Told of. */
  readonly authorities: Set<string>;
}

async function take(finding: Finding, { site, account, shelving, there, firsts, authorities }: Taking): Promise<void> {
  if (finding.kind !== 'certificate') return account.tell(finding);
  const { certificate, origin } = finding;
  const { fingerprint } = certificate;
  const path = there.get(fingerprint);
  if (path !== undefined) return shelving.again(certificate, origin, { path, first: firsts?.get(fingerprint) });
  if (certificate.ca && certificate.addresses.length === 0) {
    if (!authorities.has(fingerprint)) await account.tell({ kind: 'authority', origin, certificate });
    authorities.add(fingerprint);
    return;
  }
  const reason = await site.reasonAgainst(certificate);
  if (reason !== undefined) return account.tell({ kind: 'refused', origin, certificate, refusal: refusalOf(reason) });
  there.set(fingerprint, await shelving.put(certificate, origin));
  firsts?.set(fingerprint, origin);
}

interface Stop {
  readonly asked: boolean;
  forget(): void;
}

/** The first signal ends the work between two certificates; a second one ends the process. */
function stopBySignal(): Stop {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  let asked = false;
  const ask = (): void => {
    asked = true;
    forget();
  };
  const forget = (): void => {
    for (const signal of signals) process.off(signal, ask);
  };
  for (const signal of signals) process.on(signal, ask);
  return {
    get asked() {
      return asked;
    },
    forget,
  };
}
