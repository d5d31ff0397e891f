/** The visible Subject of a sealed message: the original one, or a template, which must give nothing of the content away. */
import type { Mailbox } from '../message/envelope.ts';
import type { SubjectPolicy } from './decide.ts';

/** What a template may name; nothing of it comes from the content. */
export interface SubjectFacts {
  readonly queueId: string;
  readonly sender: Mailbox | null;
  readonly recipient: Mailbox;
}

/** RFC 5321 §4.5.5: the null reverse-path, in words a reader can make sense of. */
const NULL_SENDER = '<>';
/** Far below the 998 octets of a line (RFC 5322 §2.1.1), and more than any reader shows. */
const MAX_TEMPLATE = 200;

const fields = {
  queue_id: (facts: SubjectFacts) => facts.queueId,
  sender: (facts: SubjectFacts) => facts.sender?.address ?? NULL_SENDER,
  sender_domain: (facts: SubjectFacts) => facts.sender?.domain ?? NULL_SENDER,
  recipient: (facts: SubjectFacts) => facts.recipient.address,
} as const;

export const subjectFields: readonly string[] = Object.keys(fields);

const FIELD = /\{([^{}]*)\}/g;

export type TemplateVerdict =
  | { readonly kind: 'subject'; readonly subject: SubjectPolicy }
  | { readonly kind: 'fault'; readonly fault: string; readonly mend: string };

/** A template as an operator writes it, or what is wrong with it. */
export function parseTemplate(template: string): TemplateVerdict {
  const mend = `text with ${subjectFields.map((name) => `{${name}}`).join(', ')} in it`;
  if (template.trim() === '') return { kind: 'fault', fault: 'is empty', mend };
  if (template.length > MAX_TEMPLATE) return { kind: 'fault', fault: `is longer than ${MAX_TEMPLATE} characters`, mend: 'a short line' };
  // A line end would begin a field of the header (A9); the others show as nothing, or as another order of letters.
  if (!template.isWellFormed() || /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(template)) {
    return { kind: 'fault', fault: 'holds a control character', mend: 'one line of plain text' };
  }
  for (const [, name = ''] of template.matchAll(FIELD)) {
    if (!Object.hasOwn(fields, name)) return { kind: 'fault', fault: `knows no field {${name}}`, mend };
  }
  if (/[{}]/.test(template.replaceAll(FIELD, ''))) return { kind: 'fault', fault: 'has a brace without its partner', mend };
  return { kind: 'subject', subject: { kind: 'replace', template } };
}

/** The text of the outer Subject, not yet encoded for a header. `template` went through `parseTemplate`. */
export function renderSubject(template: string, facts: SubjectFacts): string {
  return template.replaceAll(FIELD, (written, name: string) => (isField(name) ? fields[name](facts) : written));
}

const isField = (name: string): name is keyof typeof fields => Object.hasOwn(fields, name);
