/**
 * multipart/signed (RFC 1847 §2.1, RFC 8551 §3.5.3): the entity as the first part, its signature as the second. The entity leaves as it
 * comes, and is hashed on its way.
 */
import { createHash } from 'node:crypto';
import { detachedSignature } from './cms.ts';
import type { Identity } from './identity.ts';
import { inLines } from './lines.ts';
import type { EntitySigner, SignedAbout } from './signer.ts';
import { labelOf, signedHeader, signingTimeOf } from './stamp.ts';

const BOUNDARY_OCTETS = 18;

export function detachedSigner(identity: Identity, about: SignedAbout): EntitySigner {
  const { queueId, at, randomBytes } = about;
  // RFC 2045 §6.7: `=_` stands in no quoted-printable, and no base64; the rest nobody guesses.
  const boundary = `=_${randomBytes(BOUNDARY_OCTETS).toString('hex')}`;
  const hash = createHash('sha256');
  return {
    fingerprint: identity.certificate.fingerprint,
    async start(header) {
      const content = signedHeader(header, queueId, at);
      hash.update(content);
      const label = labelOf(header);
      const lines = [
        'MIME-Version: 1.0',
        'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256;',
        ` boundary="${boundary}"`,
        ...(label === undefined ? [] : [`Content-Transfer-Encoding: ${label}`]),
        '',
        `--${boundary}`,
        '',
      ];
      return [Buffer.from(lines.join('\r\n')), content];
    },
    async write(body) {
      hash.update(body);
      return [body];
    },
    async end() {
      const signature = await detachedSignature(identity, { digest: hash.digest(), at, signingTime: signingTimeOf(about) });
      // RFC 1847 §2.1, RFC 2046 §5.1.1: the first CRLF here belongs to the delimiter, and is not under the signature.
      const lines = [
        '',
        `--${boundary}`,
        'Content-Type: application/pkcs7-signature; name="smime.p7s"',
        'Content-Transfer-Encoding: base64',
        'Content-Disposition: attachment; filename="smime.p7s"',
        '',
        '',
      ];
      return [Buffer.from(lines.join('\r\n')), inLines(signature), Buffer.from(`--${boundary}--\r\n`)];
    },
  };
}
