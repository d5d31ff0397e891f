/** May mail be sealed to this certificate, whoever issued it? Every no has its reason in words that an operator can act on. */
import type { Certificate } from './certificate.ts';
import { anyExtendedKeyUsage, emailProtection } from './oids.ts';

export type Usability = { readonly kind: 'usable' } | { readonly kind: 'unusable'; readonly reason: string };

export const day = (date: Date): string => date.toISOString().slice(0, 10);

/** `now` in ms. Trust is judged apart, by the path builder. */
export function usability(certificate: Certificate, now: number): Usability {
  const reason = fault(certificate, now);
  return reason === undefined ? { kind: 'usable' } : { kind: 'unusable', reason };
}

function fault(certificate: Certificate, now: number): string | undefined {
  if (certificate.addresses.length === 0) return 'it names no mail address (subjectAltName holds none)';
  if (certificate.key === undefined) return `it holds ${certificate.keyFault ?? 'no key that mail can be sealed to'}`;
  return usageFault(certificate, certificate.key.type) ?? purposeFault(certificate) ?? validityFault(certificate, now);
}

/** RFC 8550 §4.4.2, RFC 5280 §4.2.1.3: absent allows all; RSA wants keyEncipherment, EC keyAgreement. */
function usageFault({ keyUsage }: Certificate, type: 'rsa' | 'ec'): string | undefined {
  if (keyUsage === undefined) return undefined;
  const needed = type === 'rsa' ? 'keyEncipherment' : 'keyAgreement';
  if (!keyUsage.includes(needed)) {
    const signs = keyUsage.includes('digitalSignature') || keyUsage.includes('nonRepudiation');
    return signs ? `it is for signing only (its key usage lacks ${needed})` : `its key usage lacks ${needed}`;
  }
  // RFC 5280 §4.2.1.3: such a key may decipher and nothing else, so nobody may encipher to it.
  return type === 'ec' && keyUsage.includes('decipherOnly') ? 'its key usage is decipherOnly' : undefined;
}

/** RFC 8550 §4.4.4. */
export function purposeFault({ extendedKeyUsage }: Certificate): string | undefined {
  return extendedKeyUsage === undefined || extendedKeyUsage.includes(emailProtection) || extendedKeyUsage.includes(anyExtendedKeyUsage)
    ? undefined
    : 'it is not for mail (its extended key usage lacks emailProtection)';
}

export function validityFault({ notBefore, notAfter }: Certificate, now: number): string | undefined {
  if (notAfter.getTime() < now) return `it expired on ${day(notAfter)}`;
  return notBefore.getTime() > now ? `it is not valid before ${day(notBefore)}` : undefined;
}
