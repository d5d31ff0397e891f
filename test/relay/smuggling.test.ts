import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { dialogue } from '../ingress/dialogue.ts';
import { variants } from '../ingress/smuggling.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import { makeSite } from './site.ts';
import { keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };

test('A1: a trusted script, any end that is none: one sealed message to its one recipient, mended; NUL is 550', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port });
  const relay = await site.serve();
  const clean: Buffer[] = [];
  for (const { name, body, nul } of variants('carla@clinic.example')) {
    const client = await dialogue(relay.port);
    await client.expect(/^220/);
    await client.ask('EHLO web.clinic.example', /^250/);
    await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
    await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
    await client.ask('DATA', /^354/);
    client.send(body);
    await client.ask('.', nul ? /^550 5\.6\.0 the message holds a NUL octet$/ : /^250/).catch((error: unknown) => {
      throw new Error(name, { cause: error });
    });
    await client.ask('NOOP', /^250/);
    client.close();
    if (!nul) clean.push(body);
  }
  await until('all deliveries', () => upstream.deliveries().length === clean.length, 60_000);
  assert.ok(upstream.deliveries().every(({ recipient }) => recipient === 'anna@clinic.example'));

  // One of them opened: line ends are CRLF, and the smuggled transaction is text.
  const { certificate, key } = site.readers.people.anna;
  const sealed = join(site.dir, 'sealed.eml');
  await writeFile(sealed, upstream.deliveries()[0]?.octets ?? '');
  const opened = await succeed('openssl', ['cms', '-decrypt', '-binary', '-in', sealed, '-recip', certificate, '-inkey', key]);
  assert.match(opened.toString('latin1'), /\r\n\r\nbody.*RCPT TO:<carla@clinic\.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n$/s);
  assert.doesNotMatch(opened.toString('latin1'), /\r(?!\n)|(?<!\r)\n/);
  await relay.stop();
});

test('A33: hostile names and addresses stand escaped and cut in replies, log and audit log', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port, config: { log: { level: 'debug' } } });
  const relay = await site.serve();
  const hostile = ['\u001b[31mred', 'a\u202egnp.exe', 'x\u2028y', '\u0007bell', 'a\u00adb', '"a\u202eb"', 'caf\u00e9', 'x'.repeat(1500)];
  for (const text of hostile) {
    const client = await dialogue(relay.port);
    const printable = /^\d{3}[ -][\x20-\x7e]*$/m;
    await client.expect(/^220/);
    await client.ask(`EHLO ${text}`, printable);
    await client.ask('EHLO web.clinic.example', /^250/);
    const [reply = ''] = await client.ask(`MAIL FROM:<${text}@clinic.example> SMTPUTF8`, printable);
    await client.ask(`RCPT TO:<${text}@clinic.example>`, printable);
    if (reply.startsWith('250')) {
      await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
      await client.ask('DATA', /^354/);
      await client.ask(`Subject: ${text}\r\n\r\nx\r\n.`, printable);
    }
    client.close();
  }
  const endless = await dialogue(relay.port);
  await endless.expect(/^220/);
  endless.send(`EHLO ${'\u202e'.repeat(400_000)}\r\n`);
  await endless.expect(/^500 5\.5\.2 [\x20-\x7e]*$/);
  await endless.closed(true);
  await relay.stop();
  const audit = await readFile(join(site.data, 'audit.jsonl'), 'utf8');
  assert.match(audit, /"event":"accepted"/);
  for (const [name, text] of Object.entries({ log: relay.log(), audit })) {
    for (const line of text.split('\n')) {
      // Letters outside ASCII may stand there as they are; what moves, hides or reorders text may not.
      assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u, name);
      assert.ok(line.length < 8_000, `${name}: a line of ${line.length}`);
    }
  }
});
