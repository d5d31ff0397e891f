/**
 * One server of a directory. Its connection is kept while it is used, and carries several searches at a time. One that broke while
 * nobody looked, since servers and firewalls close what is idle, is made anew once, before the server counts as failed. So is one that
 * ended because of what others searched for, as often as it takes within reason. A server that failed rests for some seconds, in
 * which nobody waits for it; an answer that is too long is no failure of it.
 */
import type { SealpostError } from '../../errors.ts';
import { unlessAborted } from '../time-box.ts';
import type { Connection, Found } from './connection.ts';
import { AnswerRefused, asUnavailable, unavailable } from './fault.ts';
import type { Search } from './message.ts';
import type { ServerAddress } from './socket.ts';

/** `final`: another server would fare no better. */
type Final = { readonly kind: 'final'; readonly fault: SealpostError };
export type Reach = { readonly kind: 'open'; readonly connection: Connection } | Final;
export type Outcome =
  | { readonly kind: 'found'; readonly found: Found }
  | { readonly kind: 'failed'; readonly fault: SealpostError }
  | Final;

export interface Server {
  /** `failed` at once while it rests. Throws `lookup-unavailable` where `signal` is aborted, which says nothing about the server. */
  search(search: Search, signal: AbortSignal): Promise<Outcome>;
  close(): void;
}

export interface ServerOptions {
  readonly address: ServerAddress;
  /** Opens a connection. Throws `lookup-unavailable` where this server failed. */
  readonly reach: (address: ServerAddress) => Promise<Reach>;
  /** ms, of the clock of the machine. */
  readonly now: () => number;
}

/** Times one search is asked where others end its connection. */
const MAX_ASKED = 4;
/** ms that a server rests after it failed. */
const REST_MS = 3000;

export function makeServer({ address, reach, now }: ServerOptions): Server {
  let connection: Connection | undefined;
  let reaching: Promise<Reach> | undefined;
  let failure: { readonly fault: SealpostError; readonly until: number } | undefined;
  let closed = false;

  const connect = async (): Promise<Reach> => {
    if (connection?.state() === 'open') return { kind: 'open', connection };
    // Many searches wait for one connection; none of them can end it for the others.
    reaching ??= reach(address).finally(() => {
      reaching = undefined;
    });
    const reached = await reaching;
    if (reached.kind === 'final') return reached;
    connection = reached.connection;
    if (closed) connection.close();
    return reached;
  };
  const ask = async (search: Search, signal: AbortSignal): Promise<Outcome> => {
    for (let asked = 1; ; asked++) {
      const kept = connection?.state() === 'open';
      const reached = await unlessAborted(signal, connect);
      if (reached.kind === 'final') return reached;
      try {
        return { kind: 'found', found: await reached.connection.search(search, signal) };
      } catch (fault) {
        if (fault instanceof AnswerRefused) return { kind: 'final', fault };
        const state = reached.connection.state();
        const again = state === 'spent' ? asked < MAX_ASKED : state === 'closed' && kept && asked === 1;
        if (!again || signal.aborted || closed) throw fault;
      }
    }
  };
  return {
    search: async (search, signal) => {
      const rest = (failure?.until ?? 0) - now();
      // More than a whole rest is a clock that was set back.
      if (failure !== undefined && rest > 0 && rest <= REST_MS) return { kind: 'failed', fault: failure.fault };
      try {
        return await ask(search, signal);
      } catch (thrown) {
        const fault = named(address, thrown);
        if (signal.aborted || closed) throw fault;
        if (connection?.state() !== 'spent') failure = { fault, until: now() + REST_MS };
        return { kind: 'failed', fault };
      }
    },
    close: () => {
      closed = true;
      connection?.close();
    },
  };
}

function named({ host, port }: ServerAddress, thrown: unknown): SealpostError {
  const { detail, hint, cause } = asUnavailable(thrown, 'no answer in time');
  return unavailable(`${host}:${port}: ${detail ?? ''}`, { hint, cause });
}
