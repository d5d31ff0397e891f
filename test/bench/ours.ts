/** Sealpost's side of the benches: sealing in this process, and the relay as the process that an operator runs. */
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { wireForm } from '../../src/delivery/wire.ts';
import { canonicalLines } from '../../src/message/lines.ts';
import { sealBody } from '../../src/seal/sealer.ts';
import { sealedHeader } from '../../src/seal/smime.ts';
import { makeSite, type RunningRelay, type Site, type SiteOptions } from '../relay/site.ts';
import type { Owner } from './owner.ts';
import type { SealFile } from './sealing.ts';

/** Octets of a read: what the relay's sockets give. */
const READ_OCTETS = 64 * 1024;

/** Reads and writes as openssl does, blocking: a thread pool's turns would be no part of sealing. */
export const sealFile: SealFile = async (input, certificateFile, output) => {
  const { certificates } = readCertificates(await readFile(certificateFile));
  const ciphertext: Buffer[] = [];
  const sealer = sealBody('aes-256-cbc', { write: async (chunk) => void ciphertext.push(chunk) }, randomBytes);
  for await (const chunk of canonicalLines(chunksOf(input))) await sealer.write(chunk);
  const body = await sealer.end();
  const prefix = await body.prefixFor(certificates, 'rsaes-pkcs1');
  sealer.forget();
  const parts = { header: sealedHeader(Buffer.alloc(0), 'aes-256-cbc'), prefix, suffix: body.suffix };
  const file = openSync(output, 'w');
  try {
    for await (const chunk of wireForm(parts, Readable.from(ciphertext))) writeSync(file, chunk);
  } finally {
    closeSync(file);
  }
};

/** Each chunk stands in the place of the one before, which the cipher is through with. */
async function* chunksOf(path: string): AsyncGenerator<Buffer> {
  const chunk = Buffer.allocUnsafeSlow(READ_OCTETS);
  const file = openSync(path, 'r');
  try {
    for (;;) {
      const octets = readSync(file, chunk);
      if (octets === 0) return;
      yield chunk.subarray(0, octets);
    }
  } finally {
    closeSync(file);
  }
}

/** A site and its relay, at the log level it is shipped with: the relay says where it listens, and logs as an operator's does. */
export async function startOurs(owner: Owner, options: SiteOptions): Promise<{ readonly site: Site; readonly relay: RunningRelay }> {
  const site = await makeSite(owner, options);
  return { site, relay: await site.serve() };
}
