/** A certificate of the in-house CA as `certs issue` lays it, without a PKCS#12 and without a record: quick, and as releases before the ledger did. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Authority, issueCertificate } from '../../../src/certificates/authority/issue.ts';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { certificatePem } from '../../../src/certificates/pem.ts';
import { mailboxOf } from '../openssl.ts';

export interface Placed {
  readonly authority: Authority;
  readonly address: string;
  readonly crlUrl?: string;
  readonly days?: number;
  /** ms */
  readonly now?: number;
}

export async function writePlaced(
  folder: string,
  { authority, address, crlUrl, days = 365, now = Date.now() }: Placed,
): Promise<Certificate> {
  const { certificate } = await issueCertificate({ authority, mailbox: mailboxOf(address), key: 'ec', days, crlUrl, now });
  await writeFile(join(folder, `${address}.pem`), certificatePem(certificate));
  return certificate;
}
