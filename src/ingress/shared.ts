/** What the sessions of one ingress share, and the bounds that they keep. */
import type { BlockList, Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Lingering, Seat } from './caps.ts';
import type { Timeouts } from './deadlines.ts';
import type { InFlight } from './in-flight.ts';
import type { Penalties } from './penalty.ts';
import type { Rates } from './rates.ts';
import type { Reception } from './reception.ts';
import type { Users } from './users/users.ts';

export interface IngressLimits {
  /** Octets of one message as it is sent, dots unstuffed. */
  readonly messageBytes: number;
  /** Accepted recipients of one transaction. */
  readonly recipients: number;
  /** Sessions at once, over all listeners. */
  readonly connections: number;
  /** Sessions at once from one address; as above where it is not given. */
  readonly connectionsPerAddress?: number;
  /** Octets of all messages between 354 and their verdict; no limit where it is not given. */
  readonly inFlightBytes?: number;
  /** Octets a second that a message must come at; no floor where it is not given. */
  readonly dataRate?: number;
  /** Refusals in one session since its last message; no limit where it is not given. */
  readonly refusals?: number;
  /** Milliseconds for a TLS handshake; a quarter of a minute where it is not given. */
  readonly handshakeMs?: number;
}

/** A session as those see it who look after all of them. */
export interface OpenSession extends Seat {
  /** True between 354 and the reply to the message. */
  readonly receiving: boolean;
  /** Looks at the clock, and closes where the client took too long. */
  hurry(elapsed: number): void;
  /** Says that the relay is stopping, and closes. */
  dismiss(): void;
}

export interface Shared {
  readonly hostname: string;
  readonly networks: BlockList;
  /** Who speaks for others, by the PROXY protocol and by XCLIENT. */
  readonly proxies: BlockList;
  readonly xclients: BlockList;
  readonly rates: Rates;
  readonly limits: IngressLimits;
  readonly timeouts: Timeouts;
  readonly inFlight: InFlight;
  readonly reception: Reception;
  readonly users: Users | undefined;
  readonly penalties: Penalties;
  readonly log: Logger;
  readonly now: () => number;
  /** Milliseconds of a clock that never jumps. */
  readonly elapsed: () => number;
  /** Open sockets, those that are only waiting for their client to close among them. */
  readonly sockets: Set<Socket>;
  /** Those of them that only wait for their client to close. */
  readonly lingering: Lingering;
  /** Called whenever a newcomer finds no free seat. */
  readonly crowded: () => void;
  /** Sessions that may still say something. */
  readonly sessions: Set<OpenSession>;
  /** Messages between 354 and their reply. */
  readonly receptions: Set<Promise<void>>;
  stopping: boolean;
}
