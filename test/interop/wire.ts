/** The outside of a sealed message, held to what Exchange and Outlook want of it: one S/MIME entity that is the root, and nothing personal beside it. */
import assert from 'node:assert/strict';

/** RFC 8551 §3.2.1: Exchange compares this text, so it is compared as text here. */
const CONTENT_TYPE = (smimeType: SmimeType): string => `application/pkcs7-mime; smime-type=${smimeType}; name="smime.p7m"`;
const MIME_FIELDS = (smimeType: SmimeType): Readonly<Record<string, string>> => ({
  'mime-version': '1.0',
  'content-type': CONTENT_TYPE(smimeType),
  'content-transfer-encoding': 'base64',
  'content-disposition': 'attachment; filename="smime.p7m"',
});
/** What may stand outside; List-* as well. */
const OUTSIDE =
  /^(?:from|sender|reply-to|to|cc|date|message-id|in-reply-to|references|subject|auto-submitted|precedence|importance|received|list-.+)$/;
const MAX_LINE = 998;
const BASE64_LINE = 76;

/** RFC 8551 §3.2.2: the letter case of authEnveloped-data is its own. */
export type SmimeType = 'enveloped-data' | 'authEnveloped-data';

/** The outer fields in their order, unfolded, names in lower case. */
export function outerFields(message: Buffer): readonly (readonly [name: string, value: string])[] {
  const text = message.toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  assert.ok(end > 0, 'no empty line behind the outer header block');
  const unfolded = text.slice(0, end).replaceAll(/\r\n(?=[ \t])/g, '');
  return unfolded.split('\r\n').map((line) => {
    const field = /^([\x21-\x39\x3b-\x7e]+):[ \t]*(.*)$/s.exec(line);
    assert.ok(field, 'an outer line is no field');
    return [(field[1] ?? '').toLowerCase(), (field[2] ?? '').replaceAll(/[ \t]+/g, ' ').trim()] as const;
  });
}

/** Throws where the message is not exactly an outer header block and the base64 of one CMS structure. */
export function assertWireForm(message: Buffer, smimeType: SmimeType): void {
  const text = message.toString('latin1');
  assert.doesNotMatch(text, /\r(?!\n)|(?<!\r)\n/, 'a bare CR or LF');
  assert.doesNotMatch(text, /[^\x09\x0d\x0a\x20-\x7e]/, 'an octet that is not printable ASCII');
  const fields = outerFields(message);
  const mime = fields.filter(([name]) => !OUTSIDE.test(name));
  assert.deepEqual(Object.fromEntries(mime), MIME_FIELDS(smimeType));
  assert.equal(mime.length, 4, 'a MIME field twice');
  for (const name of ['from', 'date', 'message-id']) assert.equal(fields.filter(([other]) => other === name).length, 1, `${name} once`);

  const [header, body] = [text.slice(0, text.indexOf('\r\n\r\n')), text.slice(text.indexOf('\r\n\r\n') + 4)];
  for (const line of header.split('\r\n')) assert.ok(line.length <= MAX_LINE, 'an outer line that is too long');
  assert.ok(body.endsWith('\r\n') && !body.endsWith('\r\n\r\n'), 'the base64 ends with one line end');
  const lines = body.slice(0, -2).split('\r\n');
  const last = lines.pop() ?? '';
  assert.ok(
    lines.every((line) => line.length === BASE64_LINE && /^[A-Za-z0-9+/]+$/.test(line)),
    'a base64 line is not full',
  );
  assert.ok(last.length <= BASE64_LINE && last.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(last), 'the last base64 line');
}
