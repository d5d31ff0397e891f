/**
 * One SMTP session. smtp-server does the socket and the command lines; what it is too kind or too slow at is done here and, for
 * TLS and AUTH, in connection.ts, for XCLIENT in named.ts: the greeting, MAIL, RCPT, DATA and every refusal. Who is too slow, too
 * many or too much is judged in deadlines.ts, caps.ts and in-flight.ts; what is asked of them, and what follows, stands here.
 *
 * A session is idle until MAIL opens a transaction; RCPT adds to it, one at a time, since no command is read before the one
 * before it is answered. RSET, HELO and EHLO drop it. DATA ends it, whatever the verdict; between 354 and the reply the session
 * is `receiving`, and a stop of the relay waits for it. TLS begins the session anew; who the client is, identity.ts knows.
 */
import type { Socket } from 'node:net';
import type { SMTPServer } from 'smtp-server';
import type { SMTPConnectionOptions } from 'smtp-server/lib/smtp-connection';
import { asSealpostError, SealpostError } from '../errors.ts';
import { mailboxKey, type Client, type Envelope, type Recipient } from '../message/envelope.ts';
import { Arrival } from './arrival.ts';
import { saysFull, takeSeat } from './caps.ts';
import { MAX_AUTH_LINE, MAX_COMMAND_LINE, readMail, readRcpt, type MailCommand } from './command.ts';
import { Deadlines, type Step, tooSlow } from './deadlines.ts';
import { isForeignLine, isForeignStart } from './foreign.ts';
import { onceWorkedOff } from './half-open.ts';
import type { Terms } from './identity.ts';
import { endsWithBareDot } from './line-ends.ts';
import { NamedConnection } from './named.ts';
import { clientKey } from '../message/networks.ts';
import { heloName, replyText } from './reply.ts';
import type { OpenSession, Shared } from './shared.ts';
import { SmtpParser } from './unstuffing.ts';

interface Transaction extends MailCommand {
  /** By mailboxKey: a recipient named twice gets one message. */
  readonly recipients: Map<string, Recipient>;
}

type Parser = Exclude<NamedConnection['_parser'], false>;

export class Session extends NamedConnection implements OpenSession {
  readonly #shared: Shared;
  readonly #deadlines: Deadlines;
  /** Between 354 and the reply to the message. */
  #arrival: Arrival | undefined;
  #refusals = 0;
  #helo = '';
  #extended = false;
  #transaction: Transaction | undefined;

  constructor(server: SMTPServer, socket: Socket, options: SMTPConnectionOptions | null | undefined, shared: Shared, terms: Terms) {
    super(server, socket, options, shared, terms);
    this.#shared = shared;
    this.#deadlines = new Deadlines(shared.timeouts, shared.elapsed());
  }

  /** Its client's address, for the cap. */
  get from(): string {
    return clientKey(this.remoteAddress);
  }

  /** True where the client may send mail. Only a listed one is trusted as well, and has its line ends mended. */
  get admitted(): boolean {
    return this.peer.listed || this.identity.user !== null;
  }

  /** True between 354 and the reply to the message. */
  get receiving(): boolean {
    return this._dataStream !== false && this._dataStream !== null;
  }

  /** Says that the relay is stopping, and closes. */
  dismiss(): void {
    this.#refuse(new SealpostError('shutting-down'), 'stop');
  }

  stalled(elapsed: number): number {
    return this.#deadlines.stalled(elapsed);
  }

  override reached(step: Step): void {
    this.#deadlines.reached(step, this.#shared.elapsed());
  }

  /** Looks at the clock, and closes a session whose client took too long. */
  hurry(elapsed: number): void {
    this.#arrival?.hurry(elapsed);
    const overdue = this.#deadlines.overdue(elapsed, this.admitted);
    if (overdue === undefined) return;
    this.#tellBareDot();
    this.#cut(tooSlow(overdue));
  }

  /** Where a message does not end: the one cause that its script can be told. */
  #tellBareDot(): void {
    if (this._parser !== false && this._parser._dataMode && endsWithBareDot(this._parser._lastBytes))
      this.#shared.log.warn(this.#attributes('DATA'), 'client ended its message with LF.LF, which is no end: its script must write CRLF');
  }

  /** Closes, and lets nobody wait for the rest of a message. */
  #cut(error: SealpostError): void {
    this.#refuse(error, 'session');
    this.#arrival?.abandon();
  }

  /** As smtp-server's, without its 100 ms wait for early talkers, which would cap every form script that mails once per connection. */
  override init(): void {
    const { sessions, limits, elapsed, crowded } = this.#shared;
    const full = takeSeat(sessions, this, limits, elapsed(), crowded);
    if (full !== undefined && this.encryptedFirst) {
      // A handshake is work that a full house does not do, and nothing can be said without it.
      sessions.delete(this);
      this._socket.destroy();
      return;
    }
    this._setListeners(() => {
      // In front of the parser: another protocol's first octets need not be a line (A7).
      this._socket.prependOnceListener('data', (chunk: Buffer) => {
        if (!this._closing && isForeignStart(chunk)) this.#refuse(new SealpostError('not-smtp'), 'connect');
      });
      if (this.#shared.stopping) this.dismiss();
      else if (full !== undefined) this.#refuse(full, 'connect');
      else this.connectionReady();
    });
  }

  makeRoom(): void {
    this.#cut(new SealpostError('made-room'));
  }

  override get inTransaction(): boolean {
    return this.#transaction !== undefined;
  }

  /** Every refusal passes here, smtp-server's own among them. */
  override send(code: number, text?: string | string[] | null, context?: string | false): void {
    // A handshake is no place for words: a client would take them for TLS.
    if (this._upgrading) return this.close();
    super.send(code, text, context);
    if (code < 400 || this._closing || ++this.#refusals <= (this.#shared.limits.refusals ?? Infinity)) return;
    this.#refuse(new SealpostError('too-many-refusals'), 'session');
  }

  override close(): void {
    super.close();
    this.#shared.sessions.delete(this);
    this.#shared.lingering.add(this._socket);
  }

  /** A line without end is a permanent fault of the client (RFC 5321 §4.5.3.1.10); smtp-server would answer 421 with its own text. */
  override _createParser(): ReturnType<NamedConnection['_createParser']> {
    const parser = new SmtpParser({ maxCommandLength: MAX_AUTH_LINE });
    parser.oncommand = (command, callback) => this._onCommand(command, callback);
    parser.on('error', (cause) => this.#lineTooLong(cause));
    onceWorkedOff(parser, (ending) => {
      // Gone in the middle of its message: nobody can end it any more.
      if (ending === 'broken-off') this._socket.destroy();
      else this.close();
    });
    return parser;
  }

  #lineTooLong(cause?: Error): void {
    this.#refuse(new SealpostError('command-too-long', { cause }), 'line');
    this.close();
  }

  override _onCommand(command: Buffer, callback?: () => void): void {
    this.#deadlines.working();
    if (this.#shared.stopping) this.dismiss();
    else if (command.length > MAX_COMMAND_LINE && !this.isLoginLine(command)) this.#lineTooLong();
    else if (isForeignLine(command)) this.#refuse(new SealpostError('not-smtp'), 'connect');
    else super._onCommand(command, callback);
  }

  /** A command is answered. */
  override _whenWritable(next: () => void): void {
    this.#deadlines.waiting(this.#shared.elapsed());
    super._whenWritable(next);
  }

  /** No idle timer: deadlines.ts counts what a client cannot keep from ringing with an octet a second. */
  override _armTimeout(): void {}

  override _onClose(): void {
    this.#shared.sessions.delete(this);
    // The last chance: the parser goes, and the message is found incomplete only after that.
    if (!this._closing) this.#tellBareDot();
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
    this.reached(this.secure ? 'greeted in TLS' : 'greeted');
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
    this.#shared.reception.assertOpen?.();
    this.#shared.reception.assertFits?.(mail.declared);
    this.#shared.inFlight.assertRoom(mail.declared);
    this.#shared.rates.assertRoom(this.remoteAddress, this.identity.user);
    this.#transaction = { ...mail, recipients: new Map() };
    this.#deadlines.progressed(this.#shared.elapsed());
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
    if (this.identity.user?.mayReach(recipient.mailbox) === false) throw new SealpostError('recipient-not-allowed');
    const key = mailboxKey(recipient.mailbox);
    if (!transaction.recipients.has(key)) {
      if (transaction.recipients.size >= this.#shared.limits.recipients) throw new SealpostError('too-many-recipients');
      const opening = { sender: transaction.sender, client: this.#client(), size: declaredSize(transaction) };
      await this.#shared.reception.recipient(opening, recipient.mailbox, transaction.recipients);
      transaction.recipients.set(key, recipient);
      this.#deadlines.progressed(this.#shared.elapsed());
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
      try {
        this.#data(transaction, parser);
      } catch (thrown) {
        this.#refuse(thrown, 'DATA');
      }
    }
    callback();
  }

  #data(transaction: Transaction, parser: Parser): void {
    const { inFlight, limits, rates, timeouts, elapsed, receptions } = this.#shared;
    const floor = { rate: limits.dataRate ?? 0, ...timeouts };
    const options = {
      messageBytes: limits.messageBytes,
      declared: transaction.declared,
      floor,
      inFlight,
      trusted: this.peer.listed,
      elapsed,
    };
    // Here and not at MAIL, which RSET may follow: one that is over its rate by now is told so in place of 354.
    rates.admit(this.remoteAddress, this.identity.user);
    const arrival = new Arrival(options, () => (this._dataStream = parser.startDataMode()));
    this.#arrival = arrival;
    this.#deadlines.receiving(arrival.pace);
    const reception = this.#receive(transaction, arrival)
      .catch((thrown: unknown) => {
        this.#refuse(thrown, 'DATA');
        this.close();
      })
      .finally(() => {
        arrival.release();
        receptions.delete(reception);
      });
    receptions.add(reception);
    this.send(354, 'end the message with <CRLF>.<CRLF>', false);
  }

  /** From 354 to the reply. The reply comes after the final dot, and after it the transaction is over whatever it said. */
  async #receive(transaction: Transaction, arrival: Arrival): Promise<void> {
    const started = this.#shared.now();
    const verdict = await arrival.offer(this.#shared.reception, this.#envelope(transaction));
    const drained = await arrival.drain();
    this._dataStream = false;
    this.#arrival = undefined;
    this.#deadlines.received(this.#shared.elapsed());
    if (verdict.kind === 'queued') {
      this.#refusals = 0;
      const about = { queue_id: verdict.id, octets: arrival.octets(), recipients: transaction.recipients.size };
      this.#shared.log.debug({ ...this.#attributes('DATA'), ...about, ms: this.#shared.now() - started }, 'message queued');
      this.send(250, `2.0.0 queued as ${verdict.id}`, false);
    } else if (verdict.kind === 'taken') {
      this.#refusals = 0;
      this.send(250, `2.0.0 ${verdict.text}`, false);
    } else {
      this.#refuse(verdict.error, 'DATA');
    }
    this._transactionCounter++;
    this._unrecognizedCommands = 0;
    this._resetSession();
    if (this.#shared.stopping) this.dismiss();
    else if (drained === 'bound-passed' || (verdict.kind === 'refused' && verdict.error.code === 'bare-line-end')) this.close();
    if (this._parser !== false) this._parser.continue();
  }

  #envelope(transaction: Transaction): Envelope {
    return {
      sender: transaction.sender,
      recipients: [...transaction.recipients.values()],
      envid: transaction.envid,
      client: this.#client(),
      size: declaredSize(transaction),
      eightBit: transaction.eightBit,
      smtputf8: transaction.smtputf8,
      protocol: this.identity.protocol(this.#extended, transaction.smtputf8),
    };
  }

  #client(): Client {
    return { address: this.remoteAddress, helo: this.#helo, tls: this.identity.tls, user: this.identity.user };
  }

  override refuse(thrown: unknown, command: string): void {
    this.#refuse(thrown, command);
  }

  /** Replies with what the table says. No text of a foreign exception leaves; no address or content enters the log. */
  #refuse(thrown: unknown, command: string): void {
    const error = asSealpostError(thrown);
    const about = { ...this.#attributes(command), code: error.code };
    if (error.code === 'internal') this.#shared.log.error({ ...about, err: error }, 'command failed');
    else if (error.code === 'message-incomplete') {
      if (!this._closing) this.#shared.log.info(about, 'client left in the middle of its message');
    } else if (saysFull(error)) this.#shared.log.debug(about, 'no room for a client');
    else if (error.temporary && error.cause !== undefined) this.#shared.log.warn({ ...about, err: error }, 'command failed for now');
    else this.#shared.log.info(about, 'command refused');
    this.send(error.reply.code, replyText(error.reply), false);
  }

  #attributes(command: string): Record<string, string> {
    return { session: this.id, client: this.remoteAddress, network: this.peer.listed ? 'listed' : 'foreign', command };
  }
}

/** Null where MAIL said nothing of it. */
const declaredSize = ({ declared }: Transaction): number | null => (declared === 0 ? null : declared);
