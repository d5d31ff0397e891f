/** Addresses that programs read in different ways, from the script's RCPT to the one that the upstream hears: a real relay. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { converse, scriptedUpstream, type Transcript } from '../delivery/peer.ts';
import { dialogue } from '../ingress/dialogue.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from '../relay/site.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';

/** Each is one mailbox of clinic.example, whatever else stands in it. */
const MAILBOXES = [
  '"victim@evil.example"@clinic.example',
  '"a,victim@evil.example"@clinic.example',
  '"a>,<victim@evil.example"@clinic.example',
  '"a (victim@evil.example)"@clinic.example',
  '"g:victim@evil.example;"@clinic.example',
  'victim%evil.example@clinic.example',
  'evil.example!victim@clinic.example',
  'a%0d%0aRCPT=evil.example@clinic.example',
  '*@clinic.example',
  '{a}@clinic.example',
  "o'a`id`$HOME|x@clinic.example",
];

/** What is more than one mailbox to somebody, or none. */
const REFUSED = [
  'a@clinic.example,victim@evil.example',
  'a@clinic.example victim@evil.example',
  'g:a@clinic.example,victim@evil.example;',
  'a@clinic.example(@evil.example)',
  'a@evil.example@clinic.example',
  'a\uff20evil.example@clinic.example',
  'a\u2028victim@clinic.example',
  '"a\\\u0000"@clinic.example',
  'a\rRCPT TO:<victim@evil.example>\r@clinic.example',
  '@evil.example:a@clinic.example',
  '{a,b}@clinic.example',
];

test(
  'A8: an odd address is refused, or the same mailbox for the rules, in the reply, the audit log, the queue and RCPT',
  { skip: missingPrograms({ openssl: 'openssl' }) ?? false },
  async (t) => {
    const said: Transcript[] = [];
    const upstream = await scriptedUpstream((peer) => {
      const transcript: Transcript = { commands: [], messages: [] };
      said.push(transcript);
      return converse(peer, {}, transcript);
    });
    t.after(() => upstream[Symbol.asyncDispose]());
    const commands = (verb: string): string[] => said.flatMap((one) => one.commands).filter((line) => line.startsWith(verb));
    const rules = [
      { name: 'evil', when: { recipient: '*@evil.example' }, then: 'seal', subject: 'keep', missing: 'refuse' },
      { name: 'news', when: { recipient: '*@clinic.example' }, then: 'pass' },
    ];
    const site = await makeSite(t, { upstreamPort: upstream.port, rules });
    const relay = await site.serve();
    const client = await dialogue(relay.port);
    t.after(() => client.close());
    await client.expect(/^220/);
    await client.ask('EHLO web.clinic.example', /^250/);
    for (const line of ['SIZE=1;RCPT', 'SIZE=1\rRCPT TO:<victim@evil.example>', 'SIZE=-1', 'SIZE=1e9', 'SIZE=0x10', 'SIZE=1 SIZE=2'])
      await client.ask(`MAIL FROM:<forms@clinic.example> ${line}`, /^(?:501|555) 5\.5\.4 /);
    await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
    for (const address of REFUSED) await client.ask(`RCPT TO:<${address}>`, /^(?:501 5\.1\.3|501 5\.5\.4|553 5\.6\.7|555 5\.5\.4) /);
    await client.ask('DATA', /^503 /);
    for (const address of MAILBOXES) {
      const mail = 'From: forms@clinic.example\r\nSubject: x\r\n\r\nbody\r\n';
      await send(relay.port, [address], mail, { sender: '"victim@evil.example"@clinic.example' });
    }
    await until('all are delivered', () => said.flatMap(({ messages }) => messages).length === MAILBOXES.length);
    await relay.stop();
    const sorted = [...MAILBOXES].sort();
    // Between < and the last >, since one may hold another.
    const heard = commands('RCPT').map((line) => line.slice('RCPT TO:<'.length, line.lastIndexOf('>')));
    assert.deepEqual(heard.sort(), sorted);
    for (const line of commands('MAIL')) assert.match(line, /^MAIL FROM:<"victim@evil\.example"@clinic\.example>/);
    assert.equal(commands('MAIL').length, MAILBOXES.length);
    const events = (await site.sealpost('audit', 'show', '--json'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line): Record<string, unknown> => JSON.parse(line));
    for (const name of ['passed', 'delivered']) {
      const of = events.filter(({ event }) => event === name);
      assert.deepEqual(of.map(({ recipient }) => String(recipient)).sort(), sorted, name);
    }
    assert.ok(events.every(({ event, rule }) => event !== 'passed' || rule === 'news'));
  },
);

test(
  'A8: an EHLO name is a name: what commands or fields it holds are said nowhere',
  { skip: missingPrograms({ openssl: 'openssl' }) ?? false },
  async (t) => {
    const upstream = await keepingUpstream(t);
    const site = await makeSite(t, { upstreamPort: upstream.port });
    const relay = await site.serve();
    const names = [
      'x\rMAIL FROM:<evil@evil.example>',
      'x\u0000y',
      'x <evil@evil.example>',
      'x\u2028Bcc: evil@evil.example',
      '[127.0.0.1] for <evil@evil.example>;',
    ];
    let taken = 0;
    for (const name of names) {
      const client = await dialogue(relay.port);
      t.after(() => client.close());
      await client.expect(/^220/);
      const [reply = ''] = await client.ask(`EHLO ${name}`, /^(?:250|501)/);
      if (reply.startsWith('501')) continue;
      await client.ask('MAIL FROM:<forms@clinic.example>', /^250/);
      await client.ask('RCPT TO:<anna@clinic.example>', /^250/);
      await client.ask('DATA', /^354/);
      await client.ask('Subject: x\r\n\r\nbody\r\n.', /^250/);
      taken++;
    }
    await until('what was taken is delivered', () => upstream.deliveries().length === taken);
    for (const { octets, recipient } of upstream.deliveries()) {
      assert.equal(recipient, 'anna@clinic.example');
      const outer = octets.toString('latin1').split('\r\n\r\n', 1)[0] ?? '';
      assert.match(outer, /^[\x20-\x7e\t\r\n]*$/);
      // One trace field, and no other field holds a word of it.
      assert.equal(outer.match(/^Received:/gm)?.length, 1);
      assert.doesNotMatch(outer.replace(/^Received:.*(?:\r\n[ \t].*)*/m, ''), /evil|Bcc/);
    }
    await relay.stop();
  },
);
