/**
 * How many sessions there may be, in all and from one address. Where all seats are taken, the newcomer gets that of the session
 * that has been without progress for longest: five hundred clients that hold their seats and do nothing must not keep the one
 * out that would be done in a moment (A29). Nobody loses a seat who is at work, or whose message comes at its pace.
 */
import type { Socket } from 'node:net';
import { SealpostError } from '../errors.ts';

/** A session as the caps see it. */
export interface Seat {
  /** Its client's address, as `clientKey` has it. */
  readonly from: string;
  /** May send mail: listed, or logged in. */
  readonly admitted: boolean;
  /** Milliseconds without progress by its own fault. */
  stalled(now: number): number;
  /** Closes it for another. */
  makeRoom(): void;
}

export interface Caps {
  readonly connections: number;
  /** As above where it is not given. */
  readonly connectionsPerAddress?: number;
}

type Room<S extends Seat> =
  | { readonly kind: 'free' }
  /** This one has to go first. */
  | { readonly kind: 'instead-of'; readonly seat: S }
  | { readonly kind: 'full' }
  | { readonly kind: 'address-full' };

/** A few turns of the event loop, a round trip: who has been still for less is not idle. */
const STILL_MS = 100;

/**
 * Lets `newcomer`, which is among `seats` already, stay, or answers why it cannot. `crowded` is called where no seat was free.
 */
export function takeSeat<S extends Seat>(
  seats: ReadonlySet<S>,
  newcomer: S,
  caps: Caps,
  now: number,
  crowded: () => void,
): SealpostError | undefined {
  const room = findRoom(seats, newcomer, caps, now);
  if (room.kind !== 'free') crowded();
  switch (room.kind) {
    case 'free':
      return undefined;
    case 'instead-of':
      room.seat.makeRoom();
      return undefined;
    case 'full':
      return new SealpostError('too-many-connections');
    case 'address-full':
      return new SealpostError('too-many-from-address');
  }
}

/** What is said to hundreds a second under attack: `crowded` tells of them, in a line a minute. */
export const saysFull = ({ code }: SealpostError): boolean =>
  code === 'made-room' || code === 'too-many-connections' || code === 'too-many-from-address';

function findRoom<S extends Seat>(seats: ReadonlySet<S>, newcomer: S, caps: Caps, now: number): Room<S> {
  const neighbours = [...seats].filter((seat) => seat.from === newcomer.from);
  if (neighbours.length > (caps.connectionsPerAddress ?? caps.connections)) {
    const seat = longestStill(neighbours, newcomer, now);
    return seat === undefined ? { kind: 'address-full' } : { kind: 'instead-of', seat };
  }
  if (seats.size <= caps.connections) return { kind: 'free' };
  const seat = longestStill(seats, newcomer, now);
  return seat === undefined ? { kind: 'full' } : { kind: 'instead-of', seat };
}

/** Strangers go before clients that may send, and only a client that may send can take the seat of such a one. */
function longestStill<S extends Seat>(seats: Iterable<S>, newcomer: S, now: number): S | undefined {
  let found: { readonly seat: S; readonly stalled: number } | undefined;
  for (const seat of seats) {
    if (seat === newcomer || (seat.admitted && !newcomer.admitted)) continue;
    const stalled = seat.stalled(now);
    const least = newcomer.admitted && !seat.admitted ? 0 : STILL_MS;
    if (stalled < least) continue;
    if (found === undefined || (found.seat.admitted && !seat.admitted)) found = { seat, stalled };
    else if (found.seat.admitted === seat.admitted && stalled > found.stalled) found = { seat, stalled };
  }
  return found?.seat;
}

/** How many sockets may wait for their client to close. */
export const LINGERING_SOCKETS = 64;

/**
 * Sockets that were told 421 and wait for their client to close: a polite end, but a client that never closes would hold the
 * socket for seconds, and enough of them every socket there may be. Beyond LINGERING_SOCKETS the one that waits longest is destroyed.
 */
export class Lingering {
  readonly #sockets = new Set<Socket>();

  add(socket: Socket): void {
    if (socket.destroyed || this.#sockets.has(socket)) return;
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    for (const oldest of this.#sockets) {
      if (this.#sockets.size <= LINGERING_SOCKETS) break;
      this.#sockets.delete(oldest);
      oldest.destroy();
    }
  }
}
