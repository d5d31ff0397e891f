/**
 * The thread that reads lists, one at a time: base64, hash, signature and entries of 25 MB would hold up all mail for a second. It
 * yields to the other threads: mail goes on at its speed while a list is read.
 */
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { dirname } from 'node:path';
import process from 'node:process';
import { parentPort } from 'node:worker_threads';
import { SealpostError } from '../../errors.ts';
import { crlDer, type CrlIssuer, type CrlReading, readCrl, successionFault } from './crl-read.ts';
import { MAX_CRL_BYTES } from './crl-scan.ts';
import type { CrlAnswer, CrlRequest, CrlWish } from './crl-thread.ts';

const NICE = 5;
/** A list in PEM is a third longer, and may have lines of text around it. */
const MAX_FILE_BYTES = MAX_CRL_BYTES * 1.5;

function yieldToOthers(): void {
  // Threads have a priority of their own on Linux alone; elsewhere the whole relay would yield.
  if (process.platform !== 'linux') return;
  try {
    setPriority(NICE);
  } catch {
    // A sandbox forbids it.
  }
}

function answerTo({ source, issuer, wish }: CrlRequest): CrlReading {
  if (typeof source !== 'string') return readAndKeep(Buffer.from(source.buffer, source.byteOffset, source.byteLength), issuer, wish);
  try {
    return readCrl(fileOctets(source), issuer, wish.subjects);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'it is no file of a list';
    return { kind: 'refused', why: `it cannot be read: ${code}`, lasting: false };
  }
}

function fileOctets(path: string): Buffer {
  const file = openSync(path, 'r');
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw new Error('not a file');
    if (stats.size > MAX_FILE_BYTES) throw new Error('too large');
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}

function readAndKeep(octets: Buffer, issuer: CrlIssuer, { subjects, keep }: CrlWish): CrlReading {
  const reading = readCrl(octets, issuer, subjects);
  if (keep === undefined || reading.kind !== 'list' || successionFault(reading.list, keep.held) !== undefined) return reading;
  const unfinished = `${keep.path}.part`;
  try {
    mkdirSync(dirname(keep.path), { recursive: true, mode: 0o700 });
    // Not synced: what a crash tears is noticed by its signature, and fetched anew.
    writeFileSync(unfinished, crlDer(octets), { mode: 0o600 });
    renameSync(unfinished, keep.path);
  } catch {
    // It serves from memory; a disk that is full is told by those who cannot do without.
    rmSync(unfinished, { force: true });
  }
  return reading;
}

const port = parentPort;
if (port === null) throw new SealpostError('internal', { detail: 'the thread for lists is started as a worker' });
yieldToOthers();
port.on('message', (request: CrlRequest) => {
  const reading = answerTo(request);
  const answer: CrlAnswer = { id: request.id, reading };
  const { hashes, places, records } = reading.kind === 'list' ? reading.list.index : {};
  port.postMessage(
    answer,
    [hashes, places, records].flatMap((part) => (part === undefined ? [] : [part.buffer])),
  );
});
