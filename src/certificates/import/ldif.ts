/**
 * Certificates in LDIF (RFC 2849), as directories are dumped: the values of userCertificate and userSMIMECertificate, with the line they
 * begin on. A dump may have gigabytes, so it streams past: one entry is held at a time, and of it what names a certificate. A line
 * that is none is told with its number and the rest is read.
 *
 * An entry is given when it ends, or not at all: of one that is more than it may be, nothing is taken, since what is behind the limit may
 * be the newer certificate. Records of changes are passed over unless they add an entry: a value that stands there may be one to delete.
 */
import { makeLineReader } from './lines.ts';
import type { Line } from './lines.ts';

export type LdifPart =
  | { readonly kind: 'value'; readonly line: number; readonly octets: Buffer }
  | { readonly kind: 'fault'; readonly line: number; readonly fault: string };

export interface LdifReader {
  push(chunk: Buffer): Iterable<LdifPart>;
  end(): Iterable<LdifPart>;
}

/** Octets of an entry, a line included. */
export const MAX_ENTRY_BYTES = 1024 * 1024;
/** Lines that are none are told so often: a file of garbage is told of, and not line for line. */
const MAX_TOLD = 1000;

/** Names and object identifiers (RFC 4523 §2, RFC 2798 §2.8); `;binary` and other options stand behind. */
const wanted: ReadonlySet<string> = new Set(['usercertificate', '2.5.4.36', 'usersmimecertificate', '2.16.840.1.113730.3.1.40']);
const ATTRIBUTE = /^([A-Za-z0-9][A-Za-z0-9.-]{0,255})((?:;[A-Za-z0-9-]{1,255}){0,20}):/;
/** No name with its options is longer. A line may be folded within its name, too. */
const MAX_NAME = 300;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const SPACE = 0x20;
const HASH = 0x23;
const COLON = 0x3a;
const MARK = Buffer.from('efbbbf', 'hex');

/** A line that others may continue: RFC 2849 note 2. */
interface Logical {
  readonly line: number;
  /** None of them empty. */
  parts: Buffer[];
  /** Octets of them. */
  length: number;
  /** What is to be done with the whole of it: nothing where nobody wants it, and not known before its name is there. */
  settle: ((octets: Buffer) => void) | 'nothing' | 'unknown';
}

interface Entry {
  readonly line: number;
  octets: number;
  /** Held back until the entry ends. */
  readonly parts: LdifPart[];
  /** Why nothing of it is taken. */
  refused: string | undefined;
}

export function makeLdifReader(): LdifReader {
  const lines = makeLineReader(MAX_ENTRY_BYTES);
  let logical: Logical | undefined;
  let entry: Entry | undefined;
  let told = 0;

  const settle = (): void => {
    if (logical === undefined) return;
    const { line, parts, settle } = logical;
    if (settle !== 'nothing') {
      const whole = joined(parts);
      if (settle !== 'unknown') settle(whole);
      // What stands between the changes of one record.
      else if (entry !== undefined && whole.toString('latin1') !== '-') tell(entry, line, 'no line of LDIF');
    }
    logical = undefined;
  };
  function* endEntry(): Iterable<LdifPart> {
    settle();
    if (entry?.refused !== undefined) yield { kind: 'fault', line: entry.line, fault: entry.refused };
    else if (entry !== undefined) yield* entry.parts;
    entry = undefined;
  }
  const tell = (into: Entry, line: number, fault: string): void => {
    if (told < MAX_TOLD) into.parts.push({ kind: 'fault', line, fault });
    else if (told === MAX_TOLD) into.parts.push({ kind: 'fault', line, fault: 'no line of LDIF, and more, which are not listed' });
    told++;
  };
  /** Once its name is there, of which `last` is the end: what was looked at before is not looked at again, however it was folded. */
  const decide = (into: Entry, one: Logical, last: Buffer): void => {
    if (one.parts[0]?.[0] !== HASH && one.length < MAX_NAME && !last.includes(COLON)) return;
    const octets = joined(one.parts);
    const found = octets[0] === HASH ? null : ATTRIBUTE.exec(octets.toString('latin1', 0, MAX_NAME));
    const name = found?.[1]?.toLowerCase() ?? '';
    const at = found?.[0].length ?? 0;
    if (found === null && octets[0] !== HASH) tell(into, one.line, 'no line of LDIF');
    if (wanted.has(name)) one.settle = (whole) => void into.parts.push({ line: one.line, ...valueOf(whole.subarray(at)) });
    else if (name === 'changetype') one.settle = (whole) => void (into.refused ??= changeFault(whole.subarray(at)));
    else [one.settle, one.parts] = ['nothing', []];
  };
  function* read({ number, octets }: Line): Iterable<LdifPart> {
    const bare = number === 1 && octets?.subarray(0, MARK.length).equals(MARK) === true ? octets.subarray(MARK.length) : octets;
    if (bare?.length === 0) return yield* endEntry();
    entry ??= { line: number, octets: 0, parts: [], refused: undefined };
    entry.octets += (bare?.length ?? MAX_ENTRY_BYTES) + 1;
    if (bare === undefined || entry.octets > MAX_ENTRY_BYTES) {
      entry.refused ??= `an entry of more than ${MAX_ENTRY_BYTES} octets`;
      entry.parts.length = 0;
      logical = undefined;
    } else if (entry.refused === undefined) fold(entry, number, bare);
  }
  const fold = (into: Entry, number: number, octets: Buffer): void => {
    const continues = octets[0] === SPACE && logical !== undefined;
    if (!continues) settle();
    logical ??= { line: number, parts: [], length: 0, settle: 'unknown' };
    const part = continues ? octets.subarray(1) : octets;
    if (logical.settle === 'nothing' || part.length === 0) return;
    logical.parts.push(part);
    logical.length += part.length;
    if (logical.settle === 'unknown') decide(into, logical, part);
  };
  return {
    push: function* (chunk) {
      for (const line of lines.push(chunk)) yield* read(line);
    },
    end: function* () {
      for (const line of lines.end()) yield* read(line);
      yield* endEntry();
    },
  };
}

/** Whether a file that begins so is LDIF: its first line that says what it is, says so. */
export function looksLikeLdif(head: Buffer): boolean {
  const text = head.toString('latin1');
  const at = text.search(/^(?:\xef\xbb\xbf)?(?:dn|version|changetype|usercertificate(?:;binary)?|usersmimecertificate(?:;binary)?):/im);
  const pem = text.indexOf('-----BEGIN ');
  return at >= 0 && (pem < 0 || at < pem);
}

const joined = (parts: readonly Buffer[]): Buffer => (parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts));

type Value =
  | { readonly kind: 'value'; readonly octets: Buffer }
  | {
      readonly kind: 'fault';
      readonly fault: string;
    };

/** What stands behind the first colon. */
function valueOf(rest: Buffer): Value {
  const fault = (text: string): Value => ({ kind: 'fault', fault: text });
  const text = rest.toString('latin1');
  if (text.startsWith('<')) return fault('a value that stands elsewhere (a URL), which is not fetched');
  if (!text.startsWith(':')) {
    const plain = text.replace(/^ +/, '');
    return plain === '' ? fault('an empty value') : { kind: 'value', octets: Buffer.from(plain, 'latin1') };
  }
  const encoded = text.slice(1).replaceAll(' ', '');
  if (encoded === '') return fault('an empty value');
  return BASE64.test(encoded) ? { kind: 'value', octets: Buffer.from(encoded, 'base64') } : fault('its value is not base64');
}

function changeFault(rest: Buffer): string | undefined {
  const change = rest.toString('latin1').trim().toLowerCase();
  return change === 'add' ? undefined : 'a record of a change that adds no entry, which is not read';
}
