/** CAs that certify one another: a graph in which every walk goes on for ever. */
import type { Certificate } from '../../src/certificates/certificate.ts';
import { ca, ecKeys, email, issue, name, san } from './pki.ts';
import type { KeyPair } from './pki.ts';

export interface Mesh {
  /** Of the first CA. */
  readonly leaf: Certificate;
  readonly certificates: readonly Certificate[];
  readonly first: { readonly subject: Buffer; readonly keys: KeyPair };
}

/** Each of `count` CAs is certified by `each` others: all of them, or so that a walk comes to ever new ones. */
export function makeMesh(count: number, each: number): Mesh {
  const authorities = Array.from({ length: count }, (_, index) => ({ subject: name(['CN', `CA ${index}`]), keys: ecKeys() }));
  const at = (index: number): Mesh['first'] => {
    const authority = authorities[index % count];
    if (authority === undefined) throw new Error('an empty mesh');
    return authority;
  };
  const certificates = authorities.flatMap((authority, index) =>
    Array.from({ length: each }, (_, step) => {
      const issuer = at((each < count - 1 ? index * each : index) + step + 1);
      return issue({ ...authority, issuer: issuer.subject, signer: issuer.keys, extensions: [ca()] });
    }),
  );
  const first = at(0);
  const leaf = { subject: name(['CN', 'anna']), keys: ecKeys(), extensions: [san(email('anna@clinic.example'))] };
  return { leaf: issue({ ...leaf, issuer: first.subject, signer: first.keys }), certificates, first };
}
