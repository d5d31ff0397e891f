/** A certificate that waits for approval, as the queue's records keep it. What is read back is looked at with distrust: disks change. */
import { z } from 'zod';
import { type Certificate, parseCertificate } from '../certificates/certificate.ts';
import { SealpostError } from '../errors.ts';
import type { StoredRecord } from '../queue/records.ts';

export const KIND = 'harvested';

export interface HarvestedRecord {
  /** mailboxKey() of the From that brought it; the certificate names it. */
  readonly address: string;
  readonly certificate: Certificate;
  /** Of its path to an anchor, those that the site lacked. */
  readonly intermediates: readonly Certificate[];
  /** OIDs that its signer listed; empty where there were none. */
  readonly capabilities: readonly string[];
  /** For people: `192.0.2.7`, `a file`. */
  readonly from: string;
  /** Who brought it; null where it came by mail. */
  readonly by: string | null;
  /** Ms since the epoch: since when it waits. */
  readonly at: number;
}

const form = z.object({
  address: z.string(),
  certificate: z.string(),
  intermediates: z.array(z.string()),
  capabilities: z.array(z.string()),
  from: z.string(),
  by: z.string().nullable(),
});

export const base64Of = ({ der }: Certificate): string => der.toString('base64');

export function writeRecord({ address, certificate, intermediates, capabilities, from, by }: Omit<HarvestedRecord, 'at'>): string {
  return JSON.stringify({
    address,
    certificate: base64Of(certificate),
    intermediates: intermediates.map(base64Of),
    capabilities,
    from,
    by,
  });
}

/** Undefined where it is none any more, or of another certificate than its key says. */
export function readRecord({ key, value, at }: StoredRecord): HarvestedRecord | undefined {
  try {
    const read = form.parse(JSON.parse(value));
    const [certificate, ...intermediates] = [read.certificate, ...read.intermediates].map((text) =>
      parseCertificate(Buffer.from(text, 'base64')),
    );
    if (certificate?.fingerprint !== key || !certificate.addresses.includes(read.address)) return undefined;
    return { ...read, certificate, intermediates, at };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError || error instanceof SealpostError) return undefined;
    throw error;
  }
}
