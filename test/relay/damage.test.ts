/** P10: what does not fit its checksums is set aside and never sent; everything else flows. */
import assert from 'node:assert/strict';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { goodReplies, type Replies } from '../delivery/peer.ts';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

test(
  'P10 one flipped octet of a stored body: that message is set aside and not sent, the next one is',
  { skip: missingPrograms({ openssl: 'openssl' }) ?? false },
  async (t) => {
    const replies: { greeting: string | undefined } & Replies = { greeting: undefined };
    const upstream = await keepingUpstream(t, replies);
    const site = await makeSite(t, { upstreamPort: upstream.port, config: { retry: { first: '1s', longest: '1s', max_age: '1h' } } });
    const relay = await site.serve();
    const large = `Subject: x\r\n\r\n${'0123456789abcdef\r\n'.repeat(20_000)}`;
    const damaged = await send(relay.port, ['anna@clinic.example', 'otto@clinic.example'], large);
    const [name = ''] = await readdir(join(site.data, 'bodies'));
    await flipOctet(join(site.data, 'bodies', name), 100_000);
    const whole = await send(relay.port, ['anna@clinic.example'], large);
    replies.greeting = goodReplies.greeting;
    await until('the whole message is delivered', () => upstream.deliveries().length > 0);
    await until('both rows are set aside', async () => /damaged\s+2/.test(await site.sealpost('queue', 'stats')));
    const [only, ...others] = upstream.deliveries();
    assert.ok(only?.octets.includes(whole));
    assert.deepEqual(others, []);
    assert.match(await site.sealpost('queue', 'show', damaged), /damaged/);
    await relay.stop();
    await site.sealpost('audit', 'verify');
    assert.equal((await site.sealpost('audit', 'show', '--id', damaged, '--event', 'damaged', '--json')).trim().split('\n').length, 2);
  },
);

async function flipOctet(file: string, position: number): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    const octet = Buffer.alloc(1);
    await handle.read(octet, 0, 1, position);
    octet[0] = (octet[0] ?? 0) ^ 1;
    await handle.write(octet, 0, 1, position);
  } finally {
    await handle.close();
  }
}
