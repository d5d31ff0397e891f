/** Who gets the message: recipients of the command line and, with -t, of its header. */
import { SealpostError } from '../../errors.ts';
import { parseAddressList } from '../../message/addresses.ts';
import { type Mailbox, mailboxKey } from '../../message/envelope.ts';
import { type Field, fieldText } from '../../message/header.ts';

const NAMES = ['to', 'cc', 'bcc'];

/** A Bcc field is for the one who sends, and for nobody who reads. */
export const isBlind = (field: Field): boolean => field.key === 'bcc' || field.key === 'resent-bcc';

/** The recipients that the header names. Those of a message that was sent on are in its Resent-* fields alone (RFC 5322 §3.6.6). */
export function headerRecipients(fields: readonly Field[], domain: string): Mailbox[] {
  const resent = fields.some((field) => field.key.startsWith('resent-'));
  const wanted = resent ? NAMES.map((name) => `resent-${name}`) : NAMES;
  return fields.filter((field) => wanted.includes(field.key)).flatMap((field) => readList(fieldText(field), field.name, domain));
}

/** Addresses of the command line, each argument a list as sendmail takes it. */
export function namedRecipients(words: readonly string[], domain: string): Mailbox[] {
  return words.flatMap((word) => {
    const found = readList(word, 'recipient', domain);
    if (found.length === 0) throw notAnAddress('recipient', word);
    return found;
  });
}

/** Each mailbox once. */
export function distinct(mailboxes: readonly Mailbox[]): Mailbox[] {
  return [...new Map(mailboxes.map((mailbox) => [mailboxKey(mailbox), mailbox])).values()];
}

/** The envelope sender as -f names it; null is the null sender. */
export function readSender(written: string, domain: string): Mailbox | null {
  if (written === '' || written === '<>') return null;
  const [only, ...more] = readList(written, '-f', domain, 'sender-invalid');
  if (only === undefined || more.length > 0) throw notAnAddress('-f', written, 'sender-invalid');
  return only;
}

/** An address that cannot be read fails the whole message: to send it to the others would look like success. */
function readList(text: string, what: string, domain: string, code: 'address-invalid' | 'sender-invalid' = 'address-invalid'): Mailbox[] {
  const list = parseAddressList(text, domain);
  // A line end in an address is an attempt at another command; the parser would take its halves for name and address (A9).
  if (list.faults > 0 || /[^\P{Cc}\t]/u.test(text)) throw notAnAddress(what, text, code);
  return list.mailboxes.map(({ mailbox }) => mailbox);
}

function notAnAddress(what: string, text: string, code: 'address-invalid' | 'sender-invalid' = 'address-invalid'): SealpostError {
  const shown = text.slice(0, 80).replace(/[^\x20-\x7e]/g, '?');
  return new SealpostError(code, { detail: `${what}: ${shown}` });
}
