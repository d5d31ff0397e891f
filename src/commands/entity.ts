/** An opened message for people: what a mail program would show. The only user of a full MIME parser, and only on the reader's side. */
import { Readable } from 'node:stream';
import { type ParsedMail, simpleParser } from 'mailparser';

import { fieldText, readMessage } from '../message/header.ts';
import { openSignature } from './opened-signature.ts';

export interface ReadEntity {
  /** The visible fields, and behind them those that were under the seal. */
  readonly outside: readonly string[];
  readonly inside: readonly string[];
  /** Of the signature that was under the seal; undefined where there was none. */
  readonly signature: string | undefined;
  readonly text: string;
  readonly attachments: readonly { readonly name: string; readonly type: string; readonly content: Buffer }[];
}

/** `sealed` is the message as it arrived, or its DER alone; `opened` what was in it. */
export async function readEntity(sealed: Buffer, opened: Buffer): Promise<ReadEntity> {
  const signed = await openSignature(opened);
  const entity = signed?.entity ?? opened;
  const parsed = await simpleParser(entity, { skipImageLinks: true });
  return {
    outside: sealed[0] === DER_SEQUENCE ? [] : await outsideLines(sealed),
    inside: await insideLines(entity, parsed),
    signature: signed && printable(signed.said),
    text: printable(parsed.text ?? (await textOfHtml(parsed.html))),
    attachments: parsed.attachments.map(({ filename, contentType, content }, index) => ({
      name: fileName(filename ?? '', index),
      type: contentType,
      content,
    })),
  };
}

/** mailparser makes text of HTML only where nothing is attached; parsed alone, the HTML is such a case. */
async function textOfHtml(html: string | false | undefined): Promise<string> {
  if (html === undefined || html === false || html === '') return '';
  return (await simpleParser(Buffer.from(`Content-Type: text/html; charset=utf-8\r\n\r\n${html}`), { skipImageLinks: true })).text ?? '';
}

const DER_SEQUENCE = 0x30;

async function outsideLines(sealed: Buffer): Promise<string[]> {
  const end = sealed.indexOf('\r\n\r\n');
  const { from, to, cc, date, subject } = await simpleParser(sealed.subarray(0, end < 0 ? undefined : end + 4));
  const list = (addresses: typeof to): string =>
    [addresses ?? []]
      .flat()
      .map((one) => one.text)
      .join(', ');
  const lines = { From: from?.text, To: list(to), Cc: list(cc), Date: date?.toUTCString(), Subject: subject };
  return Object.entries(lines).flatMap(([name, value]) => (value === undefined || value === '' ? [] : [printable(`${name}: ${value}`)]));
}

/** The fields that were under the seal, but those that say how the body is written. */
async function insideLines(entity: Buffer, parsed: ParsedMail): Promise<string[]> {
  const { fields } = await readMessage(Readable.from([entity]));
  const told = fields.filter(({ key }) => !key.startsWith('content-') && key !== 'mime-version');
  return told.map((field) => printable(`${field.name}: ${field.key === 'subject' ? (parsed.subject ?? '') : fieldText(field)}`));
}

/** Text of a stranger on a terminal: no control characters, no change of direction. */
const printable = (text: string): string => text.replace(/(?![\n\t])[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, '');

/** The last part of a name, without what a file system or a terminal would take for something else. */
function fileName(name: string, index: number): string {
  const last =
    printable(name)
      .split(/[\\/]/)
      .pop()
      ?.replace(/[\n\t]/g, ' ')
      .replace(/^\.+/, '')
      .slice(0, 120) ?? '';
  return last.trim() === '' ? `attachment-${index + 1}` : last;
}

export function showEntity({ outside, inside, signature, text, attachments }: ReadEntity): string {
  const lines = [...outside];
  if (inside.length > 0) lines.push(...inside.map((line) => `${line}   (was under the seal)`));
  if (signature !== undefined) lines.push(`signature: ${signature}`);
  lines.push('', ...text.replace(/\n+$/, '').split('\n'));
  if (attachments.length > 0)
    lines.push('', ...attachments.map(({ name, type, content }) => `[${name}, ${type}, ${content.length} octets]`));
  return `${lines.join('\n')}\n`;
}
