/** What stands in one SMIMEA record (RFC 8162 §2, in the form of RFC 6698 §2.1). */
import { SealpostError } from '../../errors.ts';
import { type Certificate, parseCertificate } from '../certificate.ts';

/**
 * `vouched`: usage 3, DANE-EE: whoever owns the domain says so, whatever the CA. Usage 1, PKIX-EE, says that the certificate has to
 * chain to an anchor as well. Both hold a certificate; the others tell something about one that we do not have.
 */
export type RecordVerdict =
  | { readonly kind: 'certificate'; readonly certificate: Certificate; readonly vouched: boolean }
  | { readonly kind: 'passed over'; readonly reason: string };

/** RFC 7218 §2. */
const usages = { pkixEe: 1, daneEe: 3 } as const;
const FULL_CERTIFICATE = 0;
const AS_IT_IS = 0;

/** Usage, selector, matching type, an octet each; what they speak of is behind them. Never throws. */
export function readSmimea(data: Buffer): RecordVerdict {
  const [usage, selector, matching] = data;
  if (usage === undefined || selector === undefined || matching === undefined) return passedOver('it is cut off');
  if (usage !== usages.pkixEe && usage !== usages.daneEe)
    return passedOver(
      usage === 0 || usage === 2 ? `it names a CA and no reader's certificate (usage ${usage})` : `its usage ${usage} is not known`,
    );
  if (matching !== AS_IT_IS) return passedOver(`it holds a hash and no certificate (matching type ${matching})`);
  if (selector !== FULL_CERTIFICATE) return passedOver(`it holds a public key and no certificate (selector ${selector})`);
  try {
    return { kind: 'certificate', certificate: parseCertificate(data.subarray(3)), vouched: usage === usages.daneEe };
  } catch (error) {
    if (!(error instanceof SealpostError) || error.code !== 'certificate-malformed') throw error;
    return passedOver(error.message);
  }
}

const passedOver = (reason: string): RecordVerdict => ({ kind: 'passed over', reason });
