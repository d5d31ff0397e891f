/**
 * The certificates in a value that Outlook wrote into userSMIMECertificate: settings one after the other, each of a tag and a length in
 * two octets little-endian and its data; the length counts all three ([MS-OXOABK] 2.2.4.36). Other settings say which ciphers the
 * reader likes, and what the certificate is called.
 */

/** Every such value begins with the setting that says its version. */
const VERSION = 0x0001;
/** KeyExchangeCertificate: the certificate that mail is encrypted to, DER. The one for signing is a setting of its own. */
const KEY_EXCHANGE_CERTIFICATE = 0x0003;
const HEADER_OCTETS = 4;

export const isExchangeValue = (value: Buffer): boolean => value.length >= HEADER_OCTETS && value.readUInt16LE(0) === VERSION;

/** Undefined where the lengths do not fit the value. */
export function exchangeCertificates(value: Buffer): Buffer[] | undefined {
  const certificates: Buffer[] = [];
  for (let at = 0; at < value.length;) {
    if (value.length - at < HEADER_OCTETS) return undefined;
    const [tag, length] = [value.readUInt16LE(at), value.readUInt16LE(at + 2)];
    if (length < HEADER_OCTETS || length > value.length - at) return undefined;
    if (tag === KEY_EXCHANGE_CERTIFICATE) certificates.push(value.subarray(at + HEADER_OCTETS, at + length));
    at += length;
  }
  return certificates;
}
