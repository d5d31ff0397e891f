/** The values of a rule's keys as operators write them. */
import { leaf } from '../document/schema.ts';
import type { Judgement, Wrong } from '../document/schema.ts';
import { type NamedMailbox, parseAddressList } from '../message/addresses.ts';
import { type Mailbox, parseMailbox } from '../message/envelope.ts';
import type { SignPolicy } from '../message/sign-policy.ts';
import type { FromPolicy, SubjectPolicy } from './decide.ts';
import { parseTemplate } from './subject.ts';

const wrong = (what: string, mend?: string): Wrong => ({ kind: 'wrong', wrong: what, mend });

/** Rule names go into audit events and `explain`, those of identities into audit events: short, and no blank in them. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

export const name = leaf((written): Judgement<string> =>
  typeof written === 'string' && NAME.test(written)
    ? { kind: 'value', value: written }
    : wrong('is not a name', 'letters, digits, - _ and . without blanks, at most 64'),
);

export const subject = leaf((written): Judgement<SubjectPolicy> => {
  const mend = 'keep, or { replace: "New message [{queue_id}]" }, with show: true where the original one goes into the text';
  if (written === 'keep') return { kind: 'value', value: { kind: 'keep' } };
  if (typeof written !== 'object' || written === null) return wrong('is neither keep nor a replacement', mend);
  const { replace, show = false, ...others } = Object.fromEntries(Object.entries(written));
  if (Object.keys(others).length > 0 || typeof replace !== 'string')
    return wrong('wants the key replace with text, and may have show', mend);
  if (typeof show !== 'boolean') return { ...wrong('is neither true nor false', 'show: true, or take it out'), at: ['show'] };
  const verdict = parseTemplate(replace);
  if (verdict.kind === 'fault') return wrong(verdict.fault, verdict.mend);
  return { kind: 'value', value: { kind: 'replace', template: replace, ...(show ? { show } : {}) } };
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

export const from = leaf((written): Judgement<FromPolicy> => {
  const mend = '{ replace: "Clinic forms <forms@clinic.example>", original: reply_to }';
  if (typeof written !== 'object' || written === null) return wrong('is not a replacement', mend);
  const { replace, original = 'reply_to', ...others } = Object.fromEntries(Object.entries(written));
  if (Object.keys(others).length > 0 || replace === undefined) return wrong('wants the key replace, and may have original', mend);
  const author = readAuthor(replace);
  if (author.kind === 'wrong') return author;
  if (original !== 'reply_to' && original !== 'inside') return wrong('does not know this original', 'original: reply_to or inside');
  return { kind: 'value', value: { replace: author.value, original } };
});

export const mailbox = leaf((written): Judgement<Mailbox> => {
  const verdict = typeof written === 'string' ? parseMailbox(written) : undefined;
  if (verdict?.kind === 'mailbox') return { kind: 'value', value: verdict.mailbox };
  return wrong(`is not a mail address${verdict === undefined ? '' : `: ${verdict.fault}`}`, 'bounces@clinic.example, without a name');
});

/** It goes into an SMTP reply: one short line of ASCII (RFC 5321 §4.2). */
export const replyText = leaf((written): Judgement<string> =>
  typeof written === 'string' && /^[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?$/.test(written)
    ? { kind: 'value', value: written }
    : wrong('is not a line of plain text', 'ASCII, at most 200 characters'),
);

const FORMS = ['detached', 'opaque'] as const;
const RECODES = ['none', '7bit'] as const;

export const sign = leaf((written): Judgement<SignPolicy> => {
  const mend = 'the name of an identity, or { identity: clinic, form: detached, recode: none }';
  const keys: unknown = typeof written === 'string' ? { identity: written } : written;
  if (typeof keys !== 'object' || keys === null) return wrong('is not an identity', mend);
  const { identity, form = 'detached', recode = 'none', ...others } = Object.fromEntries(Object.entries(keys));
  if (Object.keys(others).length > 0 || typeof identity !== 'string')
    return wrong('wants the key identity, and may have form and recode', mend);
  if (!NAME.test(identity)) return wrong('is not the name of an identity', mend);
  const known = { form: FORMS.find((word) => word === form), recode: RECODES.find((word) => word === recode) };
  if (known.form === undefined) return { ...wrong('is not known', 'form: detached or opaque'), at: ['form'] };
  if (known.recode === undefined) return { ...wrong('is not known', 'recode: none or 7bit'), at: ['recode'] };
  return { kind: 'value', value: { identity, form: known.form, recode: known.recode } };
});
