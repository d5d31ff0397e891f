/**
 * What `certs add` says: on stdout what was taken, on stderr what was not and the sum, with the first of each class of refusal; or all
 * of it as one JSON object, streamed, whose names stay. Names of files and people come from strangers: nothing of them reaches a
 * terminal that could move its cursor.
 */
import { once } from 'node:events';
import { escapeUnprintable } from '../../../audit.ts';
import type { Certificate } from '../../../certificates/certificate.ts';
import { day } from '../../../certificates/usability.ts';
import { makeProgress } from '../../progress.ts';
import type { Terminal } from '../../terminal.ts';
import { shown } from '../paths.ts';
import type { CertificatePaths } from '../paths.ts';
import { type Origin, type Outcome, type RefusalClass, refusalClasses } from './outcome.ts';

export interface AccountWish {
  readonly json?: boolean;
  readonly verbose?: boolean;
  readonly dryRun?: boolean;
}

export interface Counts {
  taken: number;
  alreadyThere: number;
  refused: number;
  authorities: number;
  privateKeys: number;
}

export interface Account {
  readonly counts: Readonly<Counts>;
  /** Some refusals were counted and not told. */
  readonly cut: boolean;
  tell(outcome: Outcome): Promise<void>;
  /** The sum. `stopped`: before the end. */
  end(stopped: boolean): Promise<void>;
}

/** Of one class of refusal; of CAs. */
const EXAMPLES = 10;
const PROGRESS_STEP = 500;

export function openAccount(paths: CertificatePaths, terminal: Terminal, wish: AccountWish): Account {
  const { stdout, stderr } = terminal;
  const counts: Counts = { taken: 0, alreadyThere: 0, refused: 0, authorities: 0, privateKeys: 0 };
  const classes = new Map<RefusalClass, number>();
  const progress = makeProgress(terminal);
  const dry = wish.dryRun === true;
  const lines = linesOf(paths, terminal, dry);
  let told = 0;
  let cut = false;
  let before = '{"results":[';

  const count = (outcome: Outcome): boolean => {
    switch (outcome.kind) {
      case 'taken':
        counts.taken++;
        return true;
      case 'already-there':
        counts.alreadyThere++;
        return true;
      case 'authority':
        return ++counts.authorities <= EXAMPLES;
      case 'private-key':
        return ++counts.privateKeys <= EXAMPLES;
      case 'refused': {
        counts.refused++;
        const same = (classes.get(outcome.refusal.class) ?? 0) + 1;
        classes.set(outcome.refusal.class, same);
        return same <= EXAMPLES;
      }
    }
  };
  const write = async (stream: Terminal['stdout'], text: string): Promise<void> => {
    if (!stream.write(text)) await once(stream, 'drain');
  };
  return {
    counts,
    get cut() {
      return cut;
    },
    tell: async (outcome) => {
      const isExample = count(outcome);
      if (wish.json === true) {
        await write(stdout, `${before}\n  ${JSON.stringify(rowOf(outcome, terminal))}`);
        before = ',';
      } else if (isExample || wish.verbose === true) {
        progress.end();
        const isResult = outcome.kind === 'taken' || outcome.kind === 'already-there';
        await write(isResult ? stdout : stderr, lines(outcome, classes));
      } else cut = true;
      if (++told % PROGRESS_STEP === 0)
        progress.show(`${told} looked at, ${counts.taken} ${dry ? 'to be added' : 'added'}, ${counts.refused} refused`);
    },
    end: async (stopped) => {
      progress.end();
      if (wish.json === true)
        await write(stdout, `${before === ',' ? '' : before}\n],${sumJson(counts, classes, dry, stopped).slice(1)}\n`);
      else await write(stderr, sumLines(counts, classes, dry));
    },
  };
}

/** One result as a line, with its hint where it is the first of its class. */
function linesOf(
  paths: CertificatePaths,
  terminal: Terminal,
  dry: boolean,
): (outcome: Outcome, classes: ReadonlyMap<RefusalClass, number>) => string {
  const place = (path: string): string => escapeUnprintable(shown(path, terminal));
  return (outcome, classes) => {
    const from = `sealpost: ${originText(outcome.origin)}`;
    switch (outcome.kind) {
      case 'taken':
        return `${dry ? 'would be added' : 'added'}: ${namesOf(outcome.certificate)}, valid until ${day(outcome.certificate.notAfter)}, in ${place(outcome.path)}\n`;
      case 'already-there':
        if (outcome.first !== undefined)
          return `would be added once: ${namesOf(outcome.certificate)} is in ${originText(outcome.origin)} and in ${originText(outcome.first)}\n`;
        return `already there: ${namesOf(outcome.certificate)} in ${place(outcome.path)}\n`;
      case 'authority': {
        const { subject, issuerDer, subjectDer } = outcome.certificate;
        const { trust } = paths.places;
        const folder = issuerDer.equals(subjectDer) ? trust.anchors : trust.intermediates;
        return `${from}: ${escapeUnprintable(subject)} is a CA and was left out; if you trust it, put it into ${place(folder)}\n`;
      }
      case 'private-key':
        return `${from}: a private key was left out: it belongs to its owner alone\n`;
      case 'refused': {
        const { certificate, refusal } = outcome;
        const reason = escapeUnprintable(refusal.reason);
        const isFirst = refusal.class === 'untrusted' && classes.get('untrusted') === 1;
        const hint = isFirst ? `\n  hint: where you trust its CA, put the CA's certificate into ${place(paths.anchors)} first` : '';
        return certificate === undefined ? `${from}: ${reason}\n` : `${from}: ${namesOf(certificate)} was not added: ${reason}${hint}\n`;
      }
    }
  };
}

const originText = ({ file, line }: Origin): string => `${escapeUnprintable(file)}${line === undefined ? '' : `: line ${line}`}`;

const namesOf = ({ addresses, subject }: Certificate): string => escapeUnprintable(addresses.join(', ') || subject);

/** The names stay. */
function rowOf(outcome: Outcome, terminal: Terminal): object {
  const { kind, origin } = outcome;
  const certificate = kind === 'private-key' ? undefined : outcome.certificate;
  return {
    outcome: kind,
    file: escapeUnprintable(origin.file),
    line: origin.line ?? null,
    addresses: certificate?.addresses ?? null,
    subject: certificate?.subject ?? null,
    fingerprint: certificate?.fingerprint ?? null,
    not_after: certificate?.notAfter.toISOString() ?? null,
    path: kind === 'taken' || kind === 'already-there' ? shown(outcome.path, terminal) : null,
    class: kind === 'refused' ? outcome.refusal.class : null,
    reason: kind === 'refused' ? escapeUnprintable(outcome.refusal.reason) : null,
  };
}

function sumJson(counts: Counts, classes: ReadonlyMap<RefusalClass, number>, dry: boolean, stopped: boolean): string {
  return JSON.stringify({
    taken: counts.taken,
    already_there: counts.alreadyThere,
    refused: counts.refused,
    refused_by_class: Object.fromEntries(classes),
    authorities_left_out: counts.authorities,
    private_keys_left_out: counts.privateKeys,
    dry_run: dry,
    stopped,
  });
}

function sumLines(counts: Counts, classes: ReadonlyMap<RefusalClass, number>, dry: boolean): string {
  const parts = [`${counts.taken} ${dry ? 'to be added' : 'added'}`, `${counts.alreadyThere} already there`, `${counts.refused} refused`];
  if (counts.authorities > 0) parts.push(`${counted(counts.authorities, 'CA')} left out`);
  if (counts.privateKeys > 0) parts.push(`${counted(counts.privateKeys, 'private key')} left out`);
  const reasons = [...classes].sort(([, a], [, b]) => b - a).map(([name, count]) => `  ${count} ${refusalClasses[name]}\n`);
  return `sealpost: ${parts.join(', ')}\n${reasons.join('')}`;
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
