/**
 * What stands in a certificate attribute. RFC 4523 says DER for userCertificate and RFC 2798 says PKCS#7 for userSMIMECertificate; what is
 * found there is also PEM, base64, a whole MIME message around a signature, and what Outlook writes (exchange.ts).
 */
import type { Certificate } from '../certificate.ts';
import { makeTurn, readCertificatesInTurns } from '../bundle.ts';
import { AnswerRefused } from './fault.ts';
import { exchangeCertificates, isExchangeValue } from './exchange.ts';

/** `fault`: why the value, or a part of it, gave no certificate. */
export interface ValueContents {
  readonly certificates: readonly Certificate[];
  readonly fault: string | undefined;
}

/** What is read for one address: as many parts, good and bad, and as long as somebody waits. */
export interface Reading {
  /** Counts one part, and lets others have their turn. Throws `AnswerRefused` where there are too many, and the reason of the signal. */
  part(): Promise<void>;
}

/** Parts for one address: values, and what is, or should be, a certificate in them. One costs up to a millisecond. */
const MAX_PARTS = 1000;
export const TIDY = 'take expired certificates out of the entry, or name only the attribute that mail uses in certificate_attributes';

export const tooMany = (what: string): AnswerRefused => new AnswerRefused(`more than ${what} for one address`, TIDY);

export function makeReading(signal: AbortSignal): Reading {
  const turn = makeTurn();
  let parts = 0;
  return {
    part: async () => {
      signal.throwIfAborted();
      if (++parts > MAX_PARTS) throw tooMany(`${MAX_PARTS} values and parts of values`);
      await turn();
    },
  };
}

const SEQUENCE_OCTET = 0x30;
/** A value of more blocks is no MIME message with a certificate in it. */
const MAX_BLOCKS = 200;

/** Throws only what `reading` does. */
export async function readValue(value: Buffer, reading: Reading): Promise<ValueContents> {
  const read = (parts: readonly Buffer[]): Promise<ValueContents> => readParts(parts, reading);
  if (value.length === 0) return { certificates: [], fault: 'it is empty' };
  if (value[0] === SEQUENCE_OCTET) return read([value]);
  if (isExchangeValue(value)) {
    const found = exchangeCertificates(value);
    if (found === undefined) return { certificates: [], fault: 'its settings of Outlook do not fit their lengths' };
    return found.length === 0 ? { certificates: [], fault: 'Outlook put no certificate to encrypt to into it' } : read(found);
  }
  const text = value.toString('latin1');
  if (text.includes('-----BEGIN ')) return read([value]);
  const blocks = encodedBlocks(text);
  return blocks.length === 0 ? { certificates: [], fault: 'it is of no known form' } : read(blocks);
}

async function readParts(parts: readonly Buffer[], reading: Reading): Promise<ValueContents> {
  const certificates: Certificate[] = [];
  const faults: string[] = [];
  for (const part of parts) {
    await reading.part();
    const bundle = await readCertificatesInTurns(part, () => reading.part());
    certificates.push(...bundle.certificates);
    faults.push(...bundle.faults);
  }
  return { certificates, fault: faults[0] };
}

/**
 * Blocks of base64 that begin as DER does: alone, or as parts of a MIME message, which are set apart by empty lines and by
 * boundaries (RFC 2046 §5.1.1). Whatever the header fields say, a certificate is known by its octets.
 */
function encodedBlocks(text: string): Buffer[] {
  return text
    .split(/\r?\n[ \t]*(?:\r?\n|--)/, MAX_BLOCKS)
    .map((block) => block.replace(/\s+/g, ''))
    .filter((block) => /^M[A-P][A-Za-z0-9+/]+={0,2}$/.test(block))
    .map((block) => Buffer.from(block, 'base64'));
}
