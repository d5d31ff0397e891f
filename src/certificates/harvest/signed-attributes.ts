/**
 * The signed attributes of a SignerInfo (RFC 5652 §5.3, §11; RFC 8551 §2.5): those that say what was signed, and what the signer would
 * have mail to them sealed with. When it was signed is not read: the signer's clock proves nothing.
 */
import { CONTEXT, expectTag, isConstructed, malformed, oidText, tags, type Tlv, UNIVERSAL } from '../der.ts';
import { extensionOids } from '../oids.ts';

export interface SignedAttributes {
  readonly contentType: string;
  readonly digest: Buffer;
  /** OIDs of SMIMECapabilities, most preferred first; empty where it says none. */
  readonly capabilities: readonly string[];
  /** Of SMIMEEncryptionKeyPreference: how the certificate to seal to is named; undefined where it says none. */
  readonly preferred: KeyName | undefined;
}

/** RFC 8551 §2.5.3. Exact TLVs, or a key identifier in lower-case hex. */
export type KeyName = { readonly issuerDer: Buffer; readonly serialDer: Buffer } | { readonly subjectKeyId: string };

/** RFC 5652 §11.1, §11.2; RFC 8551 §2.5.3. */
const contentTypeOid = '1.2.840.113549.1.9.3';
const messageDigestOid = '1.2.840.113549.1.9.4';
const keyPreferenceOid = '1.2.840.113549.1.9.16.2.11';

const MAX_ATTRIBUTES = 64;
const MAX_CAPABILITIES = 64;

/** `list` is [0] IMPLICIT SET OF Attribute. Throws `certificate-malformed`. */
export function readSignedAttributes(list: Tlv): SignedAttributes {
  if (list.children.length > MAX_ATTRIBUTES) throw malformed(`more than ${MAX_ATTRIBUTES} signed attributes`);
  const values = new Map<string, Tlv>();
  for (const attribute of list.children) {
    const [type, all, ...more] = expectTag(attribute, UNIVERSAL, tags.sequence, 'a signed attribute').children;
    const oid = oidText(type, 'the type of a signed attribute');
    const [value, ...others] = expectTag(all, UNIVERSAL, tags.set, `the signed attribute ${oid}`).children;
    // RFC 5652 §5.3: one of a kind. Two would let each reader choose its own.
    if (values.has(oid)) throw malformed(`the signed attribute ${oid} stands there twice`);
    if (more.length > 0 || value === undefined) throw malformed(`the signed attribute ${oid} is of another form`);
    if (others.length > 0 && read.has(oid)) throw malformed(`the signed attribute ${oid} has two values`);
    values.set(oid, value);
  }
  const digest = values.get(messageDigestOid);
  return {
    contentType: oidText(values.get(contentTypeOid), 'the signed content type'),
    digest: expectTag(digest, UNIVERSAL, tags.octetString, 'the signed message digest').content,
    capabilities: readCapabilities(values.get(extensionOids.smimeCapabilities)),
    preferred: readPreference(values.get(keyPreferenceOid)),
  };
}

const read: ReadonlySet<string> = new Set([contentTypeOid, messageDigestOid, extensionOids.smimeCapabilities, keyPreferenceOid]);

/** RFC 8551 §2.5.2: SEQUENCE OF { OID, parameters }. */
function readCapabilities(list: Tlv | undefined): readonly string[] {
  const entries = list === undefined ? [] : expectTag(list, UNIVERSAL, tags.sequence, 'SMIMECapabilities').children;
  if (entries.length > MAX_CAPABILITIES) throw malformed(`more than ${MAX_CAPABILITIES} SMIMECapabilities`);
  return entries.map((entry) => oidText(expectTag(entry, UNIVERSAL, tags.sequence, 'SMIMECapabilities').children[0], 'SMIMECapabilities'));
}

/** A CHOICE of [0] issuerAndSerialNumber, [1] recipientKeyId, [2] subjectAltKeyIdentifier, all IMPLICIT. */
function readPreference(choice: Tlv | undefined): KeyName | undefined {
  if (choice === undefined) return undefined;
  const field = 'SMIMEEncryptionKeyPreference';
  if (choice.tagClass !== CONTEXT) throw malformed(`${field} is of the wrong type`);
  if (choice.tag === 0 && isConstructed(choice)) {
    const [issuer, serial, ...more] = choice.children;
    const [name, number] = [expectTag(issuer, UNIVERSAL, tags.sequence, field), expectTag(serial, UNIVERSAL, tags.integer, field)];
    if (more.length > 0) throw malformed(`${field} is of another form`);
    return { issuerDer: name.bytes, serialDer: number.bytes };
  }
  if (choice.tag === 1 && isConstructed(choice))
    return { subjectKeyId: expectTag(choice.children[0], UNIVERSAL, tags.octetString, field).content.toString('hex') };
  if (choice.tag === 2 && !isConstructed(choice)) return { subjectKeyId: choice.content.toString('hex') };
  throw malformed(`${field} is of another form`);
}
