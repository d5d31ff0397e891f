/**
 * The pair that held mail is sealed to. It is nobody's mail certificate: no CA signs it and no path is asked for, since the site itself
 * says in its configuration that it is the one. RSA, so that any program of any year opens a content key with it.
 */
import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { DAY_MS } from './authority/issue.ts';
import { extension, keyIdOf, nameOf, signCertificate } from './authority/x509.ts';
import { type Certificate, parseCertificate } from './certificate.ts';
import { bitString, octetString, oid, sequence } from './encode.ts';
import { emailProtection, extensionOids } from './oids.ts';
import { day } from './usability.ts';

const RSA_BITS = 3072;
/** Its end stops nothing; it is there because a certificate has one. */
const VALID_DAYS = 3652;
const BACKDATED_MS = 5 * 60_000;

/** keyEncipherment (RFC 5280 §4.2.1.3): it opens and signs nothing. */
const usage = bitString(Buffer.from([0b0010_0000]), 5);

const keyPair = promisify(generateKeyPair);

/** `of`: whose it is; `now` in ms. */
export async function makeHoldPair(of: string, now: number): Promise<{ readonly certificate: Certificate; readonly key: KeyObject }> {
  const { publicKey, privateKey: key } = await keyPair('rsa', { modulusLength: RSA_BITS });
  const name = nameOf(`Held mail of ${of}`);
  const der = signCertificate({
    issuer: name,
    subject: name,
    publicKey,
    signer: key,
    from: now - BACKDATED_MS,
    to: now + VALID_DAYS * DAY_MS,
    extensions: [
      extension(extensionOids.keyUsage, usage, true),
      extension(extensionOids.extKeyUsage, sequence(oid(emailProtection))),
      extension(extensionOids.basicConstraints, sequence(), true),
      extension(extensionOids.subjectKeyIdentifier, octetString(keyIdOf(publicKey))),
    ],
  });
  return { certificate: parseCertificate(der), key };
}

/** Why nothing can be sealed to it; undefined where it can, in its time or after it. */
export function holdFault({ key, keyFault, keyUsage }: Certificate): string | undefined {
  if (key === undefined) return `holds ${keyFault ?? 'no key that mail can be sealed to'}`;
  const needed = key.type === 'rsa' ? 'keyEncipherment' : 'keyAgreement';
  return keyUsage === undefined || keyUsage.includes(needed) ? undefined : `is not for sealing: its key usage lacks ${needed}`;
}

/** A word on its time, `now` in ms; mail is held all the same, since losing it would be worse. */
export function holdAge({ notBefore, notAfter }: Certificate, now: number): string | undefined {
  if (notAfter.getTime() < now) return `expired on ${day(notAfter)}`;
  return notBefore.getTime() > now ? `is not valid before ${day(notBefore)}` : undefined;
}
