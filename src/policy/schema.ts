/** One file of rules: `rules:` and the keys of a rule, with what is said of each. */
import { z } from 'zod';
import { key } from '../document/schema.ts';
import { ALWAYS } from './condition.ts';
import type { AlgorithmPolicy, Rule } from './decide.ts';
import type { Lists } from './entries.ts';
import { faultBetweenKeys } from './meaning.ts';
import { from, mailbox, name, replyText, sign, subject } from './values.ts';
import { whenSchema } from './when.ts';
import { word } from './word.ts';

const outcome = word('seal', 'pass', 'refuse', 'hold');

const keysOfRule = (lists: Lists) =>
  z.strictObject({
    name: key(name, {
      meaning: 'Unique over all files; logs, the audit log and `explain` name it.',
      unit: 'name',
      example: 'intake-forms',
    }),
    when: key(whenSchema(lists).optional(), {
      meaning: 'What the rule matches: every key in it must. Left out, the rule matches all mail.',
      unit: 'keys',
      example: '{ recipient: "*@clinic.example" }',
    }),
    then: key(outcome, {
      meaning: '`seal`, `refuse`, `hold` until it is released, or `pass` in clear as it came.',
      unit: 'word',
      example: 'seal',
    }),
    missing: key(word('refuse', 'hold').optional(), {
      meaning: 'What happens without a usable certificate: `refuse`, the default, or `hold`.',
      unit: 'word',
      example: 'hold',
    }),
    unavailable: key(word('retry', 'hold').optional(), {
      meaning: 'What happens where a source of certificates is down: `retry`, the default, tells the client to come back; or `hold`.',
      unit: 'word',
      example: 'hold',
    }),
    domain_certificate: key(word('never', 'fallback', 'only').optional(), {
      meaning:
        "Whether the certificate of the recipient's domain is used: `never`, the default, `fallback` where the recipient has no usable one, or `only`.",
      unit: 'word',
      example: 'fallback',
    }),
    subject: key(subject.optional(), {
      meaning:
        'The Subject that everybody on the way can read: `keep` the original, or `replace` it by a template; `show` puts the original one into the text.',
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
    profile: key(word('compatible', 'strict').optional(), {
      meaning: 'The set of algorithms, where it is not that of the site.',
      unit: 'word',
      example: 'strict',
    }),
    cipher: key(word('aes-256-cbc', 'aes-128-cbc', 'aes-256-gcm').optional(), {
      meaning: 'The cipher of the content.',
      unit: 'word',
      example: 'aes-256-gcm',
    }),
    key_transport: key(word('rsaes-pkcs1', 'rsaes-oaep').optional(), {
      meaning: 'How the key of the content is sealed to an RSA key.',
      unit: 'word',
      example: 'rsaes-oaep',
    }),
    sign: key(sign.optional(), {
      meaning: 'The identity that signs before it is sealed, and how.',
      unit: 'identity',
      example: 'clinic',
    }),
    archive: key(mailbox.optional(), {
      meaning: 'Who gets a separate message of the same, sealed to a certificate of its own.',
      unit: 'mailbox',
      example: 'archive@clinic.example',
    }),
    text: key(replyText.optional(), {
      meaning: 'Your own words behind those of the refusal.',
      unit: 'text',
      example: '"ask the office for a certificate"',
    }),
  });

export type WrittenRule = z.output<ReturnType<typeof keysOfRule>>;

/** A rule means what it says: no key beside one that makes it meaningless, and no Subject shown that nobody chose to show. */
const ruleSchema = (lists: Lists) =>
  keysOfRule(lists).transform((written, context): Rule => {
    // With an unknown key, what is missing may be what it was meant to be.
    const fault = context.issues.length > 0 ? undefined : faultBetweenKeys(written);
    if (fault === undefined) return ruleOf(written);
    const { key, wrong, mend } = fault;
    context.issues.push({ code: 'custom', message: wrong, input: written, path: [key], params: { mend } });
    return z.NEVER;
  });

function ruleOf(rule: WrittenRule): Rule {
  const algorithms: AlgorithmPolicy = {
    ...(rule.profile === undefined ? {} : { profile: rule.profile }),
    ...(rule.cipher === undefined ? {} : { cipher: rule.cipher }),
    ...(rule.key_transport === undefined ? {} : { keyTransport: rule.key_transport }),
  };
  return {
    name: rule.name,
    when: rule.when ?? ALWAYS,
    then: rule.then,
    missing: rule.missing ?? 'refuse',
    unavailable: rule.unavailable ?? 'retry',
    subject: rule.subject ?? { kind: 'keep' },
    ...(rule.domain_certificate === 'fallback' || rule.domain_certificate === 'only' ? { domainCertificate: rule.domain_certificate } : {}),
    ...(rule.from === undefined ? {} : { from: rule.from }),
    ...(rule.envelope_from === undefined ? {} : { envelopeFrom: rule.envelope_from }),
    ...(rule.message_id === 'per_recipient' ? { messageId: rule.message_id } : {}),
    ...(rule.sign === undefined ? {} : { sign: rule.sign }),
    ...(Object.keys(algorithms).length === 0 ? {} : { algorithms }),
    ...(rule.archive === undefined ? {} : { archive: rule.archive }),
    ...(rule.text === undefined ? {} : { text: rule.text }),
  };
}

/** `lists`: the files of lists that its rules name. */
export const ruleFileSchema = (lists: Lists) =>
  z.strictObject({
    rules: key(z.array(ruleSchema(lists)).min(1), {
      meaning: 'The rules, first to last.',
      unit: 'list',
      example: '[{ name: all, then: refuse }]',
    }),
  });
