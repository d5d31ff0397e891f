/** One connection to one directory server: opened, protected, logged in, then asked. */
import type { SecureContext } from 'node:tls';
import { type Channel, makeChannel } from './channel.ts';
import { AnswerRefused, asUnavailable, unavailable } from './fault.ts';
import type { Login } from './logins.ts';
import { type Answer, bindRequest, type Entry, type Result, results, type Search, searchRequest, startTlsRequest } from './message.ts';
import { heeding } from '../time-box.ts';
import { dial, secure, type ServerAddress } from './socket.ts';

export interface ConnectionOptions {
  readonly address: ServerAddress;
  /** Undefined where `address` says no TLS. */
  readonly context: SecureContext | undefined;
  /** Undefined asks anonymously. */
  readonly login: Login | undefined;
  /** ms */
  readonly timeouts: { readonly connect: number; readonly answer: number };
}

/** `refused`: the login, which another server of the same directory would refuse too. */
export type Opening = { readonly kind: 'open'; readonly connection: Connection } | { readonly kind: 'refused'; readonly result: Result };

/** What a search brought. With another code than success the entries are not all. */
export interface Found {
  readonly code: number;
  readonly entries: readonly Entry[];
  /** Of parts of the directory that other servers hold; nobody followed them. `peopled`: those where entries of people may stand. */
  readonly references: { readonly all: number; readonly peopled: number };
}

export interface Connection {
  /** Throws `lookup-unavailable`; `AnswerRefused` where the answer is more than is taken. */
  search(search: Search, signal: AbortSignal): Promise<Found>;
  /** `silent`: closed because the server did not say a word any more. `spent`: on account of other searches than those it ended. */
  state(): 'open' | 'closed' | 'silent' | 'spent';
  close(): void;
}

/** Octets for one search, all its entries together. */
const MAX_ANSWER = 4 * 1024 * 1024;
/** ms without a search after which a connection is closed; directory servers do it after some minutes. */
const IDLE_MS = 60_000;

/** Throws `lookup-unavailable`: the next server may do better. `signal` ends the attempt. */
export async function openConnection(options: ConnectionOptions, signal: AbortSignal): Promise<Opening> {
  return heeding(signal, options.timeouts.connect, (patience) => connectAndLogIn(options, patience));
}

async function connectAndLogIn(options: ConnectionOptions, patience: AbortSignal): Promise<Opening> {
  const { login, timeouts } = options;
  const channel = await openChannel(options, patience);
  try {
    if (login !== undefined) {
      const result = await channel.ask((id) => bindRequest(id, login.dn, login.password), resultOf('bind'), patience);
      if (result.code === results.busy || result.code === results.unavailable) throw refusedFor(result.code);
      if (result.code !== results.success) {
        channel.close();
        return { kind: 'refused', result };
      }
    }
  } catch (fault) {
    channel.close();
    throw asUnavailable(fault, 'the login got no answer');
  }
  return { kind: 'open', connection: makeConnection(channel, timeouts.answer) };
}

async function openChannel({ address, context }: ConnectionOptions, signal: AbortSignal): Promise<Channel> {
  const plain = await dial(address, signal);
  if (context === undefined || address.tls === 'off') return makeChannel(plain);
  if (address.tls === 'implicit') return makeChannel(await secure(plain, address.host, context, signal));
  const clear = makeChannel(plain);
  try {
    const { code } = await clear.ask(startTlsRequest, resultOf('extended'), signal);
    if (code !== results.success)
      throw unavailable(`the server refuses STARTTLS (LDAP result ${code})`, {
        hint: 'nothing is asked in clear: give the server a certificate, or does the port want ldaps://?',
      });
    return makeChannel(await secure(clear.release(), address.host, context, signal));
  } catch (fault) {
    clear.close();
    throw asUnavailable(fault, 'STARTTLS got no answer');
  }
}

/** A bind or extended operation has one answer. */
const resultOf =
  (operation: 'bind' | 'extended') =>
  (answer: Answer): Result => {
    if (answer.kind !== 'result' || answer.of !== operation) throw unavailable('the directory server answers another question');
    return answer;
  };

function makeConnection(channel: Channel, patience: number): Connection {
  let idle: NodeJS.Timeout | undefined;
  let silent = false;
  const rest = (): void => {
    clearTimeout(idle);
    if (channel.underWay === 0) idle = setTimeout(() => channel.close(), IDLE_MS).unref();
  };
  rest();
  return {
    search: async (search, signal) => {
      clearTimeout(idle);
      const begun = performance.now();
      let late = false;
      const ask = (either: AbortSignal): Promise<Found> => {
        either.addEventListener('abort', () => (late = !signal.aborted), { once: true });
        return channel.ask((id) => searchRequest(id, search), collect(search), either);
      };
      try {
        return await heeding(signal, patience, ask);
      } catch (fault) {
        // One slow search says nothing about others; a server that says nothing at all is not there.
        if (late && channel.open && channel.heard < begun) {
          silent = true;
          channel.close();
        }
        throw asUnavailable(fault, 'the search got no answer');
      } finally {
        rest();
      }
    },
    state: () => (channel.open ? 'open' : silent ? 'silent' : channel.spent ? 'spent' : 'closed'),
    close: () => {
      clearTimeout(idle);
      channel.close();
    },
  };
}

/** Gathers the answers to one search. A server that goes beyond what it was asked for is not believed in anything (A26). */
function collect({ sizeLimit }: Search): (answer: Answer, octets: number) => Found | undefined {
  const entries: Entry[] = [];
  const references = { all: 0, peopled: 0 };
  let total = 0;
  return (answer, octets) => {
    total += octets;
    // Whoever writes their entry decides how long it is: that is no fault of the server.
    if (total > MAX_ANSWER) throw new AnswerRefused(`an answer of the directory server is longer than ${MAX_ANSWER} octets`);
    switch (answer.kind) {
      case 'entry':
        entries.push(answer.entry);
        if (entries.length > sizeLimit) throw unavailable(`the directory server sends more than the ${sizeLimit} entries it was asked for`);
        return undefined;
      case 'reference':
        references.all++;
        if (answer.peopled) references.peopled++;
        return undefined;
      case 'result':
        if (answer.of !== 'search') throw unavailable('the directory server answers another question');
        if (answer.code === results.busy || answer.code === results.unavailable) throw refusedFor(answer.code);
        return { code: answer.code, entries, references };
      case 'other':
        return undefined;
    }
  };
}

const refusedFor = (code: number): Error => unavailable(`the directory server is busy or in maintenance (LDAP result ${code})`);
