/** `certs lookup`: every source asked, every candidate with its verdict, and what mail would be sealed to. */
import type { DomainCertificate, Resolution } from '../../certificates/address-book.ts';
import { SealpostError } from '../../errors.ts';
import { parseMailbox } from '../../message/envelope.ts';
import type { Terminal } from '../terminal.ts';
import { accountOf, certificateLines, printable, printableJson, unavailableText, withConfirmed } from './account.ts';
import type { CertificatePaths } from './paths.ts';
import { withSite } from './site.ts';
import { readTried } from './tried.ts';

export interface LookupOptions {
  readonly domain: DomainCertificate;
  readonly json?: boolean;
}

/** Throws `nothing-usable` or `lookup-unavailable` once all is told. */
export async function lookup(address: string, paths: CertificatePaths, terminal: Terminal, { domain, json }: LookupOptions): Promise<void> {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault') {
    const hint = 'sealpost certs lookup anna@clinic.example';
    throw new SealpostError('usage', { detail: `${JSON.stringify(address)}: ${verdict.fault}`, hint });
  }
  const resolution = await withSite(paths, terminal, ({ addressBook }) => addressBook.resolve(verdict.mailbox, { domain, thorough: true }));
  const account = withConfirmed(accountOf(resolution), readTried(paths, terminal).confirmed);
  if (json === true) terminal.stdout.write(printableJson({ address: verdict.mailbox.address, ...account }));
  else terminal.stdout.write(printable([verdict.mailbox.address, ...certificateLines(account).map((line) => `  ${line}`), ''].join('\n')));
  assertFound(resolution, verdict.mailbox.address);
}

function assertFound(resolution: Resolution, address: string): void {
  if (resolution.kind === 'found') return;
  if (resolution.kind === 'unavailable') {
    const { source, cause } = resolution;
    const hint = source === 'pin' ? 'sealpost certs pending' : 'the reason stands above';
    throw new SealpostError('lookup-unavailable', { detail: unavailableText(source), hint, cause });
  }
  throw new SealpostError('nothing-usable', { detail: address, hint: 'sealpost certs add FILE, or sealpost certs issue ADDRESS' });
}
