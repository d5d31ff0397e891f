/**
 * Addresses and the envelope (RFC 5321 §4.1.2, RFC 6531 for UTF-8). The parser is strict and answers a value or a fault, never
 * a guess: the mailbox that is read here is the one that is looked up, matched, logged and written into RCPT.
 */
import { domainToASCII } from 'node:url';

/** One mailbox, folded: what compares equal is the same mailbox. */
export interface Mailbox {
  /** As the client wrote it, quotes included (`"a b"`); case kept, since only its own host may fold it. */
  readonly localPart: string;
  /** Lower-case A-labels (`xn--bcher-kva.example`), or an address literal in brackets. */
  readonly domain: string;
  /** `localPart@domain`: the form for RCPT, logs and audit. */
  readonly address: string;
  /** True where the local part is not ASCII, so that every hop must speak SMTPUTF8 (RFC 6531 §3.1). */
  readonly needsSmtputf8: boolean;
}

export type AddressVerdict = { readonly kind: 'mailbox'; readonly mailbox: Mailbox } | { readonly kind: 'fault'; readonly fault: string };

/** Who connected; written into Received and the audit log. */
export interface Client {
  readonly address: string;
  /** The HELO/EHLO name as sent: hostile text, printable ASCII only, at most 255 octets. */
  readonly helo: string;
  /** `TLSv1.3`; null in clear. */
  readonly tls: string | null;
  /** Who authenticated; null where nobody did. */
  readonly user: Submitter | null;
}

/** An authenticated user. */
export interface Submitter {
  readonly name: string;
  /** The user's own mailbox, where notices may go; null where none is known. */
  readonly mailbox: Mailbox | null;
}

/** What a recipient's sender asked to be told (RFC 3461 §4.1). An empty set is NEVER; null leaves it to the relay. */
export type Notify = ReadonlySet<'success' | 'failure' | 'delay'> | null;

/** One RCPT. */
export interface Recipient {
  readonly mailbox: Mailbox;
  readonly notify: Notify;
  /** ORCPT as it was sent, xtext left in it (RFC 3461 §4.2): printable ASCII; null where there was none. */
  readonly orcpt: string | null;
}

/** A recipient of whom nothing was said but the mailbox. */
export const plainRecipient = (mailbox: Mailbox): Recipient => ({ mailbox, notify: null, orcpt: null });

/** The envelope of one SMTP transaction. `sender` null is the null reverse-path `<>`. */
export interface Envelope {
  readonly sender: Mailbox | null;
  readonly recipients: readonly Recipient[];
  /** ENVID as it was sent, xtext left in it (RFC 3461 §4.4); null where there was none. */
  readonly envid: string | null;
  readonly client: Client;
  /** Octets by SIZE of MAIL (RFC 1870); null or absent where it said nothing. */
  readonly size?: number | null;
  /** True where MAIL said BODY=8BITMIME (RFC 6152). */
  readonly eightBit?: boolean;
  /** True where MAIL said SMTPUTF8 (RFC 6531 §3.4). */
  readonly smtputf8?: boolean;
  /** `SMTP`, `ESMTP`, `UTF8SMTP`, … for the `with` clause of Received (RFC 3848, RFC 6531 §4.3). */
  readonly protocol: string;
}

/** RFC 5321 §4.5.3.1.1–3: octets. */
const MAX_LOCAL_PART = 64;
const MAX_DOMAIN = 255;
const MAX_PATH = 254;

/** atext of RFC 5322 §3.2.3, and any non-ASCII code point but controls and separators (RFC 6531 §3.3). */
const ATOM = /^(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]|[^\x00-\x7f])+$/u;
const QUOTED = /^"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"$/;
const LABEL = /^(?!-)[a-z0-9-]{1,63}(?<!-)$/;
/** Code points that show as nothing, as a line, or as another order of letters; full-width and small @ . , ; : < > forms. */
const DECEPTIVE = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Z}\uFE50-\uFE6B\uFF01-\uFF20\uFF61\u3002]/u;
const LITERAL = /^\[(?:IPv6:[0-9A-Fa-f:.]{2,45}|\d{1,3}(?:\.\d{1,3}){3})\]$/;

const fault = (text: string): AddressVerdict => ({ kind: 'fault', fault: text });

/** Reads `local@domain`, without angle brackets, display name, comment or source route. */
export function parseMailbox(text: string): AddressVerdict {
  if (text === '') return fault('empty');
  if (Buffer.byteLength(text) > MAX_PATH) return fault(`longer than ${MAX_PATH} octets`);
  const at = text.lastIndexOf('@');
  if (at < 0) return fault('no @ in it');
  const localPart = text.slice(0, at);
  const local = checkLocalPart(localPart);
  if (local !== undefined) return fault(local);
  const domain = foldDomain(text.slice(at + 1));
  if (domain === undefined) return fault('the part after the @ is not a domain name');
  return {
    kind: 'mailbox',
    mailbox: Object.freeze({ localPart, domain, address: `${localPart}@${domain}`, needsSmtputf8: /[^\x00-\x7f]/.test(localPart) }),
  };
}

function checkLocalPart(localPart: string): string | undefined {
  if (localPart === '') return 'nothing before the @';
  if (Buffer.byteLength(localPart) > MAX_LOCAL_PART) return `more than ${MAX_LOCAL_PART} octets before the @`;
  if (localPart.startsWith('"'))
    return QUOTED.test(localPart) ? undefined : 'the quoted part before the @ is not closed, or holds what must not stand there';
  if (DECEPTIVE.test(localPart)) return 'a blank, control or look-alike character before the @';
  if (localPart !== localPart.normalize('NFC')) return 'the part before the @ is not in Unicode NFC';
  return localPart.split('.').every((atom) => ATOM.test(atom))
    ? undefined
    : 'a character before the @ that wants quotes, or a misplaced dot';
}

/**
 * A domain name as lower-case A-labels (RFC 5890 §2.3.2.1), so that `BÜCHER.example`, `bücher.example` and
 * `XN--BCHER-KVA.example` are one domain; undefined where it is none. Address literals come back as they are.
 */
export function foldDomain(text: string): string | undefined {
  if (text.startsWith('[')) return LITERAL.test(text) ? text : undefined;
  const ascii = /^[\x00-\x7f]*$/.test(text);
  if (!ascii && DECEPTIVE.test(text)) return undefined;
  // node:url parses hosts of URLs: "1.2" would become an IPv4 address, "%41" a letter. ASCII therefore never goes there.
  const folded = ascii ? text.toLowerCase() : domainToASCII(text);
  if (folded === '' || folded.length > MAX_DOMAIN || (!ascii && /[%]|^\d+(?:\.\d+)*$/.test(folded))) return undefined;
  return folded.split('.').every((label) => LABEL.test(label)) ? folded : undefined;
}

/**
 * The key under which a mailbox is looked up and compared: an ASCII local part without case, as every mail host in use
 * treats it; a UTF-8 one octet for octet (RFC 9598 §3).
 */
export function mailboxKey(mailbox: Mailbox): string {
  return `${mailbox.needsSmtputf8 ? mailbox.localPart : mailbox.localPart.toLowerCase()}@${mailbox.domain}`;
}
