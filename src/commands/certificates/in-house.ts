/** What the in-house CA has signed, for commands: by its ledger, and by the folders, since a CA of an earlier release kept no ledger. */
import { X509Certificate } from 'node:crypto';
import type { OpenAuthority } from '../../certificates/authority/files.ts';
import { damageOf, ISSUED, type IssuedRecord, readLedger } from '../../certificates/authority/ledger.ts';
import { recordOf } from '../../certificates/authority/renew.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import type { Selection } from '../../certificates/files.ts';
import { readDatabase } from '../../change-control.ts';
import { readRecords } from '../../queue/record-rows.ts';
import type { Terminal } from '../terminal.ts';
import { keyText } from './key-text.ts';
import type { CertificatePaths } from './paths.ts';
import type { Site } from './site.ts';

/** Both by fingerprint. */
export interface InHouse {
  readonly records: Map<string, IssuedRecord>;
  /** Fingerprints of those that stand in a folder. */
  readonly placed: Set<string>;
}

/** What the ledger says; damaged records are told of and left out. Throws `storage-failed` where none can be read. */
export function readInHouse(paths: CertificatePaths, { stderr }: Pick<Terminal, 'stderr'>): InHouse {
  const ledger = readLedger(readDatabase(paths.queue.database, (db) => readRecords(db, ISSUED)) ?? []);
  const damage = damageOf(ledger);
  if (damage !== undefined) stderr.write(`sealpost: ${damage}\n`);
  const { records } = ledger;
  return { records: new Map(records.map((record) => [record.fingerprint, record])), placed: new Set() };
}

/** Adds what the folders hold of it. */
export async function readFolders(inHouse: InHouse, from: InHouseFolders, which?: Selection): Promise<void> {
  const { paths, site, authority } = from;
  const authorities = [authority.issuing.certificate, authority.root.certificate];
  for (const folder of paths.folders) {
    for await (const { certificate } of site.read(folder, which)) {
      const { fingerprint } = certificate;
      const known = inHouse.records.get(fingerprint);
      const issuer = known === undefined ? authorities.find((one) => hasSigned(one, certificate)) : undefined;
      const record = known ?? (issuer === undefined ? undefined : recordOf(certificate, issuer, keyText(certificate)));
      if (record === undefined) continue;
      inHouse.records.set(fingerprint, record);
      inHouse.placed.add(fingerprint);
    }
  }
}

export interface InHouseFolders {
  readonly paths: CertificatePaths;
  readonly site: Site;
  readonly authority: OpenAuthority;
}

/** The name alone would let anybody's certificate through that names our CA as its issuer. */
const hasSigned = (authority: Certificate, { ca, issuerDer, der }: Certificate): boolean =>
  !ca && issuerDer.equals(authority.subjectDer) && new X509Certificate(der).verify(authority.publicKey);
