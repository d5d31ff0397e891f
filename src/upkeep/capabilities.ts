/**
 * What readers said in signed mail that they can open (SMIMECapabilities, RFC 8551 §2.5.2), by the fingerprint of the certificate that was
 * taken from it. It stands in place of the certificate's own extension, which few CAs write (§2.7.1). All of it is in memory: some OIDs for
 * each harvested certificate.
 */
import type { Logger } from 'pino';
import type { Certificate } from '../certificates/certificate.ts';
import type { QueueStore } from '../queue/queue.ts';
import type { RecordChange } from '../queue/records.ts';

export const KIND = 'capabilities';

export interface Capabilities {
  /** The certificate's own where its holder has said nothing. */
  of(certificate: Pick<Certificate, 'fingerprint' | 'capabilities'>): readonly string[];
  set(fingerprint: string, capabilities: readonly string[]): void;
}

/** Where they cannot be read, the certificate's own stand, with which every mail can be sealed: no reason to take none (P10). */
export async function loadCapabilities({ records }: Pick<QueueStore, 'records'>, log: Logger): Promise<Capabilities> {
  const known = new Map<string, readonly string[]>();
  try {
    for (const { key, value } of await records.list(KIND)) if (OIDS.test(value)) known.set(key, value.split(' '));
  } catch (error) {
    log.warn({ err: error }, 'what readers said that they can open is not known: the records cannot be read');
  }
  return {
    of: ({ fingerprint, capabilities }) => known.get(fingerprint) ?? capabilities,
    set: (fingerprint, capabilities) => {
      if (capabilities.length > 0) known.set(fingerprint, capabilities);
    },
  };
}

const OIDS = /^[0-9.]+(?: [0-9.]+)*$/;

/** To be written with what makes the certificate one of the site's. */
export const capabilityChange = ({
  certificate,
  capabilities,
}: {
  readonly certificate: Pick<Certificate, 'fingerprint'>;
  readonly capabilities: readonly string[];
}): readonly RecordChange[] =>
  capabilities.length === 0 ? [] : [{ kind: KIND, key: certificate.fingerprint, value: capabilities.join(' ') }];
