/** A database without room while it records what stands in the audit file: not the file's fault, and over once there is room. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openAuditFile } from '../../src/queue/audit-file.ts';
import { readAuditHead } from '../../src/queue/operator.ts';
import { openDatabase } from '../../src/queue/schema.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { eventually } from '../certificates/openssl.ts';
import { START } from './site.ts';

test('a database that is full refuses no mail in the name of the audit file; with room again the file is whole', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sealpost-audit-'));
  const [path, db] = [join(dir, 'audit.jsonl'), openDatabase(join(dir, 'queue.sqlite'))];
  let refused = 0;
  let full = false;
  const said: string[] = [];
  const audit = await openAuditFile({
    path,
    db,
    backlog: 1024 * 1024,
    rotate: 1024 * 1024,
    hash: undefined,
    transact: (work) => {
      // As node:sqlite throws it; on demand a disk is full for all or for nobody.
      if (full && ++refused > 0) throw Object.assign(new Error('database or disk is full'), { code: 'ERR_SQLITE_ERROR', errcode: 13 });
      work();
    },
    onLost: (error) => assert.fail(error),
    log: (level, message) => void said.push(`${level}: ${message}`),
  });
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= audit.close());
  t.after(async () => {
    await close();
    db.close();
    rmSync(dir, { recursive: true, force: true });
  });
  const record = (): void => {
    audit.stage([{ event: 'stopped' }], START);
    audit.keep();
    audit.settle(true);
  };
  full = true;
  record();
  await eventually(async () => refused > 0);
  assert.deepEqual([audit.refusal(), said], [undefined, []]);
  full = false;
  record();
  await close();
  const verdict = await verifyAudit({ file: path, base: { seq: 0, hash: '0'.repeat(64), bytes: 0 } });
  assert.deepEqual([verdict.kind, readAuditHead(db).seq], ['whole', 2]);
});
