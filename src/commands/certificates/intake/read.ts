/**
 * What stands in one file, or in standard input: certificates one by one, what is none, and private keys, of which nothing but that they are
 * there is looked at. The kind is told by the content. LDIF streams past; everything else is held whole, and has at most 1 MiB.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { makeTurn, MAX_BUNDLE_BYTES, PRIVATE_KEY_FAULT, readCertificatesInTurns } from '../../../certificates/bundle.ts';
import { type Certificate, parseCertificate } from '../../../certificates/certificate.ts';
import { HEAD_BYTES, kindOf } from '../../../certificates/import/kind.ts';
import { type LdifPart, type LdifReader, makeLdifReader } from '../../../certificates/import/ldif.ts';
import { pkcs12Certificates } from '../../../certificates/import/pkcs12.ts';
import { roundsOfFile } from '../../../certificates/pkcs12/pfx.ts';
import { AnswerRefused } from '../../../certificates/ldap/fault.ts';
import { makeReading, readValue } from '../../../certificates/ldap/value.ts';
import { asSealpostError, SealpostError } from '../../../errors.ts';
import type { Origin, Outcome } from './outcome.ts';
import type { Passwords } from './passwords.ts';
import { reasonOf } from './walk.ts';

export type Finding =
  | { readonly kind: 'certificate'; readonly origin: Origin; readonly certificate: Certificate }
  | Extract<Outcome, { readonly kind: 'private-key' | 'refused' }>;

type Chunks = AsyncIterable<Buffer> | Iterable<Buffer>;

/** Nothing is waited for: what was a file a moment ago may be a pipe now. */
const AT_ONCE = constants.O_RDONLY | constants.O_NONBLOCK;

/** Throws what the file system does. Each chunk is its own memory, since lines of it may be held. */
export function* chunksOf(path: string): Generator<Buffer> {
  const opened = openSync(path, AT_ONCE);
  try {
    const stats = fstatSync(opened);
    if (!stats.isFile()) throw new Error('no regular file');
    const most = Math.min(stats.size + 1, HEAD_BYTES);
    for (;;) {
      const chunk = Buffer.allocUnsafeSlow(most);
      const length = readSync(opened, chunk, 0, most, null);
      if (length === 0) return;
      yield chunk.subarray(0, length);
    }
  } finally {
    closeSync(opened);
  }
}

export interface Reading {
  readonly passwords: Passwords;
  /** Asked for, what is left of the file is not read. */
  readonly stop: { readonly asked: boolean };
}

/** Never throws for what stands in the file, nor where it cannot be read. */
export async function* findings(chunks: Chunks, file: string, reading: Reading): AsyncGenerator<Finding> {
  const { stop } = reading;
  const held: Buffer[] = [];
  let size = 0;
  let ldif: LdifReader | undefined;
  try {
    for await (const chunk of chunks) {
      // A dump may have gigabytes in which nothing is found, and a signal wants to be heard.
      await turn();
      if (stop.asked) return;
      if (ldif !== undefined) {
        yield* ofLdif(ldif.push(chunk), file, stop);
        continue;
      }
      held.push(chunk);
      const before = size;
      size += chunk.length;
      if (before < HEAD_BYTES && size >= HEAD_BYTES) {
        const head = Buffer.concat(held);
        if (kindOf(head) === 'ldif') {
          held.length = 0;
          ldif = makeLdifReader();
          yield* ofLdif(ldif.push(head), file, stop);
        }
      }
      if (size > MAX_BUNDLE_BYTES) break;
    }
  } catch (error) {
    if (error instanceof SealpostError || !(error instanceof Error) || !('code' in error || error.message === 'no regular file'))
      throw error;
    yield { kind: 'refused', origin: { file }, refusal: { class: 'unreadable', reason: reasonOf(error) } };
    return;
  }
  if (ldif !== undefined) yield* ofLdif(ldif.end(), file, stop);
  else yield* ofWhole(held.length === 1 && held[0] !== undefined ? held[0] : Buffer.concat(held), file, reading);
}

async function* ofWhole(bytes: Buffer, file: string, reading: Reading): AsyncGenerator<Finding> {
  switch (kindOf(bytes.subarray(0, HEAD_BYTES))) {
    case 'ldif': {
      const ldif = makeLdifReader();
      yield* ofLdif(ldif.push(bytes), file, reading.stop);
      return yield* ofLdif(ldif.end(), file, reading.stop);
    }
    case 'key':
      return yield { kind: 'private-key', origin: { file } };
    case 'pkcs12':
      return yield* ofPkcs12(bytes, file, reading);
    case 'certificates':
      return yield* ofCertificates(bytes, file);
  }
}

/** RFC 8551 §3.5: the types that a signed mail has, at its top or in it. */
const SIGNED_MAIL = /^content-type:[ \t]*(?:\r?\n[ \t]+)?(?:multipart\/signed|application\/(?:x-)?pkcs7-(?:mime|signature))/im;

async function* ofCertificates(bytes: Buffer, file: string): AsyncGenerator<Finding> {
  const { certificates, faults } = await readCertificatesInTurns(bytes, turn);
  for (const certificate of certificates) yield { kind: 'certificate', origin: { file }, certificate };
  const isMail = certificates.length === 0 && SIGNED_MAIL.test(bytes.toString('latin1', 0, HEAD_BYTES));
  if (isMail) return yield malformed({ file }, 'mail, whose certificate is taken by another command: sealpost certs harvest FILE');
  for (const fault of faults) {
    const [, line, reason = fault] = /^line (\d+): (.*)$/s.exec(fault) ?? [];
    const origin = { file, line: line === undefined ? undefined : Number(line) };
    yield reason === PRIVATE_KEY_FAULT ? { kind: 'private-key', origin } : malformed(origin, reason);
  }
}

async function* ofPkcs12(bytes: Buffer, file: string, { passwords, stop }: Reading): AsyncGenerator<Finding> {
  const origin = { file };
  if (bytes.length > MAX_BUNDLE_BYTES) return yield malformed(origin, `more than ${MAX_BUNDLE_BYTES} octets`);
  const rounds = roundsOfFile();
  const goOn = async (): Promise<boolean> => {
    await turn();
    return !stop.asked;
  };
  let opened = await pkcs12Certificates(bytes, passwords.known(), rounds, goOn);
  if (opened.kind === 'locked' && !stop.asked) {
    const asked = await passwords.ask(file);
    if (asked !== undefined) opened = await pkcs12Certificates(bytes, [asked], rounds, goOn);
    if (opened.kind === 'read' && asked !== undefined) passwords.keep(asked);
  }
  if (stop.asked && opened.kind !== 'read') return;
  if (opened.kind === 'costly') return yield { kind: 'refused', origin, refusal: { class: 'locked', reason: COSTLY } };
  if (opened.kind === 'locked') return yield { kind: 'refused', origin, refusal: { class: 'locked', reason: passwords.fault } };
  if (opened.kind === 'unreadable') return yield malformed(origin, opened.fault);
  if (opened.certificates.length === 0) yield malformed(origin, 'no certificate in it');
  for (const der of opened.certificates) yield* ofDer(der, origin);
  for (let key = 0; key < opened.keys; key++) yield { kind: 'private-key', origin };
}

function* ofDer(der: Buffer, origin: Origin): Generator<Finding> {
  try {
    yield { kind: 'certificate', origin, certificate: parseCertificate(der) };
  } catch (error) {
    const { detail, message } = asSealpostError(error);
    yield malformed(origin, detail ?? message);
  }
}

async function* ofLdif(parts: Iterable<LdifPart>, file: string, stop: Reading['stop']): AsyncGenerator<Finding> {
  for (const part of parts) {
    await turn();
    if (stop.asked) return;
    const origin = { file, line: part.line };
    if (part.kind === 'fault') yield malformed(origin, part.fault);
    else yield* ofValue(part.octets, origin);
  }
}

/** The forms that a live directory is read in: DER, PKCS#7, PEM, what Outlook writes. */
async function* ofValue(octets: Buffer, origin: Origin): AsyncGenerator<Finding> {
  try {
    const { certificates, fault } = await readValue(octets, makeReading(never));
    for (const certificate of certificates) yield { kind: 'certificate', origin, certificate };
    if (fault !== undefined) yield malformed(origin, fault);
  } catch (error) {
    if (!(error instanceof AnswerRefused)) throw error;
    yield malformed(origin, 'its value has too many parts');
  }
}

const COSTLY = 'each try costs so much that no more passwords are tried: give its own alone, in a --password-file';
const never = new AbortController().signal;
const turn = makeTurn();

const malformed = (origin: Origin, reason: string): Finding => ({ kind: 'refused', origin, refusal: { class: 'malformed', reason } });
