import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { SmtpParser } from '../../src/ingress/unstuffing.ts';

interface Parsed {
  readonly message: string;
  readonly commands: readonly string[];
}

/** What follows DATA, cut at `cuts`: the message, and the commands behind its end. */
async function parse(text: string, cuts: readonly number[] = []): Promise<Parsed> {
  const parser = new SmtpParser();
  const commands: string[] = [];
  parser.oncommand = (command, callback) => {
    commands.push(command.toString('latin1'));
    callback?.();
  };
  const out: Buffer[] = [];
  const stream = parser.startDataMode();
  stream.on('data', (chunk: Buffer) => out.push(chunk));
  const ended = new Promise<void>((resolve) => void stream.on('end', resolve));
  void ended.then(() => parser.continue());
  let at = 0;
  for (const cut of [...cuts, text.length].toSorted((a, b) => a - b)) {
    if (cut <= at) continue;
    await new Promise((resolve) => parser.write(Buffer.from(text.slice(at, cut), 'latin1'), resolve));
    at = cut;
  }
  await ended;
  return { message: Buffer.concat(out).toString('latin1'), commands };
}

/** The same by the words of RFC 5321 §4.5.2, all of it in memory. */
function expected(text: string): Parsed {
  const at = `\r\n${text}`.indexOf('\r\n.\r\n');
  const body = text.slice(0, Math.max(0, at));
  return {
    message: body.replace(/(^|\n)\.\./g, '$1.'),
    commands: text
      .slice(at + '.\r\n'.length)
      .split(/\r?\n/)
      .slice(0, -1),
  };
}

const piece = fc.constantFrom('\r\n', '\n', '\r', '.', '..', 'a', '\r\n.', '\n.', '\r\n..', '\n..', '\r\n.\r', '\n.\n', '\r.\r\n', '\0');
const data = fc.array(piece, { maxLength: 10 }).map((parts) => `${parts.join('')}\r\n.\r\nNOOP\r\n`);

test('A1: whatever is sent, however it is cut: the message ends at CRLF.CRLF, and stuffed dots alone are taken away', async () => {
  await fc.assert(
    fc.asyncProperty(data, fc.array(fc.nat(60), { maxLength: 12 }), async (text, cuts) => {
      const wanted = expected(text);
      assert.deepEqual(await parse(text), wanted);
      assert.deepEqual(await parse(text, cuts), wanted);
      assert.deepEqual(
        await parse(
          text,
          Array.from(text, (_, index) => index),
        ),
        wanted,
      );
    }),
    { numRuns: 1500 },
  );
});

test('A32: a message of nothing but stuffed dots costs no more than another', async () => {
  const parser = new SmtpParser();
  const stream = parser.startDataMode();
  let octets = 0;
  stream.on('data', (chunk: Buffer) => (octets += chunk.length));
  const chunk = Buffer.from('\r\n..'.repeat(16_384));
  const started = performance.now();
  for (let count = 0; count < 256; count++) await new Promise((resolve) => parser.write(chunk, resolve));
  // A turn of the event loop for each of its four million dots takes far longer.
  assert.ok(performance.now() - started < 4000, `${performance.now() - started} ms`);
  assert.ok(octets > 256 * 16_384 * 3 - 10);
});
