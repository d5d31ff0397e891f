/** Every recorded client stream over SMTP through a running relay: what its reader opens is what a separate program computes. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { expectedEntity, missingPerl } from '../interop/expected-entity.ts';
import { until } from '../interop/ports.ts';
import { openssl } from '../interop/readers.ts';
import { streams } from '../interop/streams.ts';
import { makeSite, type Owner, type RunningRelay, type Site } from './site.ts';
import { send } from './submit.ts';
import { type KeepingUpstream, keepingUpstream } from './upstream.ts';

/** SMTP has no message without a final line end, and ends one at CRLF only. */
const asSent = (octets: Buffer): Buffer =>
  octets.subarray(-2).equals(Buffer.from('\r\n')) ? octets : Buffer.concat([octets, Buffer.from('\r\n')]);

describe('recorded streams through the relay', { skip: missingPerl() ?? openssl.missing() ?? false, concurrency: false }, () => {
  const ends: (() => unknown)[] = [];
  const owner: Owner = { after: (end) => void ends.push(end) };
  let upstream: KeepingUpstream;
  let site: Site;
  let relay: RunningRelay;
  before(async () => {
    upstream = await keepingUpstream(owner);
    site = await makeSite(owner, { upstreamPort: upstream.port, config: { limits: { message_bytes: '40MiB' } } });
    relay = await site.serve();
  });
  after(async () => {
    for (const end of ends.toReversed()) await end();
  });

  for (const { name, octets } of streams) {
    test(name, async () => {
      const message = asSent(octets());
      const id = await send(relay.port, ['anna@clinic.example'], message);
      await until('its delivery', () => upstream.deliveries().some((delivery) => delivery.octets.includes(id)), 30_000);
      const sealed = upstream.deliveries().find((delivery) => delivery.octets.includes(id));
      const reader = await openssl.start(site.readers);
      try {
        const entity = await reader.open(sealed?.octets ?? Buffer.alloc(0), site.readers.people.anna);
        assert.ok(entity.equals(await expectedEntity(message, 'replace')), 'the entity differs');
      } finally {
        await reader.close();
      }
    });
  }
});
