/**
 * What was under the seal, where it was signed first: the text that the signature is over, and in one line what the signature says. Whether
 * its certificate is to be trusted, and is of the author, is said by the reader's mail program; nothing here asks a site.
 */
import { Readable } from 'node:stream';
import { judgeSignedData, type SignedDataVerdict } from '../certificates/harvest/signed-data.ts';
import { readMessage } from '../message/header.ts';
import { readSigned } from '../message/signed.ts';

export interface OpenedSignature {
  /** What a reader is shown. */
  readonly entity: Buffer;
  readonly said: string;
}

/** The reader of signed mail wants an author, who stands outside the seal: whose name it is says nothing here. */
const STAND_IN = Buffer.from('From: author@signed.invalid\r\n');

/** Undefined where `entity` is not signed as a whole. */
export async function openSignature(entity: Buffer): Promise<OpenedSignature | undefined> {
  const { fields } = await readMessage(Readable.from([entity]));
  const type = fields.find(({ key }) => key === 'content-type')?.octets.toString('latin1') ?? '';
  if (!/^content-type\s*:\s*(?:multipart\/signed|application\/(?:x-)?pkcs7-mime)\b/i.test(type)) return undefined;
  const own = fields.some(({ key }) => key === 'from');
  const read = await readSigned(Readable.from(own ? [entity] : [STAND_IN, entity]));
  if (read.kind === 'refused') return { entity, said: `cannot be checked: ${read.reason}` };
  const verdict = judgeSignedData(read.signature, read.content);
  const content = read.content ?? (verdict.kind === 'right' ? verdict.content : undefined);
  return { entity: content ?? entity, said: sayVerdict(verdict) };
}

function sayVerdict(verdict: SignedDataVerdict): string {
  if (verdict.kind === 'wrong') return `WRONG: ${verdict.reason}`;
  const names = verdict.signers.map(({ certificate }) => `${certificate.subject}, SHA-256 ${certificate.fingerprint}`);
  return `right, by ${names.join('; ')} (whether that certificate is to be trusted was not asked)`;
}
