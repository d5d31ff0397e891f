/**
 * The servers of one directory, which all hold the same. They are asked in the order of the configuration; one that failed rests for
 * some seconds, in which the next ones are asked at once. The connection to a server is kept while it is used, and carries several
 * searches at a time. One that broke while nobody looked, since servers and firewalls close what is idle, is made anew once, before
 * its server counts as failed.
 *
 * A login that is refused is another matter: the servers share their accounts, and Active Directory locks one after some wrong
 * passwords. So it is not tried elsewhere, and again only after a pause that grows, or as soon as the password is another one.
 */
import type { SecureContext } from 'node:tls';
import type { SealpostError } from '../../errors.ts';
import { unlessAborted } from '../time-box.ts';
import { type Connection, type Found, openConnection } from './connection.ts';
import { asUnavailable, unavailable } from './fault.ts';
import { type Login, loginOf, makeLogins } from './logins.ts';
import type { Search } from './message.ts';
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
/** ms that a server rests after it failed. */
const REST_MS = 3000;
/** Searches at a time for one directory; more wait for their turn. */
const MAX_UNDER_WAY = 16;

/** ms to wait for the answer to a search, of a look-up that has `patience`: two servers may be slow to connect, and one to answer. */
export const answerPatience = (patience: number): number => patience * 0.4;

/** `final`: another server would fare no better. */
type Reach = { readonly kind: 'open'; readonly connection: Connection } | { readonly kind: 'final'; readonly fault: SealpostError };
type Outcome = { readonly kind: 'found'; readonly found: Found } | { readonly kind: 'final'; readonly fault: SealpostError };

interface Server {
  readonly address: ServerAddress;
  connection?: Connection;
  reaching?: Promise<Reach> | undefined;
  /** ms */
  restsUntil: number;
  fault?: SealpostError;
}

export function makeServers({ addresses, dn, secrets, now, patience }: ServersOptions): Servers {
  const servers: Server[] = addresses.map((address) => ({ address, restsUntil: 0 }));
  const timeouts = { connect: Math.min(CONNECT_MS, patience * 0.3), answer: answerPatience(patience) };
  const ending = new AbortController();
  const turn = makeTurns(MAX_UNDER_WAY);
  const logins = makeLogins(now);
  const contextFor = makeContexts();

  const reach = async ({ address }: Server): Promise<Reach> => {
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
    if (opening.kind === 'refused') return { kind: 'final', fault: logins.refused(given.login, opening.code) };
    logins.taken();
    return opening;
  };
  const connectionTo = async (server: Server): Promise<Reach> => {
    if (server.connection?.state() === 'open') return { kind: 'open', connection: server.connection };
    // Many searches wait for one connection; none of them can end it for the others.
    server.reaching ??= reach(server).finally(() => {
      server.reaching = undefined;
    });
    const reached = await server.reaching;
    if (reached.kind === 'final') return reached;
    server.connection = reached.connection;
    if (ending.signal.aborted) reached.connection.close();
    return reached;
  };
  const ask = async (server: Server, search: Search, signal: AbortSignal): Promise<Outcome> => {
    const kept = server.connection;
    if (kept?.state() === 'open') {
      try {
        return { kind: 'found', found: await kept.search(search, signal) };
      } catch (fault) {
        if (kept.state() !== 'closed' || signal.aborted || ending.signal.aborted) throw fault;
      }
    }
    const reached = await unlessAborted(signal, () => connectionTo(server));
    return reached.kind === 'final' ? reached : { kind: 'found', found: await reached.connection.search(search, signal) };
  };
  /** Undefined where the server failed, and now rests. */
  const tryOne = async (server: Server, search: Search, signal: AbortSignal): Promise<Outcome | undefined> => {
    const rest = server.restsUntil - now();
    // More than a whole rest is a clock that was set back.
    if (rest > 0 && rest <= REST_MS) return undefined;
    try {
      return await ask(server, search, signal);
    } catch (fault) {
      const failure = named(server.address, fault);
      // That the caller has no more time says nothing about the server.
      if (signal.aborted || ending.signal.aborted) throw failure;
      server.fault = failure;
      server.restsUntil = now() + REST_MS;
      return undefined;
    }
  };

  return {
    search: (search, signal) =>
      turn(signal, async () => {
        for (const server of servers) {
          const outcome = await tryOne(server, search, signal);
          if (outcome?.kind === 'final') throw outcome.fault;
          if (outcome?.kind === 'found') return outcome.found;
        }
        throw together(servers.flatMap(({ fault }) => fault ?? []));
      }),
    close: () => {
      ending.abort(unavailable('the relay is stopping'));
      for (const { connection } of servers) connection?.close();
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

const named = ({ host, port }: ServerAddress, fault: unknown): SealpostError => {
  const cause = asUnavailable(fault, 'no answer');
  return unavailable(`${host}:${port}: ${cause.detail ?? ''}`, { hint: cause.hint, cause: cause.cause });
};
