/** What a reader whose certificate the relay has renewed is sent: the words, the PKCS#12, and the page that says how to import it. */
import type { OpenAuthority } from '../../certificates/authority/files.ts';
import type { Issued } from '../../certificates/authority/issue.ts';
import type { IssuedRecord } from '../../certificates/authority/ledger.ts';
import { instructionPage } from '../../certificates/authority/page.ts';
import type { Certificate } from '../../certificates/certificate.ts';
import { generatePassphrase, writePkcs12 } from '../../certificates/pkcs12/write.ts';
import type { OwnMessage } from '../own-mail.ts';
import { renewalText } from './words.ts';

const MAX_NAME = 100;

interface KitParts {
  /** Of the certificate that ends. */
  readonly record: IssuedRecord;
  readonly issued: Issued;
  readonly authority: OpenAuthority;
  /** From the CA that signed it up to the root. */
  readonly chain: readonly Certificate[];
  readonly operator: string;
}

/** Goes under the seal and nowhere else. */
export function makeKit({ record, issued, authority, chain, operator }: KitParts): Pick<OwnMessage, 'text' | 'attachments'> {
  const { address, name, fingerprint, notAfter } = record;
  const { certificate } = issued;
  const passphrase = generatePassphrase();
  const base = address.replaceAll(/[^A-Za-z0-9._@+-]/g, '_').slice(0, MAX_NAME);
  const file = `${base}.p12`;
  const renews = { fingerprint, notAfter: new Date(notAfter) };
  const about = { address, name: name ?? undefined, file, certificate, operator, renews };
  const page = { ...about, root: authority.root.certificate, passwordBeside: true } as const;
  return {
    text: renewalText({ address, file, page: `${base}.html`, passphrase, operator, old: renews, certificate }),
    attachments: [
      {
        name: file,
        type: 'application/pkcs12',
        bytes: writePkcs12({ ...issued, authorities: chain, passphrase, friendlyName: address }),
      },
      { name: `${base}.html`, type: 'text/html; charset=utf-8', bytes: Buffer.from(instructionPage(page)) },
    ],
  };
}
