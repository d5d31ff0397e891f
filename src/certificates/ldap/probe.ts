/**
 * Whether the servers of a directory would answer a look-up: reached, believed, logged in to, and asked for the base. For people who
 * set one up; the relay finds out by itself. Nobody's address is asked for.
 */
import type { SecureContext } from 'node:tls';
import type { SealpostError } from '../../errors.ts';
import { openConnection } from './connection.ts';
import { asUnavailable } from './fault.ts';
import { assertWhole } from './found.ts';
import { type Login, loginOf, makeLogins } from './logins.ts';
import { addressesOf, type LdapPlaces } from './source.ts';
import { answerPatience, connectPatience, type LdapSecrets } from './servers.ts';
import { makeContext, type ServerAddress } from './socket.ts';

export interface ProbeOptions {
  readonly secrets: () => Promise<LdapSecrets>;
  /** ms for one look-up: each server has the part of it that it has there. */
  readonly patience: number;
}

/** What a look-up would hear of one server. `refused`: the login. */
export interface ProbeFault {
  readonly kind: 'failed' | 'refused';
  readonly server: ServerAddress;
  readonly fault: SealpostError;
}

/**
 * The faults in the order of the servers. Without a login they are asked side by side. With one they come one after the other, and
 * none after the first that refuses: they share their accounts, and a wrong password at each of them may lock this one. Throws
 * `lookup-unavailable` and what `secrets` throws where ca or password cannot be used, which is no server's fault.
 */
export async function probeServers(places: LdapPlaces, { secrets, patience }: ProbeOptions): Promise<ProbeFault[]> {
  const { ca, password } = await secrets();
  const login = places.bind === undefined ? undefined : loginOf(places.bind.dn, password);
  const servers = addressesOf(places);
  const context = servers.every(({ tls }) => tls === 'off') ? undefined : makeContext(ca);
  const ask = (server: ServerAddress): Promise<ProbeFault | undefined> => probe(server, { places, login, context, patience });
  if (login === undefined) return (await Promise.all(servers.map(ask))).filter((fault) => fault !== undefined);
  const faults: ProbeFault[] = [];
  for (const server of servers) {
    const fault = await ask(server);
    if (fault !== undefined) faults.push(fault);
    if (fault?.kind === 'refused') break;
  }
  return faults;
}

interface Probe {
  readonly places: LdapPlaces;
  readonly login: Login | undefined;
  readonly context: SecureContext | undefined;
  readonly patience: number;
}

async function probe(server: ServerAddress, { places, login, context, patience }: Probe): Promise<ProbeFault | undefined> {
  const timeouts = { connect: connectPatience(patience), answer: answerPatience(patience) };
  const ending = new AbortController();
  try {
    const opening = await openConnection({ address: server, context, login, timeouts }, ending.signal);
    if (opening.kind === 'refused') return { kind: 'refused', server, fault: makeLogins(Date.now).refused(login, opening.result) };
    try {
      // The base alone, by the filter of a look-up, since access rules may hang on its attributes; it fits nobody.
      const anyOf = places.mailAttributes.map((attribute) => ({ attribute, value: 'nobody@sealpost.invalid' }));
      const search = { base: places.base, scope: 'base', anyOf, attributes: ['1.1'], sizeLimit: 1, timeLimit: 1 } as const;
      assertWhole(await opening.connection.search(search, ending.signal), places.base);
    } finally {
      opening.connection.close();
    }
    return undefined;
  } catch (thrown) {
    return { kind: 'failed', server, fault: asUnavailable(thrown, 'no answer in time') };
  }
}
