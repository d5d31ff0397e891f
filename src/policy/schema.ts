/** One file of rules: `rules:` and the keys of a rule, with what is said of each. */
import { z } from 'zod';
import { key, leaf } from '../document/schema.ts';
import type { Judgement } from '../document/schema.ts';
import { nearest } from '../document/nearest.ts';
import { anyOf, parsePattern, type AddressPattern } from '../message/pattern.ts';
import { type NamedMailbox, parseAddressList } from '../message/addresses.ts';
import { type Mailbox, parseMailbox } from '../message/envelope.ts';
import { ALWAYS, type Condition } from './condition.ts';
import type { FromPolicy, Rule, SubjectPolicy } from './decide.ts';
import { parseTemplate } from './subject.ts';

const wrong = (what: string, mend?: string): Judgement<never> => ({ kind: 'wrong', wrong: what, ...(mend === undefined ? {} : { mend }) });

/** Rule names go into audit events and `explain`: short, and no blank in them. */
const name = leaf((written): Judgement<string> =>
  typeof written === 'string' && /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(written)
    ? { kind: 'value', value: written }
    : wrong('is not a name', 'letters, digits, - _ and . without blanks, at most 64'),
);

const addresses = leaf((written): Judgement<AddressPattern> => {
  const list: readonly unknown[] = Array.isArray(written) ? written : [written];
  if (list.length === 0) return wrong('an empty list matches nothing', 'take the key out to match all, or name an address');
  const patterns: AddressPattern[] = [];
  for (const entry of list) {
    if (typeof entry !== 'string')
      return wrong('wants an address or a list of them', '"*@clinic.example"; a * in front wants quotes in YAML');
    const verdict = parsePattern(entry);
    if (verdict.kind === 'fault') return wrong(`"${entry.slice(0, 64)}" ${verdict.fault}`, verdict.mend);
    patterns.push(verdict.pattern);
  }
  return { kind: 'value', value: anyOf(patterns) };
});

function word<const Word extends string>(...words: readonly Word[]): z.ZodType<Word> {
  return leaf((written): Judgement<Word> => {
    const known = words.find((word) => word === written);
    if (known !== undefined) return { kind: 'value', value: known };
    const like = typeof written === 'string' ? nearest(written, words) : undefined;
    return wrong('is not known', like === undefined ? `for now: ${words.join(' or ')}` : `did you mean ${like}?`);
  });
}

const subject = leaf((written): Judgement<SubjectPolicy> => {
  const mend = 'keep, or { replace: "New message [{queue_id}]" }';
  if (written === 'keep') return { kind: 'value', value: { kind: 'keep' } };
  if (typeof written !== 'object' || written === null) return wrong('is neither keep nor a replacement', mend);
  const { replace, ...others } = Object.fromEntries(Object.entries(written));
  if (Object.keys(others).length > 0 || typeof replace !== 'string') return wrong('wants the one key replace, with text', mend);
  const verdict = parseTemplate(replace);
  return verdict.kind === 'subject' ? { kind: 'value', value: verdict.subject } : wrong(verdict.fault, verdict.mend);
});

/** More than any reader shows of a name. */
const MAX_AUTHOR = 200;

/** One mailbox with or without a name. It becomes a header field, so a line end in it would begin another (A9). */
function readAuthor(written: unknown): Judgement<NamedMailbox> {
  const mend = 'one mailbox: "Clinic forms <forms@clinic.example>"';
  if (typeof written !== 'string') return wrong('wants a mailbox', mend);
  if (written.length > MAX_AUTHOR || !written.isWellFormed() || /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(written))
    return wrong(`holds a control character, or more than ${MAX_AUTHOR} characters`, mend);
  if (/[{}]/.test(written)) return wrong('holds a brace, and nothing is filled in here', mend);
  const { mailboxes, faults } = parseAddressList(written);
  const [author] = mailboxes;
  return author === undefined || mailboxes.length > 1 || faults > 0 ? wrong('is not one mailbox', mend) : { kind: 'value', value: author };
}

const from = leaf((written): Judgement<FromPolicy> => {
  const mend = '{ replace: "Clinic forms <forms@clinic.example>", original: reply_to }';
  if (typeof written !== 'object' || written === null) return wrong('is not a replacement', mend);
  const { replace, original = 'reply_to', ...others } = Object.fromEntries(Object.entries(written));
  if (Object.keys(others).length > 0 || replace === undefined) return wrong('wants the key replace, and may have original', mend);
  const author = readAuthor(replace);
  if (author.kind === 'wrong') return author;
  if (original !== 'reply_to' && original !== 'inside') return wrong('does not know this original', 'original: reply_to or inside');
  return { kind: 'value', value: { replace: author.value, original } };
});

const mailbox = leaf((written): Judgement<Mailbox> => {
  const verdict = typeof written === 'string' ? parseMailbox(written) : undefined;
  if (verdict?.kind === 'mailbox') return { kind: 'value', value: verdict.mailbox };
  return wrong(`is not a mail address${verdict === undefined ? '' : `: ${verdict.fault}`}`, 'bounces@clinic.example, without a name');
});

/** It goes into an SMTP reply: one short line of ASCII (RFC 5321 §4.2). */
const replyText = leaf((written): Judgement<string> =>
  typeof written === 'string' && /^[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?$/.test(written)
    ? { kind: 'value', value: written }
    : wrong('is not a line of plain text', 'ASCII, at most 200 characters'),
);

const when = z.strictObject({
  sender: key(addresses, {
    meaning: 'The envelope sender (MAIL FROM), a pattern or a list of them; `<>` is the null sender.',
    unit: 'pattern',
    example: '"*@clinic.example"',
  }).optional(),
  recipient: key(addresses, {
    meaning: 'The envelope recipient (RCPT TO), a pattern or a list of them.',
    unit: 'pattern',
    example: '"*@clinic.example"',
  }).optional(),
});

const written = z.strictObject({
  name: key(name, { meaning: 'Unique over all files; logs, the audit log and `explain` name it.', unit: 'name', example: 'intake-forms' }),
  when: key(when.optional(), {
    meaning: 'What the rule matches: every key in it must. Left out, the rule matches all mail.',
    unit: 'keys',
    example: '{ recipient: "*@clinic.example" }',
  }),
  then: key(word('seal', 'refuse'), { meaning: '`seal` or `refuse`.', unit: 'word', example: 'seal' }),
  missing: key(word('refuse').optional(), {
    meaning: 'What happens without a usable certificate. Only `refuse` for now, which is also the default.',
    unit: 'word',
    example: 'refuse',
  }),
  domain_certificate: key(word('never', 'fallback', 'only').optional(), {
    meaning:
      "Whether the certificate of the recipient's domain is used: `never`, the default, `fallback` where the recipient has no usable one, or `only`.",
    unit: 'word',
    example: 'fallback',
  }),
  subject: key(subject.optional(), {
    meaning: 'The Subject that everybody on the way can read: `keep` the original, or `replace` it by a template.',
    unit: 'subject',
    example: '{ replace: "New message [{queue_id}]" }',
  }),
  from: key(from.optional(), {
    meaning:
      'Another From outside: `replace` is a mailbox. The original stands inside the seal and, with `original: reply_to`, in Reply-To where the message has none; `original: inside` does not show it.',
    unit: 'from',
    example: '{ replace: "Clinic forms <forms@clinic.example>", original: reply_to }',
  }),
  envelope_from: key(mailbox.optional(), {
    meaning: 'The envelope sender (MAIL FROM) towards the upstream; the null sender stays null.',
    unit: 'mailbox',
    example: 'bounces@clinic.example',
  }),
  message_id: key(word('keep', 'per_recipient').optional(), {
    meaning: '`keep` the original, the default, or one `per_recipient`.',
    unit: 'word',
    example: 'per_recipient',
  }),
  text: key(replyText.optional(), {
    meaning: 'Your own words behind those of the refusal.',
    unit: 'text',
    example: '"ask the office for a certificate"',
  }),
});

function conditionOf({ sender, recipient }: { sender?: AddressPattern | undefined; recipient?: AddressPattern | undefined }): Condition {
  const of: Condition[] = [];
  if (sender !== undefined) of.push({ kind: 'sender', pattern: sender });
  if (recipient !== undefined) of.push({ kind: 'recipient', pattern: recipient });
  const [only] = of;
  return of.length === 0 ? ALWAYS : of.length === 1 && only !== undefined ? only : { kind: 'all', of };
}

/** A rule means what it says: no key beside one that makes it meaningless, and no Subject shown that nobody chose to show. */
const rule = written.transform((rule, context): Rule => {
  const tell = (path: string, message: string, mend: string): never => {
    context.issues.push({ code: 'custom', message, input: rule, path: [path], params: { mend } });
    return z.NEVER;
  };
  if (rule.then === 'refuse') {
    for (const path of ['subject', 'missing', 'domain_certificate', 'from', 'envelope_from', 'message_id'] as const)
      if (rule[path] !== undefined) return tell(path, 'means nothing beside then: refuse', 'take it out');
  } else if (rule.subject === undefined) {
    return tell(
      'subject',
      'is missing',
      'subject: keep shows the original to everybody on the way; subject: { replace: "New message [{queue_id}]" } does not',
    );
  }
  return {
    name: rule.name,
    when: conditionOf(rule.when ?? {}),
    then: rule.then,
    missing: rule.missing ?? 'refuse',
    unavailable: 'retry',
    subject: rule.subject ?? { kind: 'keep' },
    ...(rule.domain_certificate === 'fallback' || rule.domain_certificate === 'only' ? { domainCertificate: rule.domain_certificate } : {}),
    ...(rule.from === undefined ? {} : { from: rule.from }),
    ...(rule.envelope_from === undefined ? {} : { envelopeFrom: rule.envelope_from }),
    ...(rule.message_id === 'per_recipient' ? { messageId: rule.message_id } : {}),
    ...(rule.text === undefined ? {} : { text: rule.text }),
  };
});

export const ruleFile = z.strictObject({
  rules: key(z.array(rule).min(1), { meaning: 'The rules, first to last.', unit: 'list', example: '[{ name: all, then: refuse }]' }),
});
