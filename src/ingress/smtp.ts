/** SMTP in: sessions become an envelope and a stream of octets for Reception; what it throws becomes the reply. */
import { performance } from 'node:perf_hooks';
import type { Logger } from 'pino';
import { Lingering } from './caps.ts';
import type { Timeouts } from './deadlines.ts';
import type { Rate } from '../document/rate.ts';
import type { Terms } from './identity.ts';
import { InFlight } from './in-flight.ts';
import { Listener, type Address } from './listener.ts';
import { parseNetworks } from '../message/networks.ts';
import { makePenalties, type Penalties } from './penalty.ts';
import { makeRates } from './rates.ts';
import type { Reception } from './reception.ts';
import type { IngressLimits, OpenSession, Shared } from './shared.ts';
import type { Users } from './users/users.ts';

/** Where to listen, and how; plain, with AUTH for those who may, where nothing else is said. */
export type ListenerOptions = Address & Partial<Terms>;

export interface IngressOptions {
  /** The relay's own name: in the greeting, and the domain of a bare `postmaster`. */
  readonly hostname: string;
  readonly listen: readonly ListenerOptions[];
  /** Who may send without logging in: addresses and CIDR networks. Everybody else gets 550 5.7.1 at MAIL. */
  readonly networks: readonly string[];
  /** Who speaks for others: by the PROXY protocol, and by XCLIENT. Nobody where it is left out. */
  readonly proxies?: readonly string[];
  readonly xclients?: readonly string[];
  /** Messages of one client address; no bound where it is left out. */
  readonly clientRate?: Rate | undefined;
  /** Who may log in; nobody where it is left out. Closed by whoever opened it. */
  readonly users?: Users | undefined;
  readonly limits: IngressLimits;
  /** None where they are not given. */
  readonly timeouts?: Timeouts;
  readonly reception: Reception;
  /** How failed logins are slowed; the usual way where it is not given. */
  readonly penalties?: Penalties;
  readonly log: Logger;
  /** Milliseconds. */
  readonly now: () => number;
}

/** For one start and one stop. */
export interface Ingress {
  /** Those that are open now. */
  readonly sessions: ReadonlySet<OpenSession>;
  /** Of messages between 354 and their verdict, now. */
  octetsInFlight(): number;
  /** Opens every listener, or none: throws `listen-failed` with the address. Resolves with the real ports, in order. */
  start(): Promise<readonly Address[]>;
  /**
   * Stops listening; idle sessions get 421 4.3.2, messages under way have `graceMs` to be taken. Then sockets are destroyed,
   * and their messages end as `message-incomplete`.
   */
  stop(graceMs: number): Promise<void>;
}

/** After the grace: how long stop() waits for receptions to notice that their client is gone. */
const SETTLE_MS = 1000;

const NO_TIMEOUTS: Timeouts = { command: Infinity, message: Infinity, session: Infinity };
/** How exactly deadlines are held, in milliseconds, where the shortest is not shorter than four of it. */
const TICK_MS = 1000;

/** Throws `config-invalid` for a bad network. */
export function makeIngress(options: IngressOptions): Ingress {
  const { hostname, limits, timeouts = NO_TIMEOUTS, reception, log, now } = options;
  const shared: Shared = {
    hostname,
    networks: parseNetworks(options.networks),
    proxies: parseNetworks(options.proxies ?? [], 'clients.proxy'),
    xclients: parseNetworks(options.xclients ?? [], 'clients.xclient'),
    rates: makeRates(options.clientRate ?? null, now),
    limits,
    timeouts,
    inFlight: new InFlight(limits.inFlightBytes ?? Infinity),
    reception,
    users: options.users,
    penalties: options.penalties ?? makePenalties(),
    log,
    now,
    elapsed: () => performance.now(),
    sockets: new Set(),
    lingering: new Lingering(),
    crowded: seldom(() =>
      log.warn({ sessions: shared.sessions.size }, 'all seats are taken: clients are turned away, or closed for others'),
    ),
    sessions: new Set(),
    receptions: new Set(),
    stopping: false,
  };
  const listeners: Listener[] = [];
  let ticker: NodeJS.Timeout | undefined;
  const tick = (): void => {
    const elapsed = shared.elapsed();
    for (const session of shared.sessions) session.hurry(elapsed);
  };

  const start = async (): Promise<readonly Address[]> => {
    const bound: Address[] = [];
    ticker = setInterval(tick, Math.min(TICK_MS, Math.ceil(Math.min(...Object.values(timeouts)) / 4)));
    try {
      for (const { host, port, tls, auth = 'optional' } of options.listen) {
        const listener = new Listener(shared, { tls, auth });
        listeners.push(listener);
        bound.push(await listener.open({ host, port }));
      }
    } catch (error) {
      await stop(0);
      throw error;
    }
    for (const address of bound) log.info({ ...address }, 'listening');
    return bound;
  };

  const stop = async (graceMs: number): Promise<void> => {
    shared.stopping = true;
    const shut = Promise.all(listeners.map((listener) => listener.shut()));
    for (const session of shared.sessions) if (!session.receiving) session.dismiss();
    await within(shut, graceMs);
    clearInterval(ticker);
    for (const socket of shared.sockets) socket.destroy();
    await shut;
    await within(Promise.all(shared.receptions), SETTLE_MS);
  };

  return { sessions: shared.sessions, octetsInFlight: () => shared.inFlight.held, start, stop };
}

/** `tell`, at most once a minute. */
function seldom(tell: () => void): () => void {
  let next = -Infinity;
  return () => {
    if (performance.now() < next) return;
    next = performance.now() + 60_000;
    tell();
  };
}

/** Waits for `work`, but no longer than `ms`. */
async function within(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}
