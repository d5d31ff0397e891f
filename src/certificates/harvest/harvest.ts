/**
 * Which certificate a signed mail gives, if any (docs/harvest.md says the same for operators). The From field is no part of what is
 * signed: it only says for which mailbox a certificate is asked. So nothing counts but certificates that name that mailbox themselves and
 * lead to an anchor that is believed for it; the signature proves that whoever holds the signer's key wants this certificate used.
 *
 *   1. The signatures are right, all of them.
 *   2. A signer's certificate names the mailbox of From (RFC 8550 §3), is for signing mail, is valid now, and is trusted for the mailbox
 *      as any certificate of the site is, revocation included. When the mail says it was signed counts for nothing.
 *   3. The certificate to keep: the one that the signer asks for (SMIMEEncryptionKeyPreference, which is signed) or else the signer's own.
 *      Where nothing is asked for, another in the mail may stand in: a CA vouches for it, the signer does not, since whoever forwards a
 *      mail may add and remove certificates. It has to name the mailbox, be usable and be trusted for itself.
 */
import type { Mailbox } from '../../message/envelope.ts';
import { mailboxKey } from '../../message/envelope.ts';
import type { Certificate } from '../certificate.ts';
import { anyExtendedKeyUsage, emailProtection } from '../oids.ts';
import type { Path } from '../path.ts';
import type { Trust } from '../trust.ts';
import { usability, validityFault } from '../usability.ts';
import type { KeyName } from './signed-attributes.ts';
import { judgeSignedData } from './signed-data.ts';

export type Harvest =
  | {
      readonly kind: 'found';
      readonly certificate: Certificate;
      /** From the certificate to its anchor. */
      readonly path: Path;
      /** OIDs that the signer listed; empty where there were none, or the certificate is not the signer's and not asked for. */
      readonly capabilities: readonly string[];
    }
  | { readonly kind: 'refused'; readonly reason: string }
  /** It cannot be judged now (P5). */
  | { readonly kind: 'unavailable'; readonly cause: unknown };

export interface HarvestParts {
  /** Trust as the site says, with these in hand too for building paths; they are believed no more than the mail that brought them. */
  readonly trustWith: (certificates: readonly Certificate[]) => Trust;
  /** Ms since the epoch. */
  readonly now: () => number;
}

/** As readSigned() gives it. */
export interface SignedMail {
  readonly from: Mailbox;
  readonly content: Buffer | undefined;
  readonly signature: Buffer;
}

const refused = (reason: string): Harvest => ({ kind: 'refused', reason });

/** Never throws. */
export async function judgeHarvest(mail: SignedMail, { trustWith, now }: HarvestParts, signal: AbortSignal): Promise<Harvest> {
  const verdict = judgeSignedData(mail.signature, mail.content);
  if (verdict.kind === 'wrong') return refused(verdict.reason);
  const { from } = mail;
  const signer = verdict.signers.find(({ certificate }) => names(certificate, from));
  if (signer === undefined) return refused(`no certificate of its signer names ${from.address}`);
  // One that signed itself leads nowhere but to itself: the site's anchors count.
  const trust = trustWith(verdict.certificates.filter((one) => one.ca && !one.subjectDer.equals(one.issuerDer)));
  const fault = signerFault(signer.certificate, now());
  if (fault !== undefined) return refused(`the certificate of its signer: ${fault}`);
  const signed = await trust.judge(signer.certificate, from, signal);
  if (signed.kind === 'unavailable') return signed;
  if (signed.kind === 'untrusted') return refused(`the certificate of its signer: ${signed.reason}`);

  const { preferred } = signer;
  const asked = preferred === undefined ? [] : verdict.certificates.filter((one) => isNamedBy(one, preferred));
  // It stood there when it was signed: a forwarder took it out, and may have put another in.
  if (preferred !== undefined && asked.length === 0) return refused('the certificate that its signer asks for is not in it');
  const vouched = [...asked, signer.certificate];
  const reasons: string[] = [];
  for (const certificate of candidates(vouched, preferred === undefined ? verdict.certificates : [], from)) {
    const usable = usability(certificate, now());
    if (usable.kind === 'unusable') {
      reasons.push(usable.reason);
      continue;
    }
    const trusted = await trust.judge(certificate, from, signal);
    if (trusted.kind === 'unavailable') return trusted;
    if (trusted.kind === 'trusted')
      return { kind: 'found', certificate, path: trusted.path, capabilities: vouched.includes(certificate) ? signer.capabilities : [] };
    reasons.push(trusted.reason);
  }
  return refused(`no certificate in it can be sealed to: ${[...new Set(reasons)].slice(0, MAX_REASONS).join('; ')}`);
}

const MAX_REASONS = 3;
/** Certificates of one mailbox that are judged: each costs a search for paths. */
const MAX_CANDIDATES = 8;

const names = ({ addresses }: Certificate, mailbox: Mailbox): boolean => addresses.includes(mailboxKey(mailbox));

/** Those that the signer vouches for first, then the others in the order of the mail; only those that name the mailbox. */
function candidates(vouched: readonly Certificate[], others: readonly Certificate[], from: Mailbox): readonly Certificate[] {
  const all = [...vouched, ...others].filter((one) => names(one, from));
  return [...new Map(all.map((one) => [one.fingerprint, one])).values()].slice(0, MAX_CANDIDATES);
}

const isNamedBy = (certificate: Certificate, name: KeyName): boolean =>
  'subjectKeyId' in name
    ? certificate.subjectKeyId === name.subjectKeyId
    : certificate.issuerDer.equals(name.issuerDer) && certificate.serialDer.equals(name.serialDer);

/** RFC 8550 §4.4.2, §4.4.4: absent allows all. */
function signerFault(certificate: Certificate, now: number): string | undefined {
  const { keyUsage, extendedKeyUsage } = certificate;
  if (keyUsage !== undefined && !keyUsage.includes('digitalSignature') && !keyUsage.includes('nonRepudiation'))
    return 'it is not for signing (its key usage lacks digitalSignature)';
  if (extendedKeyUsage !== undefined && !extendedKeyUsage.includes(emailProtection) && !extendedKeyUsage.includes(anyExtendedKeyUsage))
    return 'it is not for mail (its extended key usage lacks emailProtection)';
  return validityFault(certificate, now);
}
