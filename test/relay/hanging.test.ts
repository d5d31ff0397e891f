/** A file server that is gone: the relay stops all the same, and says how. */
import assert from 'node:assert/strict';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { hangReadsOf } from '../certificates/openssl.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from './site.ts';
import { keepingUpstream } from './upstream.ts';

test(
  'SIGTERM ends a relay in which a read of a certificate hangs, with exit code 0 and the stop in the audit log',
  { skip: missingPrograms({ openssl: 'openssl', perl: 'perl' }) ?? false },
  async (t) => {
    const upstream = await keepingUpstream(t);
    const site = await makeSite(t, { upstreamPort: upstream.port });
    const stuck = join(site.dir, 'certs/recipients/stuck.pem');
    await copyFile(site.readers.people.dora.certificate, stuck);
    const holder = await hangReadsOf(stuck);
    t.after(() => holder.kill('SIGKILL'));
    const relay = await site.serve();
    const begun = performance.now();
    await relay.stop();
    assert.ok(performance.now() - begun < 15_000);
    assert.equal(holder.exitCode, null, 'the read hangs still');
    assert.deepEqual([relay.child.exitCode, relay.child.signalCode], [0, null]);
    assert.match(relay.log(), /"msg":"stopped"/);
    await site.sealpost('audit', 'verify');
    assert.match(await site.sealpost('audit', 'show', '--event', 'stopped', '--json'), /"stopped"/);
  },
);
