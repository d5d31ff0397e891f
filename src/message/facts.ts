/**
 * What the header block and the look-ahead of a message say to whoever decides about it. Pure. A text is given in every reading that
 * readers may have of it (A13): what they do not agree on is nobody's fact.
 */
import type { Mailbox } from './envelope.ts';
import { type Field, fieldText, type Message } from './header.ts';
import { parseAddressList } from './addresses.ts';
import { kindOf, type MessageKind } from './kind.ts';
import { type FieldReadings, readField, type TextReadings } from './readings.ts';

/** A test of text; takes time linear in it. */
export interface TextTest {
  matches(text: string): boolean;
}

/** How a test fares with the fields of one name: `all` readings of all fields meet it, or `none`, or readers differ. */
export type Tally = 'all' | 'some' | 'none';

export interface ContentFacts extends MessageKind {
  /** The fields of this key (lower case), in order. */
  fields(key: string): readonly TextReadings[];
  /** Asked once of each test, however many recipients and rules ask. A field that is absent meets none. */
  tally(key: string, test: TextTest): Tally;
  /** The one mailbox of From; null where there is no From. */
  readonly from: Mailbox | null | 'unclear';
}

export function contentFacts(message: Pick<Message, 'fields' | 'lookAhead'> & Partial<Message>): ContentFacts {
  const known = new Map<string, readonly FieldReadings[]>();
  const tallies = new Map<TextTest, Map<string, Tally>>();
  const read = (key: string): readonly FieldReadings[] => {
    const found = known.get(key) ?? message.fields.filter((field) => field.key === key).map(readField);
    known.set(key, found);
    return found;
  };
  return {
    fields: (key) => read(key).map(({ texts }) => texts),
    tally(key, test) {
      const before = tallies.get(test) ?? new Map<string, Tally>();
      tallies.set(test, before);
      const tally = before.get(key) ?? tallyOf(read(key), test);
      before.set(key, tally);
      return tally;
    },
    from: authorOf(message.fields),
    ...kindOf(message),
  };
}

function tallyOf(fields: readonly FieldReadings[], test: TextTest): Tally {
  const answers = fields.flatMap(({ texts, sure }) => {
    const answers = texts.map((text) => test.matches(text));
    // What hides behind a broken word may be the very text, or be none of it.
    return sure || answers.length === 0 ? answers : [...answers, !answers[0]];
  });
  if (answers.every((met) => !met)) return 'none';
  return answers.every((met) => met) ? 'all' : 'some';
}

/** The one mailbox of From that every reader takes for the author. */
export function authorOf(fields: readonly Field[]): ContentFacts['from'] {
  const [from, ...more] = fields.filter(({ key }) => key === 'from');
  if (from === undefined) return null;
  const { mailboxes, faults } = parseAddressList(fieldText(from));
  const [author] = mailboxes;
  return author === undefined || more.length > 0 || mailboxes.length > 1 || faults > 0 ? 'unclear' : author.mailbox;
}
