/** What a signature costs: 25 MiB signed and sealed against sealed alone, in process, and the memory of a relay whose rule signs. */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { readCertificates } from '../../src/certificates/bundle.ts';
import { wireForm } from '../../src/delivery/wire.ts';
import { canonicalLines } from '../../src/message/lines.ts';
import type { SignPolicy } from '../../src/message/sign-policy.ts';
import { sealBody } from '../../src/seal/sealer.ts';
import { sealedHeader } from '../../src/seal/smime.ts';
import { readIdentity } from '../../src/sign/identity.ts';
import { makeSigners } from '../../src/sign/identities.ts';
import type { EntitySigner } from '../../src/sign/signer.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { makeReaders } from '../interop/fixtures.ts';
import { missingPrograms } from '../interop/programs.ts';
import { memoryOf } from './footprint.ts';
import type { Owner } from './owner.ts';
import { comparePairs, rateOf, showSpread } from './pairs.ts';

const MIB = 1024 * 1024;
const SIZE_MIB = 25;
const PAIRS = 7;
const READ_OCTETS = 64 * 1024;
const WANTED = 1.6;
const HEADER = Buffer.from('Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n');

const FORMS: readonly Omit<SignPolicy, 'identity'>[] = [
  { form: 'detached', recode: 'none' },
  { form: 'detached', recode: '7bit' },
  { form: 'opaque', recode: 'none' },
];

export async function benchSigning(print: (line: string) => void, owner: Owner): Promise<void> {
  const missing = missingPrograms({ openssl: 'openssl', 'smtp-sink': 'postfix' });
  if (missing !== undefined) return print(`signing: skipped, ${missing}`);
  const dir = await mkdtemp(join(tmpdir(), 'bench-signing-'));
  owner.after(() => rm(dir, { recursive: true, force: true }));
  const { people } = await makeReaders(join(dir, 'readers'));
  const { certificates } = readCertificates(readFileSync(people.anna.certificate));
  const verdict = readIdentity('site', { kind: 'pem', cert: readFileSync(people.otto.certificate), key: readFileSync(people.otto.key) });
  if (verdict.kind === 'fault') throw new Error(verdict.wrong);
  const author = mailboxOf(people.otto.address);
  const signers = makeSigners(() => [verdict.identity], Date.now);
  const body = bodyOf(SIZE_MIB * MIB);

  /** As the relay does it, to the form on the wire. */
  const seal = async (signer: EntitySigner | undefined): Promise<void> => {
    const ciphertext: Buffer[] = [];
    const sealer = sealBody('aes-256-cbc', { write: async (chunk) => void ciphertext.push(chunk) }, randomBytes);
    const pass = async (parts: readonly Buffer[]): Promise<void> => {
      for (const part of parts) await sealer.write(part);
    };
    await pass((await signer?.start(HEADER)) ?? [HEADER]);
    for await (const chunk of canonicalLines(chunksOf(body))) await pass((await signer?.write(chunk)) ?? [chunk]);
    await pass((await signer?.end()) ?? []);
    const sealed = await sealer.end();
    const prefix = await sealed.prefixFor(certificates, 'rsaes-pkcs1');
    sealer.forget();
    const parts = { header: sealedHeader(Buffer.alloc(0), 'aes-256-cbc'), prefix, suffix: sealed.suffix };
    const file = openSync(join(dir, 'out'), 'w');
    try {
      for await (const chunk of wireForm(parts, Readable.from(ciphertext))) writeSync(file, chunk);
    } finally {
      closeSync(file);
    }
  };
  for (const how of FORMS) {
    const begin = (): EntitySigner =>
      signers.begin({ identity: 'site', ...how }, { queueId: 'bench', at: Date.now(), date: Date.now(), author, randomBytes });
    const { ours, theirs } = await comparePairs(
      PAIRS,
      () => rateOf(SIZE_MIB, () => seal(begin())),
      () => rateOf(SIZE_MIB, () => seal(undefined)),
    );
    print(
      `signing ${SIZE_MIB} MiB, ${how.form}, recode ${how.recode}: signed and sealed ${(theirs.median / ours.median).toFixed(2)} × the time of sealed ` +
        `${how.form === 'detached' ? `(wanted: at most ${WANTED})` : '(it grows by a third)'}; ` +
        `${showSpread(ours, 0)} against ${showSpread(theirs, 0)} MiB/s`,
    );
  }
  await memoryOfSigning(print, owner);
}

const MOST_MIB = 40;

/** The same message through two relays, of which one signs. */
async function memoryOfSigning(print: (line: string) => void, owner: Owner): Promise<void> {
  const rule = { name: 'signed', then: 'seal', subject: 'keep', from: { replace: 'otto@clinic.example' } };
  const config = { identities: { site: { cert: 'people/otto.pem', key: 'file:people/otto.key' } } };
  const signed = await memoryOf(1, SIZE_MIB * MIB, owner, { config, rules: [{ ...rule, sign: 'site' }] });
  const sealed = await memoryOf(1, SIZE_MIB * MIB, owner, { rules: [rule] });
  print(
    `signing: memory over idle for one message of ${SIZE_MIB} MiB: ${signed.overIdle.toFixed(0)} MiB signed, ${sealed.overIdle.toFixed(0)} MiB sealed ` +
      `(wanted: at most ${MOST_MIB})`,
  );
}

function* pieces(octets: Buffer): Generator<Buffer> {
  for (let at = 0; at < octets.length; at += READ_OCTETS) yield octets.subarray(at, at + READ_OCTETS);
}

async function* chunksOf(octets: Buffer): AsyncGenerator<Buffer> {
  yield* pieces(octets);
}

function bodyOf(octets: number): Buffer {
  const noise = createHash('shake256', { outputLength: Math.floor((octets * 3) / 4) })
    .update('bench')
    .digest();
  return Buffer.from(noise.toString('base64').replace(/.{76}/g, '$&\r\n'));
}
