/**
 * What of an outer block a rule may choose for each recipient: Subject, From, Message-ID. Whatever is not shown stands inside, and
 * nothing is shown that the message did not show before, but for what the rule itself says.
 */
import { type NamedMailbox, parseAddressList, writeMailbox } from './addresses.ts';
import { type Mailbox, mailboxKey } from './envelope.ts';
import { type Field, fieldText } from './header.ts';
import { fold, isClean, subjectLine } from './written.ts';

/** What of the outer block differs between the recipients of one message: undefined keeps the original. */
export interface Look {
  readonly subject?: string | undefined;
  /** The outer From. `reply_to`: replies go to the original one, where the message does not say otherwise. `inside`: they go here. */
  readonly from?: { readonly replace: NamedMailbox; readonly original: 'reply_to' | 'inside' } | undefined;
  /** An id of this recipient's own, in its angle brackets. */
  readonly messageId?: string | undefined;
}

export interface Shown {
  /** Complete fields, each ended by CRLF, without MIME fields and without the empty line. */
  readonly octets: Buffer;
  /** A mailbox in it has a local part outside ASCII. */
  readonly needsSmtputf8: boolean;
}

/** Keys of the fields that a look does not show as they came. */
export function replacedBy({ subject, from, messageId }: Look): string[] {
  return [
    ...(subject === undefined ? [] : ['subject']),
    ...(from === undefined ? [] : ['from', 'sender']),
    ...(messageId === undefined ? [] : ['message-id']),
  ];
}

/** One field of the block, ended by CRLF. */
export interface Line {
  readonly key: string;
  readonly line: string;
}

/** The block in one look. A replaced Subject comes last, other fields take the place of what they replace. */
export function arrange(lines: readonly Line[], look: Look, replyTo: Author | undefined, references: string | undefined): Shown {
  const { subject, from, messageId } = look;
  const instead = new Map<string, string>();
  if (from !== undefined) {
    instead.set('from', `From: ${writeMailbox(from.replace)}\r\n`);
    // Who sent it for whom belongs to the author that is not shown; some readers would show it beside the new one.
    instead.set('sender', '');
    const same = replyTo?.only !== undefined && mailboxKey(replyTo.only) === mailboxKey(from.replace.mailbox);
    if (from.original === 'reply_to' && replyTo !== undefined && !same) instead.set('reply-to', replyTo.line);
  }
  if (messageId !== undefined) {
    instead.set('message-id', `Message-ID: ${messageId}\r\n`);
    if (references !== undefined) instead.set('references', references);
  }
  if (subject !== undefined) instead.set('subject', '');
  const out = lines.map(({ key, line }) => {
    const other = instead.get(key);
    instead.delete(key);
    return other ?? line;
  });
  const text = [...out, ...instead.values(), ...(subject === undefined ? [] : [subjectLine(subject)])].join('');
  return { octets: Buffer.from(text), needsSmtputf8: /[^\x00-\x7f]/.test(text) };
}

export interface Author {
  /** A Reply-To that names the original From. */
  readonly line: string;
  /** Its mailbox, where there is one. */
  readonly only: Mailbox | undefined;
}

/**
 * The original From as a Reply-To; undefined where it names nobody who could be written to. A mailbox without an ASCII form is left
 * out: the whole message would need SMTPUTF8 for a field that a rule added, and bounce where the upstream has none.
 */
export function originalAuthor(fields: readonly Field[]): Author | undefined {
  const from = fields.find((field) => field.key === 'from');
  if (from === undefined) return undefined;
  const { mailboxes, faults } = parseAddressList(fieldText(from));
  const shown = mailboxes.filter(({ mailbox }) => !mailbox.needsSmtputf8);
  if (shown.length === 0) return undefined;
  const value = from.octets.subarray(from.octets.indexOf(':') + 1);
  const octets = Buffer.concat([Buffer.from('Reply-To:'), value]);
  const line = faults === 0 && isClean(octets) ? octets.toString('latin1') : fold('Reply-To', shown.map(writeMailbox), ',');
  return line === undefined ? undefined : { line, only: mailboxes.length === 1 ? mailboxes[0]?.mailbox : undefined };
}

/** RFC 5322 §3.6.4. */
const MESSAGE_ID = /^<[^<>\s]+>$/;

/**
 * References with the original Message-ID at its end: later mail of the script names that one, and readers who got another in its
 * place still see both in one conversation. Undefined where it is no id.
 */
export function withOwnId(lines: readonly Line[]): string | undefined {
  const valueOf = (wanted: string): string => {
    const line = lines.find(({ key }) => key === wanted)?.line ?? '';
    return line
      .slice(line.indexOf(':') + 1)
      .replace(/\s+/g, ' ')
      .trim();
  };
  const own = valueOf('message-id');
  if (!MESSAGE_ID.test(own)) return undefined;
  const before = valueOf('references')
    .split(' ')
    .filter((id) => id !== own);
  return fold('References', [...before, own], '') ?? fold('References', [own], '');
}
