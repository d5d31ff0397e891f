/**
 * A revocation list of 500,000 entries in a process of its own: how long the first who asks waits while it is fetched, verified and
 * indexed; how long a restart takes, from the copy on disk; how long the main thread is held up meanwhile; the most memory.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { contentOf, entry, makeCa, point, reason } from '../../certificates/revocation/lists.ts';
import { HEAP_FLAGS } from '../../../src/commands/sandbox/flags.ts';
import type { Owner } from '../owner.ts';
import type { CrlFigures } from './crl-child.ts';

const ENTRIES = 500_000;
const SERIAL_OCTETS = 16;

export async function benchCrl(print: (line: string) => void, owner: Owner): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-bench-'));
  owner.after(() => rmSync(folder, { recursive: true, force: true }));
  const ca = makeCa('CA');
  let list = Buffer.alloc(0);
  const server = createServer((_, response) => response.end(list)).listen(0, '127.0.0.1');
  owner.after(() => server.close());
  await once(server, 'listening');
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/ca.crl`;
  const revoked = ca.issue({ points: [point(url)] });
  const entries = Array.from({ length: ENTRIES - 1 }, () =>
    entry(Buffer.concat([Buffer.from([0x40]), randomBytes(SERIAL_OCTETS - 1)]), reason(4)),
  );
  list = Buffer.from(
    ca.list({
      entries: [Buffer.concat(entries), entry(contentOf(revoked), reason(1))],
      from: Date.now() - 1000,
      until: Date.now() + 86_400_000,
    }),
  );
  writeFileSync(join(folder, 'ca.der'), ca.certificate.der);
  writeFileSync(join(folder, 'leaf.der'), revoked.der);
  const child = join(import.meta.dirname, 'crl-child.ts');
  for (const from of ['fetched', 'from disk']) {
    const { stdout } = await promisify(execFile)(process.execPath, [...HEAP_FLAGS, child, folder]);
    const { answer, milliseconds, delay, peak, idle, lookup }: CrlFigures = JSON.parse(stdout);
    print(
      `crl: ${ENTRIES} entries, ${(list.length / 1e6).toFixed(1)} MB, ${from}: ${answer} after ${milliseconds.toFixed(0)} ms (wanted: at most 2000), ` +
        `main thread held up for ${delay.toFixed(0)} ms (100), ${peak.toFixed(0)} MiB at most (200), ${idle.toFixed(0)} before; a look-up ${lookup.toFixed(1)} µs`,
    );
  }
}
