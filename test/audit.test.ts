import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { chainLine, EMPTY_HEAD, escapeUnprintable, type AuditEvent, type AuditHead } from '../src/audit.ts';
import { verifyAudit, type AuditVerdict } from '../src/audit/verify.ts';

const folder = mkdtempSync(join(tmpdir(), 'sealpost-audit-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const AT = Date.UTC(2026, 0, 1);

interface Chain {
  readonly lines: string[];
  readonly head: AuditHead;
}

function chain(count: number): Chain {
  const lines: string[] = [];
  let head = EMPTY_HEAD;
  for (let index = 1; index <= count; index++) {
    const next = chainLine(head, { event: 'accepted', queue_id: `q${index}` }, AT + index);
    lines.push(next.line.toString());
    head = next.head;
  }
  return { lines, head };
}

function verify(lines: readonly string[], head?: AuditHead) {
  const file = join(folder, 'audit.jsonl');
  writeFileSync(file, lines.join(''));
  return verifyAudit({ file, ...(head === undefined ? {} : { head }) });
}

async function assertBroken(lines: readonly string[], head: AuditHead | undefined, line: number, fault: string): Promise<void> {
  const verdict = await verify(lines, head);
  assert.deepEqual(verdict.kind === 'broken' ? [verdict.line, verdict.fault] : verdict.kind, [line, fault]);
}

test('a line names its number, its time, the event, and the hash of the line before', () => {
  const first = chainLine(EMPTY_HEAD, { event: 'accepted', queue_id: 'q1', size: 5, left_out: undefined }, AT);
  assert.equal(
    first.line.toString(),
    `{"seq":1,"time":"2026-01-01T00:00:00.000Z","event":"accepted","queue_id":"q1","size":5,"prev":"${'0'.repeat(64)}"}\n`,
  );
  const second = chainLine(first.head, { event: 'started' }, AT);
  const hash = createHash('sha256').update(first.line.subarray(0, -1)).digest('hex');
  assert.ok(second.line.toString().endsWith(`"prev":"${hash}"}\n`));
  assert.equal(second.head.bytes, first.line.length + second.line.length);
});

test('behind the recorded head stands what is pending, as far as it is appended, and nothing else', async () => {
  const { lines } = chain(5);
  const { head } = chain(3);
  const pending = Buffer.from(lines.slice(3).join(''));
  const judge = (tail: string, upTo?: number): Promise<AuditVerdict> => {
    const file = join(folder, 'audit.jsonl');
    writeFileSync(file, lines.slice(0, 3).join('') + tail);
    return verifyAudit({ file, head, pending, ...(upTo === undefined ? {} : { upTo }) });
  };
  const [, , , fourth = '', fifth = ''] = lines;
  for (const tail of ['', fourth.slice(0, 9), fourth.slice(0, -1), fourth, fourth + fifth.slice(0, 1), fourth + fifth])
    assert.equal((await judge(tail)).kind, 'whole', tail);
  const other = chainLine(chain(5).head, { event: 'removed' }, AT).line.toString();
  const unlike = chainLine(head, { event: 'removed' }, AT).line.toString();
  for (const [tail, line, fault] of [
    [unlike, 4, 'added'],
    [fourth + fifth + other, 6, 'added'],
    [fourth + fifth + other.slice(0, 9), 6, 'unfinished'],
    [unlike.slice(0, -1), 4, 'unfinished'],
    [`${fourth.slice(0, 9)}\n`, 4, 'added'],
  ] as const) {
    const verdict = await judge(tail);
    assert.deepEqual(verdict.kind === 'broken' ? [verdict.line, verdict.fault] : verdict.kind, [line, fault]);
  }
  assert.equal((await judge(fourth + fifth + other, head.bytes + pending.length)).kind, 'whole', 'what came later is not judged');
});

test('a whole chain verifies, with the head, without it, and with lines behind it', async () => {
  const { lines, head } = chain(50);
  assert.deepEqual(await verify(lines, head), { kind: 'whole', head, beyond: 0 });
  assert.deepEqual(await verify(lines), { kind: 'whole', head, beyond: 50 });
  assert.deepEqual(await verify(lines, chain(48).head), { kind: 'whole', head, beyond: 2 });
  assert.deepEqual(await verify([...lines, '{"seq":51,"ti'], head), { kind: 'whole', head, beyond: 0 });
  assert.deepEqual(await verify([]), { kind: 'whole', head: EMPTY_HEAD, beyond: 0 });
});

test('every edited line is named, wherever it stands and whatever was edited', async () => {
  const { lines, head } = chain(6);
  for (let at = 0; at < 6; at++) {
    const edit = (change: (line: string) => string): string[] => lines.map((line, index) => (index === at ? change(line) : line));
    await assertBroken(
      edit((line) => line.replace('accepted', 'removed')),
      head,
      at + 1,
      'changed',
    );
    await assertBroken(
      edit((line) => line.replace('01.', '02.').replace('00Z', '01Z').replace('"q', '"Q')),
      head,
      at + 1,
      'changed',
    );
    await assertBroken(
      edit((line) => line.replace(/"prev":"./, '"prev":"x')),
      head,
      at + 1,
      'changed',
    );
    await assertBroken(
      edit((line) => line.replace(/"seq":\d+/, '"seq":77')),
      head,
      at + 1,
      'changed',
    );
    await assertBroken(
      edit(() => 'nothing\n'),
      head,
      at + 1,
      'changed',
    );
  }
});

test('a dropped line is named as missing, and as cut at the end, where only the head can tell', async () => {
  const { lines, head } = chain(6);
  for (let at = 0; at < 5; at++) await assertBroken(lines.toSpliced(at, 1), head, at + 1, 'missing');
  await assertBroken(lines.slice(0, 5), head, 6, 'cut');
  await assertBroken(lines.slice(0, 2), head, 3, 'cut');
  await assertBroken([], head, 1, 'cut');
  assert.equal((await verify(lines.slice(0, 5))).kind, 'whole');
});

test('swapped and repeated lines are named', async () => {
  const { lines, head } = chain(6);
  for (let at = 0; at < 5; at++) {
    const swapped = lines.with(at, String(lines[at + 1])).with(at + 1, String(lines[at]));
    await assertBroken(swapped, head, at + 1, 'swapped');
  }
  await assertBroken(lines.toSpliced(3, 0, String(lines[2])), head, 4, 'swapped');
});

test('a chain rewritten behind an edit is noticed against the head', async () => {
  const { lines, head } = chain(3);
  const forged = chainLine(chain(2).head, { event: 'accepted', queue_id: 'q9' }, AT + 3);
  await assertBroken([...lines.slice(0, 2), forged.line.toString()], head, 3, 'changed');
});

test('a line without end costs bounded memory', async () => {
  await assertBroken(['x'.repeat(5_000_000)], chain(1).head, 1, 'changed');
});

test('hostile text in an attribute stays one line, printable, cut, and reads back (A33)', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => {
      const { line } = chainLine(EMPTY_HEAD, { event: 'deferred', reply: text }, AT);
      const shown = line.toString();
      assert.equal(shown.indexOf('\n'), shown.length - 1);
      assert.doesNotMatch(shown.slice(0, -1), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
      const read: unknown = JSON.parse(shown);
      assert.ok(typeof read === 'object' && read !== null && 'reply' in read);
      assert.equal(read.reply, text.length > 1024 ? `${text.slice(0, 1024)}…` : text);
    }),
  );
  const { line } = chainLine(EMPTY_HEAD, { event: 'deferred', reply: '\u001b[2J\r\n\u202Eevil\u2028'.padEnd(1_000_000, 'x') }, AT);
  assert.ok(line.length < 2000);
  assert.doesNotMatch(line.toString().slice(0, -1), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
  assert.equal(escapeUnprintable('\u202E\u{E0001}bücher'), '\\u202e\\udb40\\udc01bücher');
});

test('an attribute that would pass for a part of the chain is refused', () => {
  const forged: AuditEvent[] = ['prev', 'seq', 'time', '__proto__', 'Bad Name'].map((name) => ({ event: 'started', [name]: 1 }));
  for (const event of forged) if (Object.keys(event).length > 1) assert.throws(() => chainLine(EMPTY_HEAD, event, AT), /impossible name/);
});
