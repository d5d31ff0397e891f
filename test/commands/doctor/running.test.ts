/** What `doctor` says of a relay that does not take mail, and of how its process was started. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { pino } from 'pino';
import { inspectRunning } from '../../../src/commands/doctor/running.ts';
import { dumpsCore } from '../../../src/commands/sandbox/core-limit.ts';
import { serveControl } from '../../../src/control.ts';
import { makeReadiness } from '../../../src/readiness.ts';
import { temporaryFolder } from '../transcript.ts';

test('a relay that drains is a fault with its mend, and a note a warning', async (t) => {
  const readiness = makeReadiness({ now: Date.now, onChange: () => {} });
  const socket = join(await temporaryFolder(t), 'control.sock');
  // This very process stands for the relay, and it has no sandbox.
  const state = () => Promise.resolve({ ...readiness.standing(), version: '1', pid: process.pid });
  const control = await serveControl({ socket, handlers: { state }, log: pino({ level: 'silent' }) });
  t.after(() => control.close());
  readiness.tell('storage-full', true);
  readiness.tell('starting', false);
  readiness.tell('upstreams-failing', true);
  const found = await inspectRunning(socket);
  const relay = found.filter(({ check }) => check === 'relay').map(({ verdict, text, mend }) => `${verdict}: ${text}: ${mend}`);
  assert.deepEqual(relay, [
    'fault: draining: the disk of the data folder is full but for its reserve (storage-full): make room on it: mail is taken again within a second',
    'warning: no upstream can be reached; mail is taken, and waits (upstreams-failing): sealpost doctor asks each of them; sealpost queue list says why mail waits',
  ]);
  assert.ok(found.some(({ check, verdict, text }) => check === 'process' && verdict === 'warning' && /without its sandbox/.test(text)));
});

test('a limit below a page is no core dump: the one octet of the relay among them', () => {
  const limits = (soft: string): string => `Limit   Soft Limit   Hard Limit   Units\nMax core file size        ${soft}    1    bytes\n`;
  assert.deepEqual(['0', '1', '4095', '4096', 'unlimited'].map(limits).map(dumpsCore), [false, false, false, true, true]);
  assert.equal(dumpsCore(''), undefined);
});
