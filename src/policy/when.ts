/** `when` of a rule: what it asks of a message, as an operator writes it. */
import { z } from 'zod';
import { readSize } from '../document/size.ts';
import { key, leaf, type Judgement } from '../document/schema.ts';
import { type AddressPattern } from '../message/pattern.ts';
import { ALWAYS, type Condition, type TextPattern } from './condition.ts';
import type { Lists } from './entries.ts';
import { readAddresses, readClients, readHeader, readTexts, readUsers } from './patterns.ts';
import { word } from './word.ts';

const flag = leaf((written): Judgement<boolean> =>
  typeof written === 'boolean' ? { kind: 'value', value: written } : { kind: 'wrong', wrong: 'is neither true nor false', mend: 'true' },
);

type Size = Condition & { readonly kind: 'size' };

const size = leaf((written): Judgement<Size> => {
  const mend = '{ over: 10MiB }, { under: 25MiB }, or both';
  if (typeof written !== 'object' || written === null) return { kind: 'wrong', wrong: 'wants over or under', mend };
  const { over, under, ...others } = Object.fromEntries(Object.entries(written));
  if (Object.keys(others).length > 0 || (over === undefined && under === undefined))
    return { kind: 'wrong', wrong: 'wants over or under, and nothing else', mend };
  const bounds: { over?: number; under?: number } = {};
  for (const [name, bound] of [['over', over] as const, ['under', under] as const]) {
    if (bound === undefined) continue;
    const read = readSize(bound);
    if (read.kind === 'wrong') return { ...read, at: [name] };
    bounds[name] = read.value;
  }
  return { kind: 'value', value: { kind: 'size', ...bounds } };
});

interface Written {
  readonly sender?: AddressPattern | undefined;
  readonly header_from?: AddressPattern | undefined;
  readonly recipient?: AddressPattern | undefined;
  readonly client?: Condition | undefined;
  readonly user?: Condition | undefined;
  readonly subject?: TextPattern | undefined;
  readonly header?: readonly Condition[] | undefined;
  readonly size?: Condition | undefined;
  readonly calendar?: boolean | undefined;
  readonly signed?: boolean | undefined;
  readonly sealed?: boolean | undefined;
  readonly certificate?: 'found' | 'missing' | 'unavailable' | undefined;
  readonly all?: readonly Condition[] | undefined;
  readonly any?: readonly Condition[] | undefined;
  readonly not?: Condition | undefined;
}

/** The keys of one `when`; those of `all`, `any` and `not` are the same again. `lists` has the files of lists in memory. */
export function whenSchema(lists: Lists): z.ZodType<Condition> {
  const addresses = leaf((written) => readAddresses(written, lists));
  const texts = leaf((written) => readTexts(written, lists));
  const schema: z.ZodType<Condition> = z
    .strictObject({
      sender: key(addresses, {
        meaning: 'The envelope sender (MAIL FROM), a pattern or a list of them; `<>` is the null sender.',
        unit: 'pattern',
        example: '"*@clinic.example"',
      }).optional(),
      header_from: key(addresses, {
        meaning: 'The one mailbox of the field From. A From with several mailboxes, or two of the field, is unclear.',
        unit: 'pattern',
        example: '"*@clinic.example"',
      }).optional(),
      recipient: key(addresses, {
        meaning: 'The envelope recipient (RCPT TO), a pattern or a list of them.',
        unit: 'pattern',
        example: '"*@clinic.example"',
      }).optional(),
      client: key(
        leaf((written) => readClients(written, lists)),
        { meaning: 'The network address of who connected.', unit: 'address or network', example: '192.0.2.0/24' },
      ).optional(),
      user: key(
        leaf((written) => readUsers(written, lists)),
        { meaning: 'Who logged in; `<none>` where nobody did.', unit: 'pattern', example: 'forms' },
      ).optional(),
      subject: key(texts, { meaning: 'The Subject of the message.', unit: 'text pattern', example: '/intake/i' }).optional(),
      header: key(
        leaf((written) => readHeader(written, lists)),
        { meaning: 'Fields of the header by their names; each named one must match.', unit: 'keys', example: '{ List-Id: "*news*" }' },
      ).optional(),
      size: key(size, { meaning: 'The size that MAIL declared.', unit: 'size', example: '{ over: 10MiB }' }).optional(),
      calendar: key(flag, { meaning: 'Whether it is a calendar invitation.', unit: 'true or false', example: 'true' }).optional(),
      signed: key(flag, { meaning: 'Whether it came signed.', unit: 'true or false', example: 'true' }).optional(),
      sealed: key(flag, { meaning: 'Whether it came sealed to this recipient.', unit: 'true or false', example: 'true' }).optional(),
      certificate: key(word('found', 'missing', 'unavailable'), {
        meaning: 'What the look-up of the recipient said.',
        unit: 'word',
        example: 'missing',
      }).optional(),
      get all(): z.ZodType<Condition[] | undefined> {
        return key(z.array(schema).min(1), { meaning: 'Every one of these.', unit: 'list', example: '[{ signed: true }]' }).optional();
      },
      get any(): z.ZodType<Condition[] | undefined> {
        return key(z.array(schema).min(1), { meaning: 'One of these.', unit: 'list', example: '[{ signed: true }]' }).optional();
      },
      get not(): z.ZodType<Condition | undefined> {
        return key(schema, { meaning: 'Not this.', unit: 'keys', example: '{ signed: true }' }).optional();
      },
    })
    .transform((written, context): Condition => {
      const condition = conditionOf(written);
      // An unknown key has been told already.
      if (condition !== ALWAYS || context.issues.length > 0) return condition;
      context.issues.push({ code: 'custom', message: 'asks nothing', input: written, params: { mend: 'a condition, or take it out' } });
      return z.NEVER;
    });
  return schema;
}

/** Cheap ones first: what says no ends the asking. */
function conditionOf(written: Written): Condition {
  const of: Condition[] = [];
  if (written.sender !== undefined) of.push({ kind: 'sender', pattern: written.sender });
  if (written.recipient !== undefined) of.push({ kind: 'recipient', pattern: written.recipient });
  if (written.client !== undefined) of.push(written.client);
  if (written.user !== undefined) of.push(written.user);
  if (written.size !== undefined) of.push(written.size);
  if (written.header_from !== undefined) of.push({ kind: 'header_from', pattern: written.header_from });
  for (const kind of ['calendar', 'signed', 'sealed'] as const) {
    const is = written[kind];
    if (is !== undefined) of.push({ kind, is });
  }
  if (written.certificate !== undefined)
    of.push({ kind: 'certificate', is: written.certificate === 'missing' ? 'absent' : written.certificate });
  if (written.subject !== undefined) of.push({ kind: 'subject', pattern: written.subject });
  if (written.header !== undefined) of.push(...written.header);
  if (written.all !== undefined) of.push(...written.all.flatMap((one) => (one.kind === 'all' ? one.of : [one])));
  if (written.any !== undefined) of.push({ kind: 'any', of: written.any });
  if (written.not !== undefined) of.push({ kind: 'not', of: written.not });
  const [only] = of;
  if (only === undefined) return ALWAYS;
  return of.length === 1 ? only : { kind: 'all', of };
}
