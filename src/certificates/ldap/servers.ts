/**
 * The servers of one directory, which all hold the same. They are asked in the order of the configuration, the next one where the one
 * before failed.
 *
 * A login that is refused is another matter: the servers share their accounts, and Active Directory locks one after some wrong
 * passwords. So it is not tried elsewhere, and logins.ts says when again.
 */
import type { SecureContext } from 'node:tls';
import type { SealpostError } from '../../errors.ts';
import { type Found, openConnection } from './connection.ts';
import { asUnavailable, unavailable } from './fault.ts';
import { type Login, loginOf, makeLogins } from './logins.ts';
import type { Search } from './message.ts';
import { makeServer, type Reach } from './server.ts';
import { makeContext, type ServerAddress } from './socket.ts';
import { makeTurns } from './turns.ts';

export interface ServersOptions {
  /** One at least, in the order they are asked. */
  readonly addresses: readonly ServerAddress[];
  /** The distinguished name to log in as; undefined asks anonymously. */
  readonly dn: string | undefined;
  /** Read for each new connection. May throw. */
  readonly secrets: () => Promise<LdapSecrets>;
  /** ms, of the clock of the machine. */
  readonly now: () => number;
  /** ms for one look-up; connecting to a server and waiting for its answer take a part of it, so that a second one has its turn. */
  readonly patience: number;
}

/** What the configuration names in files and the environment. */
export interface LdapSecrets {
  /** PEM text. */
  readonly ca: string | undefined;
  readonly password: string | undefined;
}

export interface Servers {
  /** Throws `lookup-unavailable`. */
  search(search: Search, signal: AbortSignal): Promise<Found>;
  /** Fails what is under way. */
  close(): void;
}

/** ms; the most, where a look-up has more. */
const CONNECT_MS = 3000;
/** Searches at a time for one directory; more wait for their turn. */
const MAX_UNDER_WAY = 16;

/** ms to wait for the answer to a search, of a look-up that has `patience`: two servers may be slow to connect, and one to answer. */
export const answerPatience = (patience: number): number => Math.round(patience * 0.4);

/** And to connect to one, with TLS and login. */
export const connectPatience = (patience: number): number => Math.min(CONNECT_MS, Math.round(patience * 0.3));

export function makeServers({ addresses, dn, secrets, now, patience }: ServersOptions): Servers {
  const timeouts = { connect: connectPatience(patience), answer: answerPatience(patience) };
  const ending = new AbortController();
  const turn = makeTurns(MAX_UNDER_WAY);
  const logins = makeLogins(now);
  const contextFor = makeContexts();

  const reach = async (address: ServerAddress): Promise<Reach> => {
    let given: { readonly login: Login | undefined; readonly context: SecureContext | undefined };
    try {
      const { ca, password } = await secrets();
      given = { login: dn === undefined ? undefined : loginOf(dn, password), context: address.tls === 'off' ? undefined : contextFor(ca) };
    } catch (fault) {
      return { kind: 'final', fault: asUnavailable(fault, 'ca or password of the directory cannot be used') };
    }
    const paused = logins.refusal(given.login);
    if (paused !== undefined) return { kind: 'final', fault: paused };
    const opening = await openConnection({ address, ...given, timeouts }, ending.signal);
    if (opening.kind === 'refused') return { kind: 'final', fault: logins.refused(given.login, opening.result) };
    logins.taken();
    return opening;
  };
  const servers = addresses.map((address) => makeServer({ address, reach, now }));

  return {
    search: (search, signal) =>
      turn(signal, async () => {
        const faults: SealpostError[] = [];
        for (const server of servers) {
          const outcome = await server.search(search, signal);
          if (outcome.kind === 'found') return outcome.found;
          if (outcome.kind === 'final') throw outcome.fault;
          faults.push(outcome.fault);
        }
        throw together(faults);
      }),
    close: () => {
      for (const server of servers) server.close();
      ending.abort(unavailable('the relay is stopping'));
    },
  };
}

/** CAs of the operator cost 20 ms, and a renewed file must count without a restart. */
function makeContexts(): (ca: string | undefined) => SecureContext {
  let made: { readonly ca: string | undefined; readonly context: SecureContext } | undefined;
  return (ca) => {
    if (made === undefined || made.ca !== ca) made = { ca, context: makeContext(ca) };
    return made.context;
  };
}

function together(faults: readonly SealpostError[]): SealpostError {
  const [first] = faults;
  if (first === undefined || faults.length === 1) return first ?? unavailable('no server of the directory answers');
  return unavailable(faults.map(({ detail }) => detail ?? '').join('; '), { hint: first.hint, cause: first.cause });
}
