/**
 * application/pkcs7-mime; smime-type=signed-data (RFC 8551 §3.5.2): the entity inside its signature, which programs on the way cannot
 * change by mistake. Only a reader that knows S/MIME shows anything of it.
 */
import { createHash } from 'node:crypto';
import { contentPiece, opaqueEnd, opaqueStart } from './cms.ts';
import type { Identity } from './identity.ts';
import { Base64Lines } from './lines.ts';
import type { EntitySigner, SignedAbout } from './signer.ts';
import { signedHeader, signingTimeOf } from './stamp.ts';

const HEADER = Buffer.from(
  [
    'MIME-Version: 1.0',
    'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"',
    'Content-Transfer-Encoding: base64',
    'Content-Disposition: attachment; filename="smime.p7m"',
    '',
    '',
  ].join('\r\n'),
);

export function opaqueSigner(identity: Identity, about: Omit<SignedAbout, 'randomBytes'>): EntitySigner {
  const { queueId, at } = about;
  const hash = createHash('sha256');
  const lines = new Base64Lines();
  const piece = (octets: Buffer): Buffer => {
    hash.update(octets);
    return lines.push(contentPiece(octets));
  };
  return {
    fingerprint: identity.certificate.fingerprint,
    start: async (header) => [HEADER, lines.push(opaqueStart), piece(signedHeader(header, queueId, at))],
    write: async (body) => (body.length === 0 ? [] : [piece(body)]),
    async end() {
      const end = lines.push(await opaqueEnd(identity, { digest: hash.digest(), at, signingTime: signingTimeOf(about) }));
      return [end, lines.end()];
    },
  };
}
