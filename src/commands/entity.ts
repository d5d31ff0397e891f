/** An opened message for people: what a mail program would show. The only user of a full MIME parser, and only on the reader's side. */
import { simpleParser } from 'mailparser';

import { fieldText, readMessage } from '../message/header.ts';

export interface ReadEntity {
  /** The visible fields, and behind them those that were under the seal. */
  readonly outside: readonly string[];
  readonly inside: readonly string[];
  readonly text: string;
  readonly attachments: readonly { readonly name: string; readonly type: string; readonly content: Buffer }[];
}

const shown: ReadonlySet<string> = new Set(['from', 'to', 'cc', 'reply-to', 'date', 'subject']);

/** `sealed` is the message as it arrived, `entity` what was in it. */
export async function readEntity(sealed: Buffer, entity: Buffer): Promise<ReadEntity> {
  const outside = sealed[0] === DER_SEQUENCE ? [] : (await fieldsOf(sealed)).filter(({ key }) => shown.has(key));
  const inside = (await fieldsOf(entity)).filter(({ key }) => !key.startsWith('content-') && key !== 'mime-version');
  const parsed = await simpleParser(entity, { skipImageLinks: true });
  return {
    outside: outside.map(({ line }) => line),
    inside: inside.map(({ line }) => line),
    text: printable(parsed.text ?? ''),
    attachments: parsed.attachments.map(({ filename, contentType, content }, index) => ({
      name: fileName(filename ?? '', index),
      type: contentType,
      content,
    })),
  };
}

const DER_SEQUENCE = 0x30;

async function fieldsOf(octets: Buffer): Promise<{ key: string; line: string }[]> {
  async function* once(): AsyncGenerator<Buffer> {
    yield octets;
  }
  const { fields } = await readMessage(once());
  return fields.map((field) => ({ key: field.key, line: printable(`${field.name}: ${fieldText(field)}`) }));
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

export function showEntity({ outside, inside, text, attachments }: ReadEntity): string {
  const lines = [...outside];
  if (inside.length > 0) lines.push(...inside.map((line) => `${line}   (was under the seal)`));
  lines.push('', ...text.replace(/\n+$/, '').split('\n'));
  if (attachments.length > 0)
    lines.push('', ...attachments.map(({ name, type, content }) => `[${name}, ${type}, ${content.length} octets]`));
  return `${lines.join('\n')}\n`;
}
