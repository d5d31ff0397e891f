/** Sealpost's side of the benches: sealing in this process, and the relay as the process that an operator runs. */
import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { wireForm } from '../../src/delivery/wire.ts';
import { canonicalLines } from '../../src/message/lines.ts';
import { sealBody } from '../../src/seal/sealer.ts';
import { sealedHeader } from '../../src/seal/smime.ts';
import { makeSite, type RunningRelay, type Site, type SiteOptions } from '../relay/site.ts';
import type { Owner } from './owner.ts';
import type { StartRelay } from './relaying.ts';
import type { SealFile } from './sealing.ts';

export const sealFile: SealFile = async (input, certificateFile, output) => {
  const { certificates } = readCertificates(await readFile(certificateFile));
  const ciphertext: Buffer[] = [];
  const sealer = sealBody('aes-256-cbc', { write: async (chunk) => void ciphertext.push(chunk) }, randomBytes);
  for await (const chunk of canonicalLines(createReadStream(input))) await sealer.write(chunk);
  const body = await sealer.end();
  const prefix = body.prefixFor(certificates, 'rsaes-pkcs1');
  sealer.forget();
  const parts = { header: sealedHeader(Buffer.alloc(0), 'aes-256-cbc'), prefix, suffix: body.suffix };
  await pipeline(wireForm(parts, Readable.from(ciphertext)), createWriteStream(output));
};

/** A site and its relay, at the log level it is shipped with: the relay says where it listens, and logs as an operator's does. */
export async function startOurs(owner: Owner, options: SiteOptions): Promise<{ readonly site: Site; readonly relay: RunningRelay }> {
  const site = await makeSite(owner, options);
  return { site, relay: await site.serve() };
}

export const startOurRelay: StartRelay = async ({ relayTo, owner }) => {
  const upstream = [{ host: '127.0.0.1', port: relayTo.port, concurrency: 20 }];
  const { relay } = await startOurs(owner, { upstreamPort: relayTo.port, config: { upstream } });
  return { port: relay.port };
};
