/** What an upstream's configuration says of TLS and login, made into what connect.ts asks for. */
import { SealpostError } from '../errors.ts';
import type { Login } from './auth.ts';
import type { Protection } from './connect.ts';
import { makeContexts, type TlsMaterial, type TlsMode } from './tls.ts';

/** What is read from files and the environment. */
export interface UpstreamSecrets extends TlsMaterial {
  readonly login?: Login | undefined;
}

export interface ProtectionOptions {
  /** `off` where it is not said, which serves loopback alone. */
  readonly tls?: TlsMode | undefined;
  readonly verify?: boolean | undefined;
  /** Read anew for each connection. */
  readonly secrets?: (() => Promise<UpstreamSecrets>) | undefined;
}

export function makeProtection({ tls = 'off', verify = true, secrets = async () => ({}) }: ProtectionOptions): Protection {
  const contextFor = makeContexts();
  return {
    tls,
    verify,
    async read() {
      try {
        const { login, ...material } = await secrets();
        return { context: contextFor(material), login };
      } catch (cause) {
        // Counted as the host's, since another upstream may do without: nothing is wrong with the message.
        const detail = cause instanceof SealpostError ? cause.detail : 'certificate and key are no PEM, or do not belong together';
        throw new SealpostError('upstream-secret-unreadable', { cause, ...(detail === undefined ? {} : { detail }) });
      }
    },
  };
}
