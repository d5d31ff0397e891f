/** The message that the relay writes, before it is sealed: MIME 1.0 (RFC 2045), text in UTF-8, attachments beside it. Pure. */
import type { Mailbox } from '../message/envelope.ts';
import { encodeWords } from '../message/words.ts';

export interface Attachment {
  /** ASCII letters, figures, `.`, `-`, `_`, `@` and `+`: it stands in a quoted parameter. */
  readonly name: string;
  /** `application/pkcs12`. */
  readonly type: string;
  readonly bytes: Buffer;
}

export interface MailContent {
  readonly hostname: string;
  readonly operator: string;
  readonly recipient: Mailbox;
  readonly subject: string;
  readonly text: string;
  readonly attachments: readonly Attachment[];
  /** The queue id; also of the Message-ID. */
  readonly id: string;
  /** ms since the epoch */
  readonly at: number;
}

const FILE_NAME = /^[A-Za-z0-9._@+-]{1,200}$/;

export function composeMail({ hostname, operator, recipient, subject, text, attachments, id, at }: MailContent): Buffer {
  const header = [
    `Date: ${new Date(at).toUTCString().replace('GMT', '+0000')}`,
    `From: "Mail relay" <mailer-daemon@${hostname}>`,
    `Reply-To: <${operator}>`,
    `To: <${recipient.address}>`,
    `Subject: ${/^[\x20-\x7e]{0,60}$/.test(subject) ? subject : encodeWords(subject).join('\r\n ')}`,
    `Message-ID: <${id}@${hostname}>`,
    'Auto-Submitted: auto-generated',
    'MIME-Version: 1.0',
  ];
  const words = part('text/plain; charset=utf-8', [], Buffer.from(`${text.trimEnd()}\n`.replaceAll(/\r?\n/g, '\r\n')));
  if (attachments.length === 0) return Buffer.from([...header, ...words, ''].join('\r\n'));
  const boundary = `=_${id}`;
  const parts = [words, ...attachments.map(attached)];
  const body = [...parts.flatMap((lines) => [`--${boundary}`, ...lines]), `--${boundary}--`, ''];
  return Buffer.from([...header, `Content-Type: multipart/mixed; boundary="${boundary}"`, '', ...body].join('\r\n'));
}

function attached({ name, type, bytes }: Attachment): string[] {
  if (!FILE_NAME.test(name)) throw new Error('a file name that no parameter holds');
  return part(`${type}; name="${name}"`, [`Content-Disposition: attachment; filename="${name}"`], bytes);
}

/** RFC 2045 §6.8: lines of 76 characters. */
const part = (type: string, fields: readonly string[], bytes: Buffer): string[] => [
  `Content-Type: ${type}`,
  ...fields,
  'Content-Transfer-Encoding: base64',
  '',
  ...(bytes.toString('base64').match(/.{1,76}/g) ?? []),
];
