/** Harvested certificates over the control socket, or in a command that holds the lock: `certs-harvested`, `certs-approve`, `certs-reject`, `certs-unharvested`. */
import { knownHandlers, readKnownFilter, unapproved } from '../change-control.ts';
import { type ControlHandlers, type ControlRequest, readText } from '../control.ts';
import { SealpostError } from '../errors.ts';
import type { QueueStore } from '../queue/queue.ts';
import type { HarvestedRecord } from './harvested-record.ts';
import { certificatesOf, type Harvested, type NewHarvest } from './harvested.ts';

export function harvestHandlers({ known }: Pick<QueueStore, 'known'>, harvested: Harvested): ControlHandlers {
  return {
    'certs-harvested': async (request) => harvested.keep(readHarvest(request)),
    /** One command for both kinds that wait: changed certificates of a source, and harvested ones. */
    'certs-approve': async (request) => {
      const filter = readKnownFilter(request);
      const [one, ...others] = await harvested.find(filter);
      if (one === undefined) return knownHandlers(known)['certs-approve']?.(request);
      const { fingerprint } = one.certificate;
      const changed = (await known.of(filter.address)).filter(
        (row) => row.state === 'waiting' && row.fingerprint !== fingerprint && row.fingerprint.startsWith(filter.fingerprint ?? ''),
      );
      if (others.length + changed.length > 0) throw new SealpostError('usage', unapproved.several);
      const { addresses } = one.certificate;
      // Who approves for one address shall have seen whose mail it will be used for besides.
      if (addresses.length > 1 && request['all_addresses'] !== true) throw new SealpostError('usage', alsoFor(one));
      await harvested.approve(one, readText(request, 'operator') ?? 'unknown');
      return { fingerprint, addresses };
    },
    /** Certificates that an operator took away: no mail brings them back by rule. */
    'certs-unharvested': async (request) => {
      const certificates = certificatesOf(readTexts(request, 'certificates'));
      await harvested.remember(certificates);
      return certificates.length;
    },
    'certs-reject': async (request) => harvested.reject(readKnownFilter(request), readText(request, 'operator') ?? 'unknown'),
  };
}

const alsoFor = ({ address, certificate }: HarvestedRecord): { readonly detail: string; readonly hint: string } => ({
  detail: `it would be used for all addresses that it names: ${certificate.addresses.join(', ')}`,
  hint: `sealpost certs approve ${address} ${certificate.fingerprint.slice(0, 16)} --all-addresses`,
});

function readHarvest(request: ControlRequest): NewHarvest {
  const { address } = readKnownFilter(request);
  const [certificate, ...intermediates] = certificatesOf([readText(request, 'certificate') ?? '', ...readTexts(request, 'intermediates')]);
  if (certificate?.addresses.includes(address) !== true)
    throw new SealpostError('usage', { detail: 'a certificate that does not name its address' });
  return {
    address,
    certificate,
    intermediates,
    capabilities: readTexts(request, 'capabilities'),
    issuers: readTexts(request, 'issuers'),
    known: request['known'] === true,
    from: 'a file',
    by: readText(request, 'operator') ?? 'unknown',
  };
}

function readTexts(request: ControlRequest, name: string): readonly string[] {
  const value = request[name];
  if (!Array.isArray(value)) throw new SealpostError('usage', { detail: `${name} is no list` });
  return value.map((one: unknown) => {
    if (typeof one !== 'string') throw new SealpostError('usage', { detail: `${name} is not text` });
    return one;
  });
}
