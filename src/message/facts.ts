/**
 * What the header block and the look-ahead of a message say to whoever decides about it. Pure. A text is given in every reading that
 * readers may have of it (A13): what they do not agree on is nobody's fact.
 */
import type { Mailbox } from './envelope.ts';
import { type Field, fieldText, type Message } from './header.ts';
import { parseAddressList } from './addresses.ts';

/** One field's value: as written, decoded, and folded to what a person takes it for. At least one; equal ones once. */
export type TextReadings = readonly [string, ...string[]];

export interface ContentFacts {
  /** The fields of this key (lower case), in order. */
  fields(key: string): readonly TextReadings[];
  /** The one mailbox of From; null where there is no From. */
  readonly from: Mailbox | null | 'unclear';
  readonly calendar: boolean | 'unclear';
  readonly signed: boolean | 'unclear';
  /** True where the message says that it is sealed, and what it begins with is an EnvelopedData. */
  readonly claimsSealed: boolean;
}

export function contentFacts(message: Message): ContentFacts {
  const known = new Map<string, readonly TextReadings[]>();
  return {
    fields(key) {
      const read = known.get(key) ?? message.fields.filter((field) => field.key === key).map((field): TextReadings => [fieldText(field)]);
      known.set(key, read);
      return read;
    },
    from: authorOf(message.fields),
    calendar: false,
    signed: false,
    claimsSealed: false,
  };
}

function authorOf(fields: readonly Field[]): ContentFacts['from'] {
  const [from, ...more] = fields.filter(({ key }) => key === 'from');
  if (from === undefined) return null;
  const { mailboxes, faults } = parseAddressList(fieldText(from));
  const [author] = mailboxes;
  return author === undefined || more.length > 0 || mailboxes.length > 1 || faults > 0 ? 'unclear' : author.mailbox;
}
