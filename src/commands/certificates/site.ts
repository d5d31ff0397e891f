/** The certificates of a site, opened for one command: read once, judged as the relay judges them. */
import { pino } from 'pino';
import type { AddressBook } from '../../certificates/address-book.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { causeText } from '../../certificates/choose.ts';
import type { RecipientFolder, Selection } from '../../certificates/files.ts';
import type { PlacedCertificate } from '../../certificates/folder.ts';
import { openSiteCertificates, type SiteCertificates } from '../../certificates/site.ts';
import { usability } from '../../certificates/usability.ts';
import { SealpostError } from '../../errors.ts';
import { type Mailbox, parseMailbox } from '../../message/envelope.ts';
import { makeProgress } from '../progress.ts';
import type { Terminal } from '../terminal.ts';
import { shown } from './paths.ts';
import type { CertificatePaths } from './paths.ts';

export interface Standing {
  /** As of reasonAgainst(). */
  readonly reason: string | undefined;
  /** Of one that is usable where the relay hears what is not at hand here: `revocation unknown: …`. */
  readonly remark: string | undefined;
}

export interface Site {
  readonly addressBook: AddressBook;
  /** For those who judge what is no candidate of the site yet. */
  readonly stage: Pick<SiteCertificates, 'trustWith' | 'recipients' | 'intermediates'>;
  /** What a folder of recipients holds, one by one; its broken files go to stderr. Throws `file-unreadable` where it cannot be read; that the relay's own cannot be, stderr tells. */
  read(path: string, which?: Selection): AsyncIterable<PlacedCertificate>;
  /** Where the certificates of a folder stand, by fingerprint. None of the folders of recipients is looked at again. */
  takePlaces(path: string): Promise<Map<string, string>>;
  /** Why mail would not be sealed to it; undefined where it would. Throws where the anchors cannot be read. */
  reasonAgainst(certificate: Certificate): Promise<string | undefined>;
  /** The same, with what is known of it beside. */
  standingOf(certificate: Certificate): Promise<Standing>;
}

/** Everything that was opened is closed when `act` is done. */
export async function withSite<T>(paths: CertificatePaths, terminal: Terminal, act: (site: Site) => Promise<T>): Promise<T> {
  const now = Date.now;
  // What the relay would log, a command says on stderr.
  const progress = makeProgress(terminal);
  const certificates = openSiteCertificates(paths.places, {
    ...paths.options,
    now,
    log: pino({ level: 'silent' }),
    progress: (files) => progress.show(`${files} files of certificates read`),
  });
  const { addressBook, trust } = certificates;
  /** Whether it can be read, by path. */
  const surveyed = new Map<string, boolean>();
  const survey = async (folder: RecipientFolder): Promise<boolean> => {
    const seen = await folder.survey();
    progress.end();
    if (seen.kind === 'unavailable' && folder.path === paths.options.own) {
      // Whoever keeps the certificates need not be the relay's user, who alone may look into its data folder.
      const short = shown(folder.path, terminal);
      terminal.stderr.write(`sealpost: ${short}, where the relay keeps its own, is not shown: ${causeText(seen.cause)}\n`);
      return false;
    }
    if (seen.kind === 'unavailable') {
      const hint = 'sealpost init makes the folders of a site; the configuration names them';
      throw new SealpostError('file-unreadable', { detail: shown(folder.path, terminal), hint, cause: seen.cause });
    }
    for (const { place, faults } of seen.broken) terminal.stderr.write(`sealpost: ${place} is broken: ${faults.join('; ')}\n`);
    return true;
  };
  const standingOf = async (certificate: Certificate): Promise<Standing> => {
    const usable = usability(certificate, now());
    if (usable.kind === 'unusable') return { reason: usable.reason, remark: undefined };
    // Nothing is fetched here, and a patience of its own for revocation would be a timer that stays for each certificate.
    const verdict = await withPatience(paths.options.patience, (signal) =>
      trust.judge(certificate, ownMailbox(certificate), signal, () => Infinity),
    );
    if (verdict.kind === 'unavailable' && verdict.reason === undefined)
      throw new SealpostError('file-unreadable', { detail: 'the folders of anchors', cause: verdict.cause });
    if (verdict.kind !== 'trusted') return { reason: verdict.reason, remark: undefined };
    return { reason: undefined, remark: verdict.provisional === true ? `revocation ${verdict.revocation}` : undefined };
  };
  try {
    return await act({
      addressBook,
      stage: certificates,
      read: async function* (path, which) {
        const folder = folderAt(certificates, path);
        const readable = surveyed.get(path) ?? (await survey(folder));
        surveyed.set(path, readable);
        if (readable) yield* folder.entries(which);
      },
      takePlaces: async (path) => {
        const folder = folderAt(certificates, path);
        await survey(folder);
        const places = await folder.places();
        // Their threads would read what is written there once more.
        await Promise.all(certificates.recipients.map((one) => one.close()));
        return places;
      },
      reasonAgainst: async (certificate) => (await standingOf(certificate)).reason,
      standingOf,
    });
  } finally {
    progress.end();
    await certificates.close();
  }
}

/** `work` with a signal that is aborted after so many ms. A timeout of AbortSignal would stay for as long, once for each certificate. */
export async function withPatience<T>(patience: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error(`not answered within ${patience} ms`)), patience);
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Of a certificate that is usable, and so names one; trust is asked for whom it is meant for. */
export function ownMailbox({ addresses }: Certificate): Mailbox {
  const verdict = parseMailbox(addresses[0] ?? '');
  if (verdict.kind === 'fault') throw new Error('a certificate whose own address is none');
  return verdict.mailbox;
}

function folderAt({ recipients }: SiteCertificates, path: string): RecipientFolder {
  const folder = recipients.find((one) => one.path === path);
  if (folder === undefined) throw new Error(`${path} is no source of this site`);
  return folder;
}
