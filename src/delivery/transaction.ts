/**
 * One mail transaction on a session (RFC 5321 §3.3): MAIL, RCPT, DATA, the message, the dot. One recipient, one DATA.
 *
 * The order that everything hangs on: the whole message is written, then `beforeDot` is durable, then the dot. Whatever fails
 * before the dot drops the connection, and the upstream has no message; whatever fails behind it is ambiguous.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { buffersPassed } from '../message/dead-buffers.ts';
import { asSealpostError, SealpostError } from '../errors.ts';
import { parseMailbox } from '../message/envelope.ts';
import { sizeLimit } from './announced.ts';
import { DSN, mailParameters, rcptParameters, type Asked } from './dsn.ts';
import { makeStuffer } from './stuffing.ts';
import type { UpstreamReply } from './reply.ts';
import type { Phase, Result, Timeouts } from './result.ts';
import type { Session } from './session.ts';
import { spoken } from './spoken.ts';

/** One recipient's message and the calls of its owner. */
export interface Outgoing extends Asked {
  /** '' is the null reverse-path. */
  readonly sender: string;
  readonly recipient: string;
  readonly needsSmtputf8: boolean;
  /** Exact octets of `content`, for SIZE=. */
  readonly size: number;
  /** Set where a rule passes the content in clear: what it asks of the session (P3) and of the upstream. Sealed mail asks neither. */
  readonly clear?: { readonly eightBit: boolean } | undefined;
  /** The message, CRLF line ends, not dot-stuffed; made anew by each call. */
  content(): AsyncIterable<Buffer>;
  /** Durable once resolved: from here on the upstream may have the message. */
  beforeDot(): Promise<void>;
}

/** The least average rate, octets a second, at which an upstream may take the body: P6 bounds the time of a slow reader. */
const SLOWEST_RATE = 4096;
/** Blocks written between two turns of the event loop, so that a source in memory starves nobody. */
const BLOCKS_A_TURN = 16;
/** RFC 5321 §4.2.3. */
const START_MAIL_INPUT = 354;
const CLOSING = 421;
/** "Bad sequence of commands" tells of the session, not of the message: another session may take it. */
const BAD_SEQUENCE = 503;

/** Never rejects. Unless the result is `delivered` or `unsuited`, ask `session.usable` before using it again. */
export async function transact(session: Session, message: Outgoing, timeouts: Timeouts): Promise<Result> {
  const attempt = new Transaction(session, message, timeouts);
  try {
    return await attempt.run();
  } catch (error) {
    const cause = asSealpostError(error);
    session.destroy(cause);
    return { kind: 'failed', phase: attempt.phase, cause, tls: session.tls };
  }
}

class Transaction {
  phase: Phase = 'mail';
  readonly #session: Session;
  readonly #message: Outgoing;
  readonly #timeouts: Timeouts;

  constructor(session: Session, message: Outgoing, timeouts: Timeouts) {
    this.#session = session;
    this.#message = message;
    this.#timeouts = timeouts;
  }

  async run(): Promise<Result> {
    const unsuited = this.#unsuited();
    if (unsuited !== undefined) return unsuited;
    this.#session.transactions++;
    const refused = await this.#envelope();
    if (refused !== undefined) return refused;
    this.phase = 'body';
    const early = await this.#body();
    if (early !== undefined) return early;
    // Nothing is awaited between the mark and the dot but the mark itself.
    await this.#message.beforeDot();
    const late = this.#earlyReply();
    if (late !== undefined) return late;
    return this.#dot();
  }

  /** What this upstream's EHLO says it cannot carry. */
  #unsuited(): Result | undefined {
    const { sender, recipient, size, clear } = this.#message;
    const { extensions, plainly } = this.#session;
    // It is this very session that counts, not what the configuration says of its kind.
    if (clear !== undefined && !this.#session.isPrivate)
      return { kind: 'unsuited', status: '4.7.5', text: 'mail in clear goes over verified TLS, or stays on this machine' };
    if (clear?.eightBit === true && !extensions.has('8BITMIME')) {
      if (plainly) return { kind: 'unsuited', status: '4.6.3', text: '8BITMIME is needed, and the upstream refused EHLO' };
      return { kind: 'unsuited', status: '5.6.3', text: 'the message has octets outside ASCII, and the upstream does not offer 8BITMIME' };
    }
    if (this.#needsSmtputf8() && !extensions.has('SMTPUTF8')) {
      // HELO tells of no extension. That may be a fault of today, and is no reason to bounce.
      if (plainly) return { kind: 'unsuited', status: '4.6.7', text: 'SMTPUTF8 is needed, and the upstream refused EHLO' };
      return {
        kind: 'unsuited',
        status: '5.6.7',
        text: 'an address or a header outside ASCII needs SMTPUTF8, which the upstream does not offer',
      };
    }
    const limit = sizeLimit(extensions);
    if (limit !== undefined && size > limit) {
      const what = clear === undefined ? 'the sealed message' : 'the message';
      return { kind: 'unsuited', status: '5.3.4', text: `${what} has ${size} octets, the upstream takes ${limit}` };
    }
    assertAddress(recipient);
    if (sender !== '') assertAddress(sender);
    return undefined;
  }

  #needsSmtputf8(): boolean {
    const { sender, recipient, needsSmtputf8 } = this.#message;
    return needsSmtputf8 || /[^\x00-\x7f]/.test(sender + recipient);
  }

  /** MAIL, RCPT, DATA; undefined where 354 stands and the body may go. */
  async #envelope(): Promise<Result | undefined> {
    const { extensions } = this.#session;
    const { sender, recipient, size, clear } = this.#message;
    const utf8 = this.#needsSmtputf8();
    // Sealed mail is 7-bit but for a UTF-8 mailbox in its header (RFC 6531 §3.4, RFC 6152).
    const eightBit = (utf8 || clear?.eightBit === true) && extensions.has('8BITMIME');
    const parameters = `${extensions.has('SIZE') ? ` SIZE=${size}` : ''}${eightBit ? ' BODY=8BITMIME' : ''}${utf8 ? ' SMTPUTF8' : ''}`;
    const [ofMail, ofRcpt] = extensions.has(DSN) ? [mailParameters(this.#message), rcptParameters(this.#message)] : ['', ''];
    const steps: readonly { readonly phase: 'mail' | 'rcpt' | 'data'; readonly command: string }[] = [
      { phase: 'mail', command: `MAIL FROM:<${sender}>${parameters}${ofMail}` },
      { phase: 'rcpt', command: `RCPT TO:<${recipient}>${ofRcpt}` },
      { phase: 'data', command: 'DATA' },
    ];
    // RFC 2920 §3.1: DATA is the last of its group.
    const pipelined = extensions.has('PIPELINING');
    if (pipelined) this.#session.send(...steps.map((step) => step.command));
    let refused: Result | undefined;
    for (const { phase, command } of steps) {
      if (refused === undefined) this.phase = phase;
      if (!pipelined) this.#session.send(command);
      const reply = await this.#replyOfGroup(phase, refused);
      if (reply === undefined) return refused;
      const accepted = phase === 'data' ? reply.code === START_MAIL_INPUT : isSuccess(reply);
      if (refused !== undefined && phase === 'data' && reply.code === START_MAIL_INPUT) {
        // RFC 2920 §3.1 would have us send a lone dot; an upstream that opens DATA for nobody is not trusted with one.
        this.#session.destroy(new SealpostError('upstream-protocol', { detail: 'DATA was opened without a recipient' }));
      } else if (refused === undefined && !accepted) {
        refused = this.#rejected(phase, reply);
        if (!pipelined) return refused;
      }
    }
    return refused;
  }

  /** The next reply of a pipelined group; undefined where the verdict is known already and the rest of the group is lost. */
  async #replyOfGroup(phase: 'mail' | 'rcpt' | 'data', refused: Result | undefined): Promise<UpstreamReply | undefined> {
    try {
      return await this.#session.reply(this.#timeouts[phase]);
    } catch (error) {
      if (refused === undefined) throw error;
      return undefined;
    }
  }

  /** Writes the message, stuffed (RFC 5321 §4.5.2), up to but not with the dot. A result where the upstream spoke too early. */
  async #body(): Promise<Result | undefined> {
    const stuff = makeStuffer();
    const started = performance.now();
    const longest = this.#timeouts.block + (this.#message.size / SLOWEST_RATE) * 1000;
    let blocks = 0;
    let octets = 0;
    for await (const chunk of this.#message.content()) {
      octets += chunk.length;
      buffersPassed(chunk.length);
      for (const piece of stuff.push(chunk)) await this.#session.write(piece, this.#timeouts.block);
      if (++blocks % BLOCKS_A_TURN === 0) await turn();
      const early = this.#earlyReply();
      if (early !== undefined) return early;
      if (performance.now() - started > longest) throw new SealpostError('upstream-silent', { detail: 'the body is taken too slowly' });
    }
    // A source that ends early without an error would be a truncated message under a 250.
    if (octets !== this.#message.size) throw new SealpostError('internal', { detail: 'the message is not as long as announced' });
    if (!stuff.endsInLine) await this.#session.write(Buffer.from('\r\n'), this.#timeouts.block);
    const early = this.#earlyReply();
    if (early === undefined && !this.#session.usable)
      throw new SealpostError('upstream-protocol', { detail: 'half a reply before the dot' });
    return early;
  }

  /** Before the dot nothing may be said. A refusal is believed, since without a dot no message was taken; all else is a fault. */
  #earlyReply(): Result | undefined {
    const reply = this.#session.early;
    if (reply === undefined) return undefined;
    const cause = new SealpostError('upstream-protocol', { detail: `${reply.code} before the end of the message` });
    this.#session.destroy(cause);
    if (reply.code < 400) return { kind: 'failed', phase: 'body', cause, tls: this.#session.tls };
    return this.#rejected('body', reply);
  }

  async #dot(): Promise<Result> {
    // send throws where the session broke meanwhile: then no dot was written, and the phase is still the body.
    this.#session.send('.');
    this.phase = 'dot';
    const reply = await this.#session.reply(this.#timeouts.dot);
    if (isSuccess(reply)) return { kind: 'delivered', reply, tls: this.#session.tls, dsn: this.#session.extensions.has(DSN) };
    if (reply.code >= 400) return this.#rejected('dot', reply);
    throw new SealpostError('upstream-protocol', { detail: `${reply.code} to the end of the message` });
  }

  #rejected(phase: Phase, reply: UpstreamReply): Result {
    this.#session.needsReset = true;
    // 2yz or 3yz where another class must come, 421 and 503: the session is of no more use.
    if (reply.code < 400 || reply.code === CLOSING || reply.code === BAD_SEQUENCE) {
      this.#session.destroy(new SealpostError('upstream-protocol', { detail: `${reply.code} at ${phase}` }));
    }
    const { sender, recipient } = this.#message;
    const permanent = reply.code >= 500 && reply.code !== BAD_SEQUENCE;
    const words = spoken(reply.lines, [sender, recipient]);
    return { kind: 'rejected', permanent, phase, reply: { ...reply, words }, tls: this.#session.tls };
  }
}

function isSuccess(reply: UpstreamReply): boolean {
  return reply.code >= 200 && reply.code < 300;
}

/** Fail closed (A8): what the strict parser does not read back as the very same mailbox never reaches the socket. */
function assertAddress(address: string): void {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'mailbox' && verdict.mailbox.address === address) return;
  throw new SealpostError('address-invalid', { detail: 'in the queue, which takes parsed addresses only' });
}
