/** RFC 3461 at the listener: what a script asks to be told, read strictly and kept as it was sent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { notifyText, parseNotify } from '../../src/message/notify.ts';
import { makeFront } from './front.ts';

const bad: { readonly mail: readonly string[]; readonly rcpt: readonly string[] } = {
  mail: [
    'RET',
    'RET=BODY',
    'RET=HDRS RET=HDRS',
    'ENVID',
    'ENVID=a=b',
    'ENVID=a+',
    'ENVID=a+0',
    'ENVID=a+3d',
    'ENVID=x+0D+0A',
    'ENVID=x+7F',
    'ENVID=x+80',
    'ENVID=é',
    `ENVID=${'x'.repeat(101)}`,
    'ENVID=1 ENVID=2',
  ],
  rcpt: [
    'NOTIFY',
    'NOTIFY=ALWAYS',
    'NOTIFY=NEVER,FAILURE',
    'NOTIFY=NEVER,NEVER',
    'NOTIFY=FAILURE,FAILURE',
    'NOTIFY=FAILURE,',
    'NOTIFY=FAILURE,DELAY,SUCCESS,NEVER',
    'NOTIFY=NEVER NOTIFY=NEVER',
    'ORCPT',
    'ORCPT=b@y.example',
    'ORCPT=rfc822;',
    'ORCPT=;b@y.example',
    'ORCPT=rfc 822;b',
    'ORCPT=rfc822;b+0Ab',
    'ORCPT=rfc822;b+zz',
    `ORCPT=rfc822;${'x'.repeat(494)}`,
    'ORCPT=rfc822;b ORCPT=rfc822;b',
    'ENVID=1',
    'RET=HDRS',
  ],
};

test('parameters of RFC 3461 that are not as it says are answered 501 or 555, and no recipient is asked for', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  for (const parameter of bad.mail) await client.ask(`MAIL FROM:<a@x.example> ${parameter}`, /^501 5\.5\.4/);
  await client.ask('MAIL FROM:<a@x.example> NOTIFY=NEVER', /^555 5\.5\.4/);
  await client.ask('MAIL FROM:<a@x.example>', /^250/);
  for (const parameter of bad.rcpt)
    await client.ask(`RCPT TO:<b@y.example> ${parameter}`, /^(?:ENVID|RET)/.test(parameter) ? /^555 5\.5\.4/ : /^501 5\.5\.4/);
  assert.deepEqual(front.asked, []);
});

test('what was asked reaches the envelope as it was sent; RET=FULL is taken', async (t) => {
  const front = await makeFront(t);
  const client = await front.open();
  await client.ask(`MAIL FROM:<a@x.example> ret=full ENVID=QQ+2B1+3D+20${'x'.repeat(87)}`, /^250/);
  await client.ask('RCPT TO:<b@y.example> NOTIFY=success,DELAY,Failure ORCPT=RFC822;Old+2Bone@y.example', /^250/);
  await client.ask('RCPT TO:<c@y.example> NOTIFY=Never ORCPT=x400;/a+3Db/;c', /^250/);
  await client.ask(`RCPT TO:<d@y.example> ORCPT=utf-8;d\\x{FC}${'x'.repeat(486)}`, /^250/);
  await client.ask('RCPT TO:<e@y.example>', /^250/);
  await client.ask('DATA', /^354/);
  await client.ask('x\r\n.', /^250/);
  const envelope = front.taken[0]?.envelope;
  assert.equal(envelope?.envid, `QQ+2B1+3D+20${'x'.repeat(87)}`);
  assert.deepEqual(
    envelope?.recipients.map(({ mailbox, notify, orcpt }) => [mailbox.localPart, notifyText(notify), orcpt?.slice(0, 30) ?? null]),
    [
      ['b', 'SUCCESS,FAILURE,DELAY', 'RFC822;Old+2Bone@y.example'],
      ['c', 'NEVER', 'x400;/a+3Db/;c'],
      ['d', null, 'utf-8;d\\x{FC}xxxxxxxxxxxxxxxxx'],
      ['e', null, null],
    ],
  );
});

test('whatever a client says, what is kept is printable ASCII without blanks, and NOTIFY reads back as the same', async (t) => {
  const front = await makeFront(t, { limits: { messageBytes: 1000, recipients: 100_000, connections: 5 } });
  const piece = fc.constantFrom(
    '+',
    '+2B',
    '+0A',
    '=',
    ';',
    'rfc822;',
    'utf-8;',
    'a',
    '\\x{FC}',
    '\u00e9',
    '\u202e',
    ',',
    'NEVER',
    'FAILURE',
    ' ',
  );
  const value = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(''));
  const client = await front.open();
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(value, value, value, async (envid, notify, orcpt) => {
      await client.ask('RSET', /^250/);
      const [mail = ''] = await client.ask(`MAIL FROM:<a@x.example> ENVID=${envid}`, /^(?:250|501 5\.5\.4|555 5\.5\.4) /);
      if (!mail.startsWith('250')) return;
      const [rcpt = ''] = await client.ask(`RCPT TO:<b@y.example> NOTIFY=${notify} ORCPT=${orcpt}`, /^(?:250|501 5\.5\.4|555 5\.5\.4) /);
      if (!rcpt.startsWith('250')) return;
      client.send('DATA\r\nx\r\n.\r\n');
      await client.expect(/^354/);
      await client.expect(/^250/);
      taken++;
      const envelope = front.taken.at(-1)?.envelope;
      const [recipient] = envelope?.recipients ?? [];
      assert.ok(envelope !== undefined && recipient !== undefined);
      for (const kept of [envelope.envid, recipient.orcpt]) assert.match(kept ?? '', /^[\x21-\x7e]+$/);
      assert.deepEqual(parseNotify(notifyText(recipient.notify) ?? ''), recipient.notify);
    }),
    { numRuns: 800, examples: [['a', 'NEVER', 'rfc822;a']] },
  );
  assert.ok(taken > 0);
});
