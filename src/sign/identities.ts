/**
 * The identities of the site, live: a certificate that was renewed on disk signs from the next message on, without a signal or a restart.
 * Files are polled, and a change counts once they have rested for a poll, since key and certificate are two files. What cannot be used
 * leaves the old one in its place, with one warning.
 */
import { stat } from 'node:fs/promises';
import type { Logger } from 'pino';
import { asSealpostError, SealpostError } from '../errors.ts';
import { mailboxKey } from '../message/envelope.ts';
import { detachedSigner } from './detached.ts';
import { type Identity, type IdentityVerdict, type Material, readIdentity, timeFault } from './identity.ts';
import { opaqueSigner } from './opaque.ts';
import { recoded } from './recoded.ts';
import type { Signers } from './signer.ts';

/** Where one identity stands. `read` throws SealpostError. */
export interface IdentityFiles {
  readonly name: string;
  /** All that is read, and whose changes are looked for. */
  readonly paths: readonly string[];
  read(): Promise<Material>;
}

export interface Identities extends Signers {
  /** Those that can be read, expired ones among them. */
  identities(): readonly Identity[];
  /** Looks at the files now. */
  refresh(): Promise<void>;
  /** Ends the polling. */
  close(): void;
}

export interface IdentityOptions {
  readonly now: () => number;
  readonly log: Logger;
  /** ms between two looks at the files. */
  readonly pollMs?: number;
}

const POLL_MS = 5000;

/** Reads one; its fault names no secret. Never throws. */
export async function loadIdentity(files: IdentityFiles): Promise<IdentityVerdict> {
  try {
    return readIdentity(files.name, await files.read());
  } catch (error) {
    const { detail, message, hint } = asSealpostError(error);
    return { kind: 'fault', wrong: `cannot be read: ${detail ?? message}`, mend: hint };
  }
}

/** Throws `config-invalid` where one cannot be read or may not sign; that one has expired is logged, and told when it is to sign. */
export async function openIdentityFiles(all: readonly IdentityFiles[], options: IdentityOptions): Promise<Identities> {
  const { now, log, pollMs = POLL_MS } = options;
  const kept: Kept[] = [];
  for (const files of all) {
    const stamp = await stampOf(files);
    const verdict = await loadIdentity(files);
    if (verdict.kind === 'fault')
      throw new SealpostError('config-invalid', { detail: `identities.${files.name} ${verdict.wrong}`, hint: verdict.mend });
    kept.push({ files, identity: verdict.identity, seen: stamp, read: stamp, complaint: undefined });
    tell(verdict.identity, options, 'identity read');
  }
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  const refresh = async (): Promise<void> => {
    for (const one of kept) await look(one, options);
  };
  const rest = (): void => {
    if (closed || kept.length === 0) return;
    timer = setTimeout(() => void refresh().finally(rest), pollMs);
    timer.unref();
  };
  rest();
  const identities = (): readonly Identity[] => kept.map(({ identity }) => identity);
  const close = (): void => {
    closed = true;
    clearTimeout(timer);
  };
  log.debug({ identities: kept.length }, 'identities are looked after');
  return { ...makeSigners(identities, now), identities, refresh, close };
}

/** Signers over whatever identities there are at the moment. */
export function makeSigners(identities: () => readonly Identity[], now: () => number): Signers {
  return {
    begin({ identity: name, form, recode }, about) {
      const identity = identities().find((one) => one.name === name);
      if (identity === undefined) throw new SealpostError('identity-unusable', { detail: `identity ${name} is not there` });
      const fault = timeFault(identity, now());
      if (fault !== undefined) throw new SealpostError('identity-unusable', { detail: `identity ${name}: ${fault}` });
      // Rules were held against the files that were there then: whatever came between, nothing is signed for somebody else.
      if (about.author === undefined || !identity.certificate.addresses.includes(mailboxKey(about.author)))
        throw new SealpostError('identity-unusable', { detail: `identity ${name}: its certificate does not name the From that is shown` });
      const signer = form === 'opaque' ? opaqueSigner(identity, about) : detachedSigner(identity, about);
      return recode === '7bit' ? recoded(signer) : signer;
    },
  };
}

interface Kept {
  readonly files: IdentityFiles;
  identity: Identity;
  /** What the files looked like at the last look, and when they were read. */
  seen: string;
  read: string;
  complaint: string | undefined;
}

async function look(one: Kept, options: IdentityOptions): Promise<void> {
  const stamp = await stampOf(one.files);
  const rests = stamp === one.seen;
  one.seen = stamp;
  if (!rests || stamp === one.read) return;
  const verdict = successor(one.identity, await loadIdentity(one.files));
  if (verdict.kind === 'identity') {
    const { fingerprint } = one.identity.certificate;
    // Written to while it was read: looked at once more.
    one.read = (await stampOf(one.files)) === stamp ? stamp : '';
    one.identity = verdict.identity;
    one.complaint = undefined;
    if (verdict.identity.certificate.fingerprint !== fingerprint) tell(verdict.identity, options, 'identity changed');
    return;
  }
  const { wrong, mend } = verdict;
  if (wrong !== one.complaint) options.log.warn({ identity: one.files.name, wrong, mend }, 'identity cannot be used, the old one stays');
  one.complaint = wrong;
}

/** The rules were held against the addresses of the old certificate: one that does not name them all would sign for somebody else. */
function successor({ certificate: { addresses } }: Identity, verdict: IdentityVerdict): IdentityVerdict {
  if (verdict.kind === 'fault') return verdict;
  const lost = addresses.filter((address) => !verdict.identity.certificate.addresses.includes(address));
  if (lost.length === 0) return verdict;
  const mend = 'a certificate with the same addresses; where it is meant, restart the relay, which looks through its rules then';
  return { kind: 'fault', wrong: `its new certificate does not name ${lost.join(', ')} any more`, mend };
}

function tell(identity: Identity, { log, now }: IdentityOptions, message: string): void {
  const { fingerprint, notAfter } = identity.certificate;
  const about = { identity: identity.name, certificate_sha256: fingerprint, not_after: notAfter.toISOString() };
  const fault = timeFault(identity, now());
  if (fault === undefined) log.info(about, message);
  else log.warn({ ...about, fault }, 'identity cannot sign now');
}

/** What of the files tells a change without reading them. Never rejects. */
async function stampOf({ paths }: IdentityFiles): Promise<string> {
  const parts = paths.map(async (file) => {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
      return [dev, ino, size, mtimeNs, ctimeNs].join(':');
    } catch {
      return 'gone';
    }
  });
  return (await Promise.all(parts)).join(' ');
}
