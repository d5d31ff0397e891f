/** The look-up itself, with a source that answers at once: what the cache keeps and costs, and many who ask for one address. */
import process from 'node:process';
import { pino } from 'pino';
import { makeCachedSource } from '../../../src/certificates/cache.ts';
import { parseCertificate } from '../../../src/certificates/certificate.ts';
import { makeDirectory } from '../../../src/certificates/directory.ts';
import { issueCertificate, makeAuthority } from '../../../src/certificates/authority/issue.ts';
import type { CertificateSource } from '../../../src/certificates/source.ts';
import { type Mailbox, parseMailbox } from '../../../src/message/envelope.ts';
import type { Print } from '../certificates.ts';

/** As many as fit into the cache's 64 MiB, with some room. */
const ENTRIES = 8000;
const ROUNDS = 5;
const HOUR = 3_600_000;
const MIB = 1024 * 1024;

function mailboxOf(address: string): Mailbox {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault') throw new Error(verdict.fault);
  return verdict.mailbox;
}

const resident = (): number => process.memoryUsage().rss / MIB;

export async function benchLookup(print: Print): Promise<void> {
  const now = Date.now();
  const mailbox = mailboxOf('anna@clinic.example');
  const authority = await makeAuthority({ name: 'bench', now });
  const { certificate } = await issueCertificate({ authority, mailbox, name: 'Anna', key: 'rsa', days: 30, now });
  let asked = 0;
  const source: CertificateSource = {
    name: 'bench',
    close: () => {},
    lookup: async ({ address }) => {
      asked++;
      await new Promise((resolve) => setTimeout(resolve, 5));
      // Read anew each time, as a remote source does: so each entry has memory of its own.
      const read = { ...parseCertificate(certificate.der), addresses: [address] };
      return { kind: 'found', candidates: [{ certificate: read, source: 'bench', place: address }] };
    },
  };
  const log = pino({ level: 'silent' });
  const ages = { found: HOUR, absent: HOUR, stale: HOUR };
  const cached = makeCachedSource(source, { ages, now: Date.now, log, patience: 10_000 });
  const trust = { judge: async () => ({ kind: 'trusted', path: [certificate], revocation: 'off' }) as const };
  const directory = makeDirectory({ sources: [cached], trust, now: Date.now, log, patience: 10_000 });

  const crowd = performance.now();
  await Promise.all(Array.from({ length: ENTRIES }, () => directory.lookup(mailbox)));
  print(`look-up: ${ENTRIES} who ask for one address at once: ${asked} query, ${Math.round(performance.now() - crowd)} ms`);

  const before = resident();
  const mailboxes = Array.from({ length: ENTRIES }, (_, index) => mailboxOf(`reader${index}@clinic.example`));
  for (let at = 0; at < ENTRIES; at += 100) await Promise.all(mailboxes.slice(at, at + 100).map((one) => directory.lookup(one)));
  print(`look-up: a cache of ${ENTRIES} certificates: ${Math.round(resident() - before)} MiB of resident memory`);

  const started = performance.now();
  for (let round = 0; round < ROUNDS; round++) for (const one of mailboxes) await directory.lookup(one);
  const seconds = (performance.now() - started) / 1000;
  print(`look-up: ${Math.round((ROUNDS * ENTRIES) / seconds)} a second out of the cache, trust apart; ${asked - ENTRIES - 1} queries`);
}
