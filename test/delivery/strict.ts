/**
 * An upstream that enforces what large providers do: so many connections at once, so many messages in any stretch of time, and
 * a refusal in their words beyond it. It counts a message at MAIL and once more at its dot, by its own clock, and both must hold.
 */
import { scriptedUpstream, type Peer } from './peer.ts';

export interface Strictness {
  readonly connections: number;
  readonly messages: number;
  /** Milliseconds. */
  readonly per: number;
}

export interface StrictUpstream extends AsyncDisposable {
  readonly port: number;
  /** Messages it took. */
  readonly taken: number;
  readonly refusedConnections: number;
  readonly refusedMessages: number;
  /** The most connections at once, and the most messages that any stretch held; what was refused is in both. */
  readonly mostConnections: number;
  readonly mostMessages: number;
}

/** Moments of the last stretch. */
class Stretch {
  readonly #per: number;
  #times: number[] = [];
  most = 0;

  constructor(per: number) {
    this.#per = per;
  }

  /** How many there are with this one. */
  add(): number {
    const now = performance.now();
    this.#times = this.#times.filter((time) => time > now - this.#per);
    this.#times.push(now);
    this.most = Math.max(this.most, this.#times.length);
    return this.#times.length;
  }
}

export async function strictUpstream({ connections, messages, per }: Strictness): Promise<StrictUpstream> {
  const begun = new Stretch(per);
  const ended = new Stretch(per);
  const seen = { taken: 0, refusedConnections: 0, refusedMessages: 0, mostConnections: 0 };
  let open = 0;
  const serve = async (peer: Peer): Promise<void> => {
    open++;
    seen.mostConnections = Math.max(seen.mostConnections, open);
    peer.socket.once('close', () => open--);
    peer.say('220 strict.test ESMTP\r\n');
    for (let line = await peer.line(); line !== undefined; line = await peer.line()) {
      const verb = line.slice(0, 4).toUpperCase();
      if (verb === 'EHLO') peer.say('250-strict.test\r\n250 SIZE 0\r\n');
      else if (verb === 'MAIL' && open > connections) {
        seen.refusedConnections++;
        peer.say('432 4.3.2 Concurrent connections limit exceeded\r\n');
      } else if (verb === 'MAIL' && begun.add() > messages) {
        seen.refusedMessages++;
        peer.say('421 4.4.2 Message submission rate for this client has exceeded the configured limit\r\n');
        peer.socket.end();
      } else if (verb === 'DATA') {
        peer.say('354 go ahead\r\n');
        if ((await peer.message()) === undefined) return;
        const tooMany = ended.add() > messages;
        seen[tooMany ? 'refusedMessages' : 'taken']++;
        peer.say(tooMany ? '452 4.5.3 Too many messages\r\n' : '250 2.0.0 Ok\r\n');
      } else if (verb === 'QUIT') {
        peer.say('221 bye\r\n');
        peer.socket.end();
      } else peer.say('250 2.1.0 Ok\r\n');
    }
  };
  const server = await scriptedUpstream(serve);
  return {
    port: server.port,
    get taken() {
      return seen.taken;
    },
    get refusedConnections() {
      return seen.refusedConnections;
    },
    get refusedMessages() {
      return seen.refusedMessages;
    },
    get mostConnections() {
      return seen.mostConnections;
    },
    get mostMessages() {
      return Math.max(begun.most, ended.most);
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
