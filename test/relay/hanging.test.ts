/** A file server that is gone: the relay stops all the same, and says how. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { hangReadsOf } from '../certificates/openssl.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite, type RunningRelay, type Site } from './site.ts';
import { keepingUpstream } from './upstream.ts';

const STOP_CEILING_MS = 20_000;

interface Stopped {
  readonly site: Site;
  readonly relay: RunningRelay;
}

/** Started, asked to stop when a read of a certificate hangs, and gone while it hangs still. */
async function stopWhileHanging(t: TestContext, prefix: readonly string[] = []): Promise<Stopped> {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port });
  const stuck = join(site.dir, 'certs/recipients/stuck.pem');
  await copyFile(site.readers.people.dora.certificate, stuck);
  const holder = await hangReadsOf(stuck);
  t.after(() => holder.kill('SIGKILL'));
  assert.ok(holder.stdout !== null);
  const asked = once(holder.stdout, 'data');
  const relay = await site.serve(prefix);
  assert.equal(String((await asked)[0]), 'asked');
  const begun = performance.now();
  await relay.stop();
  assert.ok(performance.now() - begun < STOP_CEILING_MS);
  assert.equal(holder.exitCode, null, 'the read hangs still');
  return { site, relay };
}

async function assertOrderly({ site, relay }: Stopped): Promise<void> {
  assert.match(relay.log(), /"msg":"stopped"/);
  await site.sealpost('audit', 'verify');
  assert.match(await site.sealpost('audit', 'show', '--event', 'stopped', '--json'), /"stopped"/);
}

test(
  'SIGTERM ends a relay in which a read of a certificate hangs, by SIGTERM and with the stop in the audit log',
  { skip: missingPrograms({ openssl: 'openssl', perl: 'perl' }) ?? false },
  async (t) => {
    const stopped = await stopWhileHanging(t);
    // No exit code: Node waits for the call before it leaves with one. A service manager takes this for a clean end.
    assert.deepEqual([stopped.relay.child.exitCode, stopped.relay.child.signalCode], [null, 'SIGTERM']);
    await assertOrderly(stopped);
  },
);

test(
  'as the first process of a container, which no signal of its own ends, it ends all the same',
  { skip: missingPrograms({ openssl: 'openssl', perl: 'perl', unshare: 'util-linux' }) ?? false },
  async (t) => {
    const stopped = await stopWhileHanging(t, ['unshare', '--map-root-user', '--pid', '--fork', '--kill-child']);
    await assertOrderly(stopped);
  },
);
