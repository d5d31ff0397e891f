/**
 * One SMTP session. smtp-server does the socket, the lines, the dots and the idle timer; what it is too kind or too slow at is
 * done here and, for TLS and AUTH, in connection.ts, for XCLIENT in named.ts: the greeting, MAIL, RCPT, DATA and every refusal.
 *
 * A session is idle until MAIL opens a transaction; RCPT adds to it, one at a time, since no command is read before the one
 * before it is answered. RSET, HELO and EHLO drop it. DATA ends it, whatever the verdict; between 354 and the reply the session
 * is `receiving`, and a stop of the relay waits for it. TLS begins the session anew; who the client is, identity.ts knows.
 */
import type { BlockList, Socket } from 'node:net';
import type { Logger } from 'pino';
import type { SMTPServer } from 'smtp-server';
import type { SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection';
import { asSealpostError, SealpostError } from '../errors.ts';
import { mailboxKey, plainRecipient, type Envelope, type Recipient } from '../message/envelope.ts';
import { readMail, readRcpt, type MailCommand } from './command.ts';
import type { Terms } from './identity.ts';
import { makeIncoming, type Incoming } from './incoming.ts';
import { NamedConnection } from './named.ts';
import type { Penalties } from './penalty.ts';
import type { Rates } from './rates.ts';
import type { Reception } from './reception.ts';
import { heloName, replyText } from './reply.ts';
import type { Users } from './users.ts';

export interface IngressLimits {
  /** Octets of one message as it is sent, dots unstuffed. */
  readonly messageBytes: number;
  /** Accepted recipients of one transaction. */
  readonly recipients: number;
  /** Sessions at once, over all listeners. */
  readonly connections: number;
  /** Milliseconds of silence after which a session is closed; smtp-server's minute where it is not given. */
  readonly idleMs?: number;
  /** Milliseconds for a TLS handshake; a quarter of a minute where it is not given. */
  readonly handshakeMs?: number;
}

/** What the sessions of one ingress share. */
export interface Shared {
  readonly hostname: string;
  readonly networks: BlockList;
  /** Who speaks for others, by the PROXY protocol and by XCLIENT. */
  readonly proxies: BlockList;
  readonly xclients: BlockList;
  readonly rates: Rates;
  readonly limits: IngressLimits;
  readonly reception: Reception;
  readonly users: Users | undefined;
  readonly penalties: Penalties;
  readonly log: Logger;
  readonly now: () => number;
  /** Open sockets, those that are only waiting for their client to close among them. */
  readonly sockets: Set<Socket>;
  /** Sessions that may still say something. */
  readonly sessions: Set<Session>;
  /** Messages between 354 and their reply. */
  readonly receptions: Set<Promise<void>>;
  stopping: boolean;
}

interface Transaction extends MailCommand {
  /** By mailboxKey: a recipient named twice gets one message. */
  readonly recipients: Map<string, Recipient>;
}

type Verdict = { readonly kind: 'queued'; readonly id: string } | { readonly kind: 'refused'; readonly error: SealpostError };

/**
 * A refused message is read on to its final dot, since clients look for a reply only there; beyond this many times the
 * message limit the reply comes at once and the session ends.
 */
const DRAIN_FACTOR = 4;
/** `GET / HTTP/1.1` and kin: a web page can make a browser send whole SMTP dialogues in the body behind it (A7). */
const HTTP = /^[A-Z]+ \S+ HTTP\/\d/i;

const BARE_DOT = Buffer.from('\n.\n');
const endsWithBareDot = (octets: Buffer | false): boolean => octets !== false && octets.subarray(-BARE_DOT.length).equals(BARE_DOT);

export class Session extends NamedConnection {
  readonly #shared: Shared;
  #helo = '';
  #extended = false;
  #transaction: Transaction | undefined;

  constructor(server: SMTPServer, socket: Socket, options: SMTPConnectionOptions | null | undefined, shared: Shared, terms: Terms) {
    super(server, socket, options, shared, terms);
    this.#shared = shared;
  }

  /** True between 354 and the reply to the message. */
  get receiving(): boolean {
    return this._dataStream !== false && this._dataStream !== null;
  }

  /** Says that the relay is stopping, and closes. */
  dismiss(): void {
    this.#refuse(new SealpostError('shutting-down'), 'stop');
  }

  /** As smtp-server's, without its 100 ms wait for early talkers, which would cap every form script that mails once per connection. */
  override init(): void {
    this._setListeners(() => {
      if (this.#shared.stopping) this.dismiss();
      else if (this._server.connections.size > this.#shared.limits.connections)
        this.#refuse(new SealpostError('too-many-connections'), 'connect');
      else this.connectionReady();
    });
  }

  override get inTransaction(): boolean {
    return this.#transaction !== undefined;
  }

  /** A line without end is a permanent fault of the client (RFC 5321 §4.5.3.1.10); smtp-server would answer 421 with its own text. */
  override _createParser(): ReturnType<NamedConnection['_createParser']> {
    const parser = super._createParser();
    parser.removeAllListeners('error');
    parser.on('error', (cause) => {
      this.#refuse(new SealpostError('command-too-long', { cause }), 'line');
      this.close();
    });
    return parser;
  }

  override _onCommand(command: Buffer, callback?: () => void): void {
    if (this.#shared.stopping) this.dismiss();
    else if (HTTP.test(command.toString('latin1'))) this.#refuse(new SealpostError('not-smtp'), 'HTTP');
    else super._onCommand(command, callback);
  }

  /** The idle timer rang. A client that waits for us is not idle; one that fell silent at LF.LF believes it is done. */
  override _onTimeout(): void {
    const stream = this._dataStream;
    if (!this._closing && stream !== false && stream !== null && stream.writableNeedDrain) return this._armTimeout();
    if (this._parser !== false && this._parser._dataMode && endsWithBareDot(this._parser._lastBytes))
      this.#shared.log.warn(this.#attributes('DATA'), 'client ended its message with LF.LF, which is no end: its script must write CRLF');
    super._onTimeout();
  }

  override _onClose(): void {
    this.#shared.sessions.delete(this);
    super._onClose();
  }

  override _resetSession(): void {
    this.#transaction = undefined;
    super._resetSession();
  }

  override greetedAs(helo: string, extended: boolean): void {
    this.#helo = helo;
    this.#extended = extended;
  }

  override handler_EHLO(command: Buffer, callback: () => void): void {
    super.handler_EHLO(command, () => {
      this.#greeted(command, true);
      callback();
    });
  }

  override handler_HELO(command: Buffer, callback: () => void): void {
    super.handler_HELO(command, () => {
      this.#greeted(command, false);
      callback();
    });
  }

  /** Keeps the name as it was sent; smtp-server lower-cases it. A refused HELO leaves the one before it. */
  #greeted(command: Buffer, extended: boolean): void {
    const name = command.toString('utf8').trim().split(/\s+/)[1] ?? '';
    if (this.hostNameAppearsAs !== name.toLowerCase()) return;
    this.greetedAs(heloName(name), extended);
  }

  override handler_VRFY(_command: Buffer, callback: () => void): void {
    // RFC 5321 §3.5.3: who is known here is nobody's business; RCPT tells.
    this.send(252, '2.5.0 cannot verify, send the message and see', false);
    callback();
  }

  handler_EXPN(_command: Buffer, callback: () => void): void {
    this.#refuse(new SealpostError('command-unimplemented'), 'EXPN');
    callback();
  }

  override handler_MAIL(command: Buffer, callback: () => void): void {
    // As after RCPT: the next command waits for the next turn of the event loop.
    this.#mail(command)
      .catch((thrown: unknown) => this.#refuse(thrown, 'MAIL'))
      .finally(() => setImmediate(callback));
  }

  async #mail(command: Buffer): Promise<void> {
    await this.identity.admit(this.peer);
    if (this.#transaction !== undefined) throw new SealpostError('command-out-of-order', { detail: 'MAIL was said already' });
    const mail = readMail(command, { messageBytes: this.#shared.limits.messageBytes, auth: this.identity.knowsAuth });
    if (this.identity.user?.maySend(mail.sender) === false) throw new SealpostError('sender-not-allowed');
    this.#shared.rates.admit(this.remoteAddress, this.identity.user);
    this.#transaction = { ...mail, recipients: new Map() };
    this.send(250, '2.1.0 sender ok', false);
  }

  override handler_RCPT(command: Buffer, callback: () => void): void {
    // The next command waits for the next turn of the event loop: a segment full of RCPT must not keep others from theirs.
    this.#rcpt(command)
      .catch((thrown: unknown) => this.#refuse(thrown, 'RCPT'))
      .finally(() => setImmediate(callback));
  }

  async #rcpt(command: Buffer): Promise<void> {
    const transaction = this.#transaction;
    if (transaction === undefined) throw new SealpostError('command-out-of-order', { detail: 'MAIL comes before RCPT' });
    const recipient = readRcpt(command, transaction.smtputf8, this.#shared.hostname);
    if (this.identity.user?.mayReach(recipient) === false) throw new SealpostError('recipient-not-allowed');
    const key = mailboxKey(recipient);
    if (!transaction.recipients.has(key)) {
      if (transaction.recipients.size >= this.#shared.limits.recipients) throw new SealpostError('too-many-recipients');
      await this.#shared.reception.recipient(transaction.sender, recipient);
      transaction.recipients.set(key, plainRecipient(recipient));
    }
    this.send(250, '2.1.5 recipient ok', false);
  }

  override handler_DATA(command: Buffer, callback: () => void): void {
    const transaction = this.#transaction;
    const parser = this._parser;
    if (transaction === undefined || transaction.recipients.size === 0) {
      this.#refuse(new SealpostError('command-out-of-order', { detail: 'no recipient was accepted' }), 'DATA');
    } else if (command.toString('latin1').trim().length !== 'DATA'.length) {
      this.#refuse(new SealpostError('parameter-unknown', { detail: 'DATA takes none' }), 'DATA');
    } else if (parser !== false) {
      const stream = parser.startDataMode();
      this._dataStream = stream;
      const reception = this.#receive(transaction, makeIncoming(stream, this.#shared.limits.messageBytes))
        .catch((thrown: unknown) => {
          this.#refuse(thrown, 'DATA');
          this.close();
        })
        .finally(() => this.#shared.receptions.delete(reception));
      this.#shared.receptions.add(reception);
      this.send(354, 'end the message with <CRLF>.<CRLF>', false);
    }
    callback();
  }

  /** From 354 to the reply. The reply comes after the final dot, and after it the transaction is over whatever it said. */
  async #receive(transaction: Transaction, incoming: Incoming): Promise<void> {
    const started = this.#shared.now();
    const verdict = await this.#offer(this.#envelope(transaction), incoming);
    const drained = await incoming.drain(DRAIN_FACTOR * this.#shared.limits.messageBytes);
    this._dataStream = false;
    if (verdict.kind === 'queued') {
      const about = { queue_id: verdict.id, octets: incoming.octets(), recipients: transaction.recipients.size };
      this.#shared.log.debug({ ...this.#attributes('DATA'), ...about, ms: this.#shared.now() - started }, 'message queued');
      this.send(250, `2.0.0 queued as ${verdict.id}`, false);
    } else {
      this.#refuse(verdict.error, 'DATA');
    }
    this._transactionCounter++;
    this._unrecognizedCommands = 0;
    this._resetSession();
    if (this.#shared.stopping) this.dismiss();
    else if (drained === 'bound-passed') this.close();
    if (this._parser !== false) this._parser.continue();
  }

  /** What came of handing the message on. A message that was not read whole is refused, even where its taker says otherwise. */
  async #offer(envelope: Envelope, incoming: Incoming): Promise<Verdict> {
    try {
      const id = await this.#shared.reception.accept(envelope, incoming.source);
      const fault =
        incoming.fault() ?? (incoming.ended() ? undefined : new SealpostError('internal', { detail: 'the message was not read' }));
      return fault === undefined ? { kind: 'queued', id } : { kind: 'refused', error: fault };
    } catch (thrown) {
      return { kind: 'refused', error: incoming.fault() ?? asSealpostError(thrown) };
    }
  }

  #envelope(transaction: Transaction): Envelope {
    return {
      sender: transaction.sender,
      recipients: [...transaction.recipients.values()],
      envid: null,
      client: { address: this.remoteAddress, helo: this.#helo, tls: this.identity.tls, user: this.identity.user },
      protocol: this.identity.protocol(this.#extended, transaction.smtputf8),
    };
  }

  override refuse(thrown: unknown, command: string): void {
    this.#refuse(thrown, command);
  }

  /** Replies with what the table says. No text of a foreign exception leaves; no address or content enters the log. */
  #refuse(thrown: unknown, command: string): void {
    const error = asSealpostError(thrown);
    const about = { ...this.#attributes(command), code: error.code };
    if (error.code === 'internal') this.#shared.log.error({ ...about, err: error }, 'command failed');
    else if (error.code === 'message-incomplete') this.#shared.log.info(about, 'client left in the middle of its message');
    else if (error.temporary && error.cause !== undefined) this.#shared.log.warn({ ...about, err: error }, 'command failed for now');
    else this.#shared.log.info(about, 'command refused');
    this.send(error.reply.code, replyText(error.reply), false);
  }

  #attributes(command: string): Record<string, string> {
    return { session: this.id, client: this.remoteAddress, network: this.peer.listed ? 'listed' : 'foreign', command };
  }
}
