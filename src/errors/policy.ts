/** What rules and certificates say of a recipient. */
import { type ErrorRow, row } from './row.ts';

export const policyErrors = {
  // Policy and certificates.
  'policy-refused': row(550, '5.7.1', 'a rule of this relay refuses that', 'sealpost explain --from A --to B says which rule'),
  'certificate-missing': row(
    550,
    '5.7.1',
    'no usable certificate for that recipient, and mail in clear is not allowed',
    'sealpost certs lookup ADDRESS says why; sealpost certs add takes a new one',
  ),
  'lookup-unavailable': row(
    451,
    '4.4.3',
    'the certificate look-up is unavailable, please try again later',
    'a source of certificates gives no usable answer, revocation is not known now, or a changed certificate waits for approval: the log of the relay and sealpost certs lookup say which',
  ),
  'hold-unavailable': row(
    451,
    '4.3.0',
    'the message is to be held and cannot be, please try again later',
    'a rule holds it, and there is no usable hold certificate: sealpost check says why',
  ),
  'archive-unavailable': row(
    451,
    '4.3.0',
    'the message is to be archived and cannot be, please try again later',
    'a rule names an archive for which there is no usable certificate: sealpost certs lookup ADDRESS says why',
  ),
  'identity-unusable': row(
    451,
    '4.3.0',
    'the message cannot be signed now, please try again later',
    'the identity that the rule signs with has expired, is not valid yet, does not name the From, or is none of identities: sealpost check says which',
  ),
  'pass-unavailable': row(
    451,
    '4.3.0',
    'the message is to be passed and cannot be kept until then, please try again later',
    'a rule passes it, and there is no spool key: sealpost check says why',
  ),
  'pass-malformed': row(
    550,
    '5.6.0',
    'the message cannot be passed on as it came',
    'let the script end every line in CRLF, with at most 998 octets in front of it (RFC 5321 4.5.3.1.6)',
  ),
  'sealed-malformed': row(
    550,
    '5.6.0',
    'the message says that it is sealed and is not, or not to that recipient',
    'a rule passes only what came sealed to the recipient, whole and to its last octet',
  ),
  'certificate-malformed': row(550, '5.7.1', 'a certificate cannot be read', 'the file is damaged or not an X.509 certificate'),
  'already-issued': row(550, '5.7.1', 'nothing was issued', 'sealpost certs renew ADDRESS makes the next one'),
  'nothing-usable': row(550, '5.7.1', 'there is no usable certificate', 'sealpost certs lookup ADDRESS says why; certs add takes one'),
  'not-in-house': row(550, '5.7.1', 'not issued by the in-house CA', 'sealpost certs list shows what there is'),
  'certificate-unusable': row(550, '5.7.1', 'a certificate cannot be used', 'the reason stands beside it'),
  'harvest-refused': row(
    550,
    '5.7.1',
    'no certificate is taken from that mail',
    'the reason stands beside it: a signed mail, unchanged, whose certificate names the From address and is from a CA that you trust',
  ),
  'harvest-full': row(
    452,
    '4.3.1',
    'too many certificates wait for approval, please try again later',
    'sealpost certs pending shows them: approve or reject some',
  ),
  'code-refused': row(451, '4.3.0', 'that code confirms nothing', 'sealpost certs try ADDRESS sends a new one'),
  'key-malformed': row(550, '5.7.1', 'a private key cannot be read', 'PEM, DER or PKCS#12; is the password right?'),

  // Reading sealed mail.
  'message-not-sealed': row(550, '5.6.0', 'that is not a sealed message', 'open takes an S/MIME enveloped message or its smime.p7m'),
  'message-not-for-key': row(550, '5.7.5', 'that message is not sealed for this key', 'it names other readers: use the key of one of them'),
  'message-tampered': row(
    550,
    '5.7.7',
    'the sealed message was changed on its way',
    'its authentication code does not fit: do not trust what it shows',
  ),
} as const satisfies Record<string, ErrorRow>;
