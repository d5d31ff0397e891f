/**
 * A table of expected decisions, kept beside the rules: `cases:`, and `defaults:` for what they share. Strict, with the place of every
 * fault: an expectation that is not read would be one that is never tested.
 */
import { isIP } from 'node:net';
import path from 'node:path';
import { z } from 'zod';
import type { Fault, Reading } from '../../document/fault.ts';
import { judge, type Judgement, key, leaf } from '../../document/schema.ts';
import { readSize } from '../../document/size.ts';
import { readText, readYaml } from '../../document/yaml.ts';
import { type Mailbox, parseMailbox } from '../../message/envelope.ts';

const wrong = (what: string, mend: string): Judgement<never> => ({ kind: 'wrong', wrong: what, mend });

const text = leaf((written): Judgement<string> =>
  typeof written === 'string' ? { kind: 'value', value: written } : wrong('wants text', 'in quotes where YAML reads something else'),
);

const mailbox = leaf((written): Judgement<Mailbox> => {
  const verdict = typeof written === 'string' ? parseMailbox(written) : undefined;
  if (verdict?.kind === 'mailbox') return { kind: 'value', value: verdict.mailbox };
  return wrong(`is not a mail address${verdict === undefined ? '' : `: ${verdict.fault}`}`, 'anna@clinic.example, without a name');
});

const sender = leaf((written): Judgement<Mailbox | null> => {
  if (written === '<>') return { kind: 'value', value: null };
  const verdict = typeof written === 'string' ? parseMailbox(written) : undefined;
  return verdict?.kind === 'mailbox'
    ? { kind: 'value', value: verdict.mailbox }
    : wrong('is no envelope sender', 'forms@clinic.example, or "<>" for the null sender');
});

const client = leaf((written): Judgement<string> =>
  typeof written === 'string' && isIP(written) > 0 ? { kind: 'value', value: written } : wrong('is no IP address', 'for example 10.1.2.3'),
);

// As rules write sizes; MAIL may declare nothing at all, too.
const size = leaf((written): Judgement<number> => (written === 0 ? { kind: 'value', value: 0 } : readSize(written)));

const field = leaf((written): Judgement<string> =>
  typeof written === 'string' && /^[\x21-\x39\x3b-\x7e]+:[^\p{Cc}\p{Zl}\p{Zp}]*$/u.test(written)
    ? { kind: 'value', value: written }
    : wrong('is no field of a header', '"X-Form: intake", in quotes'),
);

function word<const Word extends string>(...words: readonly Word[]): z.ZodType<Word> {
  return leaf((written): Judgement<Word> => {
    const known = words.find((one) => one === written);
    return known === undefined ? wrong('is not known', `one of ${words.join(', ')}`) : { kind: 'value', value: known };
  });
}

const said = (schema: z.ZodType<string>, meaning: string, example: string) => key(schema.optional(), { meaning, unit: 'text', example });

const expect = z.strictObject({
  decision: key(word('seal', 'pass', 'hold', 'refuse', 'retry'), { meaning: 'What becomes of it.', unit: 'word', example: 'seal' }),
  rule: said(text, 'The rule that decides; `none` where none matches.', 'intake-forms'),
  because: said(
    word('rule', 'missing', 'unavailable', 'no-rule', 'archive'),
    'Why it is held or refused: `rule`, `missing`, `unavailable`, `no-rule`, or `archive` where that copy cannot be made.',
    'missing',
  ),
  at: said(word('rcpt', 'data'), 'Where the script hears the last word.', 'rcpt'),
  subject: said(text, 'The Subject outside; `keep` for the original. QUEUE-ID stands for the id.', '"New form [QUEUE-ID]"'),
  from: said(text, 'The From outside; `keep` for the original.', 'forms@clinic.example'),
  envelope_from: said(text, 'MAIL FROM towards the upstream; `keep` for the original.', 'bounces@clinic.example'),
  message_id: said(word('keep', 'per_recipient'), 'Which Message-ID it gets.', 'per_recipient'),
  signed: said(text, 'The identity that signs; `none` where none does.', 'clinic'),
  archive: said(text, 'Who gets a copy; `none` where nobody does.', 'archive@clinic.example'),
  cipher: said(text, 'The cipher, where it is sealed.', 'aes-256-cbc'),
  reply: said(text, 'A part of what the script is told last.', '"ask the office"'),
});

const about = {
  from: key(sender.optional(), { meaning: 'The envelope sender.', unit: 'mailbox', example: 'forms@clinic.example' }),
  to: key(mailbox.optional(), { meaning: 'The envelope recipient.', unit: 'mailbox', example: 'anna@clinic.example' }),
  subject: said(text, 'Its Subject.', 'New intake form'),
  header_from: said(text, 'Its From; the envelope sender where it is left out.', 'Visitor <visitor@gmail.example>'),
  headers: key(z.array(field).optional(), { meaning: 'Further fields.', unit: 'list', example: '["X-Form: intake"]' }),
  message: said(text, 'The path of a message, from this file, instead of these three.', 'intake.eml'),
  client: said(client, 'The IP address it comes from; 127.0.0.1 where it is left out.', '10.1.2.3'),
  user: said(text, 'Who has logged in.', 'portal'),
  size: key(size.optional(), { meaning: 'What MAIL declares.', unit: 'size', example: '20MiB' }),
  certificate: said(
    word('found', 'missing', 'unavailable'),
    'What the look-up is taken to say; left out, the certificates of this site are asked.',
    'found',
  ),
  archive_certificate: said(word('found', 'missing', 'unavailable'), 'The same of the address that the rule archives to.', 'found'),
};

const file = z.strictObject({
  defaults: key(z.strictObject(about).optional(), {
    meaning: 'What cases share.',
    unit: 'keys',
    example: '{ from: forms@clinic.example }',
  }),
  cases: key(
    z
      .array(
        z.strictObject({
          name: key(text, { meaning: 'What it shows.', unit: 'text', example: 'an intake form' }),
          ...about,
          expect: key(expect, {
            meaning: 'What is to come of it: `decision`, and whatever else matters.',
            unit: 'keys',
            example: '{ decision: seal }',
          }),
        }),
      )
      .min(1),
    { meaning: 'The cases.', unit: 'list', example: '[{ name: a form, to: a@b.example, expect: { decision: seal } }]' },
  ),
});

export type Expectation = z.output<typeof expect>;

type Written = z.output<z.ZodObject<typeof about>>;

/** One case with what it takes from the defaults. */
export interface Case extends Omit<Written, 'from' | 'to'> {
  readonly name: string;
  /** `policies/tests/forms.yaml:12:5` */
  readonly place: string;
  readonly from: Mailbox | null;
  readonly to: Mailbox;
  readonly expect: Expectation;
}

/** Throws `file-unreadable`. */
export async function readCases(name: string): Promise<Reading<readonly Case[]>> {
  const document = readYaml(name, await readText(name, 'a table of cases: docs/policies.md shows one'));
  if (document.kind === 'invalid') return document;
  const { value, place } = document.value;
  const judged = judge(file, value ?? {}, place);
  if (judged.kind === 'invalid') return judged;
  const { defaults = {}, cases } = judged.value;
  const faults: Fault[] = [];
  const read: Case[] = [];
  for (const [index, written] of cases.entries()) {
    const at = place(['cases', index, 'name'], 'value');
    const { from, to, message, ...rest } = { ...defaults, ...written };
    const missing = from === undefined ? 'from' : to === undefined ? 'to' : undefined;
    if (from === undefined || to === undefined)
      faults.push({ place: at, key: `cases[${index}].${missing}`, wrong: 'is missing', mend: 'write it here or under defaults' });
    else
      read.push({ ...rest, from, to, place: at, message: message === undefined ? undefined : path.resolve(path.dirname(name), message) });
  }
  return faults.length > 0 ? { kind: 'invalid', faults } : { kind: 'valid', value: read };
}
