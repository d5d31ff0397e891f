import type { Client, Envelope, Mailbox } from '../message/envelope.ts';

/** A message that the relay took itself, and that went nowhere: what its client is told. */
export interface TakenHere {
  readonly text: string;
}

/** What MAIL said, and who said it. */
export interface Opening {
  readonly sender: Mailbox | null;
  readonly client: Client;
  /** Octets by SIZE (RFC 1870); null where it said nothing. */
  readonly size: number | null;
}

/** What the SMTP front asks of the path behind it; relay.ts implements it. Both throw SealpostError, which carries the reply. */
export interface Reception {
  /** At MAIL: throws where no mail is taken at this moment, whatever it is (P5). Absent: it is. */
  assertOpen?(): void;
  /** At MAIL, where the client declares a size in octets: throws where no message of that size can be handed on. Absent: all can. */
  assertFits?(octets: number): void;
  /**
   * At RCPT TO: resolves where the recipient is taken, with every answer that does not need the header. `others`: those that the
   * message has already, by mailboxKey().
   */
  recipient(opening: Opening, recipient: Mailbox, others: ReadonlyMap<string, unknown>): Promise<void>;
  /**
   * At DATA: `source` is the message without dot-stuffing, line ends as the client wrote them; it throws where the client
   * left before its end. Resolves with the queue id once the sealed message is durable (P1); on any rejection nothing of
   * it is kept. May reject before `source` is read to its end.
   */
  accept(envelope: Envelope, source: AsyncIterable<Buffer>): Promise<string | TakenHere>;
}
