/** Whether the audit log is what was written: the chain from its first kept line to the head that the queue database records. */
import { EMPTY_HEAD, readLink, type AuditHead, type AuditLink } from '../audit.ts';
import { auditLines, auditSize, type RawLine } from './segments.ts';

const LINE_FEED = 0x0a;

export type AuditFault =
  /** The line's text is not what the chain says. */
  | 'changed'
  /** Lines are gone before this one. */
  | 'missing'
  /** The line stands in another's place. */
  | 'swapped'
  /** The file ends before the recorded head. */
  | 'cut'
  /** The line stands behind the recorded head, and is not one that waits in the database to be appended. */
  | 'added'
  /** The same, of a last line without a line feed. */
  | 'unfinished';

export type AuditVerdict =
  /** `beyond`: lines behind the recorded head, whole and chained, that the writer has not recorded yet. */
  | { readonly kind: 'whole'; readonly head: AuditHead; readonly beyond: number }
  /** `line` of `file`, which is one of the segments, counts from 1, as editors do. */
  | { readonly kind: 'broken'; readonly file: string; readonly line: number; readonly fault: AuditFault; readonly detail: string };

/** What is broken, by the number of the line in the whole log. */
interface Break {
  readonly number: number;
  readonly fault: AuditFault;
  readonly detail: string;
}

/** What the queue database knows of the file, read in one transaction. */
export interface AuditRecord {
  /** What the first line that is kept goes on from: EMPTY_HEAD until segments were deleted for their age. */
  readonly base: AuditHead;
  readonly head: AuditHead;
  /** The lines, with their line feeds, that are to be appended behind `head`; the writer may have begun. */
  readonly pending: Buffer;
}

/**
 * Holds the file to the database, beside a running relay too. A line is committed to the database as pending, then appended,
 * then recorded. So what stands in the file at first is recorded or pending in a database read after it; what comes behind
 * that was appended meanwhile, and is for the next time. Throws `file-unreadable` and what `record` throws.
 */
export async function verifyAgainst(
  file: string,
  record: () => AuditRecord,
  more: Pick<VerifyOptions, 'onLine'> = {},
): Promise<AuditVerdict> {
  const once = async (): Promise<AuditVerdict> => {
    // Before the record is read: what is deleted in between shows as broken, and is looked at again.
    const first = record().base.seq + 1;
    const size = await auditSize(file, first);
    const known = record();
    return verifyAudit({ file, ...known, upTo: known.base.bytes + size, ...more });
  };
  const verdict = await once();
  // A relay that starts just now cuts off a torn tail.
  return verdict.kind === 'broken' ? once() : verdict;
}

export interface VerifyOptions {
  readonly file: string;
  /** What the first kept line goes on from. */
  readonly base?: AuditHead;
  /** What the database recorded; without it a cut tail cannot be seen. */
  readonly head?: AuditHead;
  /** What alone may stand behind `head`; without it every chained line and an unfinished last one may. */
  readonly pending?: Buffer;
  /** Octets of the log that are held to `pending`, those before `base` counted in. */
  readonly upTo?: number;
  /** Is told of each line that fits the chain. */
  readonly onLine?: (walked: AuditHead) => void;
}

/** Walks all segments, a line in memory at a time. Throws `file-unreadable`. */
export async function verifyAudit(options: VerifyOptions): Promise<AuditVerdict> {
  const { file, base = EMPTY_HEAD } = options;
  const starts: { readonly file: string; readonly number: number }[] = [];
  const walked = await walk(options, (line, number) => {
    if (starts.at(-1)?.file !== line.file) starts.push({ file: line.file, number });
  });
  if ('kind' in walked) return walked;
  const { number, fault, detail } = walked;
  const start = starts.findLast((one) => one.number <= number) ?? { file, number: base.seq + 1 };
  return { kind: 'broken', file: start.file, line: number - start.number + 1, fault, detail };
}

async function walk(
  { file, base = EMPTY_HEAD, head: recorded = EMPTY_HEAD, pending, upTo = Infinity, onLine }: VerifyOptions,
  onRead: (line: RawLine, number: number) => void,
): Promise<Extract<AuditVerdict, { kind: 'whole' }> | Break> {
  const lines = auditLines(file, base.seq + 1);
  let walked = base;
  for await (const line of lines) {
    const number = walked.seq + 1;
    onRead(line, number);
    if (walked.seq >= recorded.seq) {
      if (walked.bytes >= upTo) break;
      const known = pending?.subarray(walked.bytes - recorded.bytes);
      if (known !== undefined && !beginsWith(known, line, upTo - walked.bytes))
        return line.whole
          ? broken(number, 'added', 'the database knows of no such line')
          : broken(number, 'unfinished', 'it has no end, and the database knows of no such line');
      if (!line.whole) break;
    }
    const link = line.whole ? readLink(line.bytes) : undefined;
    if (link === undefined) return broken(number, 'changed', line.whole ? 'it is not a line of the log' : 'it has no end');
    if (link.seq !== number || link.prev !== walked.hash) {
      const next = await lines.next();
      return judgeBreak(walked, link, next.done === true ? undefined : readLink(next.value.bytes), { recorded, base });
    }
    walked = { seq: number, hash: link.hash, bytes: walked.bytes + line.bytes.length + 1 };
    onLine?.(walked);
    if (number === recorded.seq && (walked.hash !== recorded.hash || walked.bytes !== recorded.bytes))
      return broken(number, 'changed', 'its hash is not the one that the database records');
  }
  if (walked.seq < recorded.seq) return broken(walked.seq + 1, 'cut', `the file ends here, the database records ${recorded.seq} lines`);
  return { kind: 'whole', head: walked, beyond: walked.seq - recorded.seq };
}

/** True where the first `limit` octets of the line are those that are to be appended next. */
function beginsWith(known: Buffer, { bytes, whole }: RawLine, limit: number): boolean {
  const octets = Math.min(bytes.length, limit);
  if (octets > known.length || !bytes.subarray(0, octets).equals(known.subarray(0, octets))) return false;
  return !whole || octets === limit || known[octets] === LINE_FEED;
}

const broken = (number: number, fault: AuditFault, detail: string): Break => ({ number, fault, detail });

/**
 * Which line is wrong where the chain breaks between `walked` and `link`. The one behind tells: where `next` names the hash of
 * `link`, `link` is as it was written and the line before it is not.
 */
function judgeBreak(
  walked: AuditHead,
  link: AuditLink,
  next: AuditLink | undefined,
  { recorded, base }: { readonly recorded: AuditHead; readonly base: AuditHead },
): Break {
  const number = walked.seq + 1;
  if (link.seq > number) {
    if (link.prev === walked.hash) return broken(number, 'changed', `it has the number ${link.seq}`);
    if (next?.seq === number) return broken(number, 'swapped', `it has the number ${link.seq}, and ${number} comes behind it`);
    return broken(number, 'missing', `number ${link.seq} stands here`);
  }
  if (link.seq < number) return broken(number, link.prev === walked.hash ? 'changed' : 'swapped', `it has the number ${link.seq}`);
  const intact = next === undefined ? recorded.hash === link.hash : next.prev === link.hash;
  if (intact && number > base.seq + 1) return broken(walked.seq, 'changed', `line ${number} names another hash for it`);
  return broken(number, 'changed', 'it does not name the hash of the line before it');
}
