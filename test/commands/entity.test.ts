import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readEntity, showEntity } from '../../src/commands/entity.ts';

const show = async (entity: string): Promise<string> => showEntity(await readEntity(Buffer.from([0x30]), Buffer.from(entity)));

test('open shows the text of HTML, alone and with something attached', async () => {
  const html = 'Content-Type: text/html; charset=utf-8\r\n\r\n<p>Grüße, <b>Anna</b></p>\r\n';
  assert.match(await show(html), /Grüße, Anna/);
  const attached =
    '--x\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename="../a\x1b[2J.pdf"\r\n\r\nabc\r\n--x--\r\n';
  const mixed = await show(`Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n${html}${attached}`);
  assert.match(mixed, /Grüße, Anna/);
  assert.match(mixed, /^\[a\[2J\.pdf, application\/pdf, \d octets\]$/m);
});

test('open shows no control character and no change of direction of a stranger', async () => {
  const shown = await show('X-Form: a\x1b[31m\u202eb\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nred \x1b[31m\x07 \u2066text\r\n');
  assert.doesNotMatch(shown, /[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]/);
});
