import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SealpostError } from '../src/errors.ts';
import { makeLog, type LogOptions } from '../src/log.ts';

function capture(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const log = makeLog({ level: 'info', format: 'json', now: () => 0, ...options }, { write: (line: string) => void lines.push(line) });
  const first = (): Record<string, unknown> => JSON.parse(lines[0] ?? '{}');
  return { log, lines, first };
}

test('a line is a JSON object: level, time, static message, attributes', () => {
  const { log, lines } = capture();
  log.debug('not this');
  log.info({ queue_id: 'Q1', octets: 5 }, 'message queued');
  assert.deepEqual(lines, ['{"level":"info","time":"1970-01-01T00:00:00.000Z","queue_id":"Q1","octets":5,"msg":"message queued"}\n']);
});

test('A33: controls and bidi marks are escaped and long values cut, in attributes, their names and children', () => {
  const { log, lines } = capture();
  log
    .child({ helo: 'a\u001b[31m' })
    .info({ helo: 'x\r\ny\u202ez\u2028', deep: { list: ['\u0000'], ['k\u0007']: 1 }, long: 'x'.repeat(1e6) }, 'm');
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^[\x20-\x7e]*\n$/);
  assert.ok((lines[0] ?? '').length < 2000);
  assert.ok(lines[0]?.includes('x\\\\u{d}\\\\u{a}y\\\\u{202e}z\\\\u{2028}'));
});

test('an error of ours shows code and detail, and its causes their name, code and text', () => {
  const { log, first } = capture();
  const cause = Object.assign(new Error("ENOSPC: no space left on device, open '/data/q'"), { code: 'ENOSPC', syscall: 'open' });
  log.error({ err: new SealpostError('storage-full', { detail: 'data/queue', cause }) }, 'command failed');
  const text = "ENOSPC: no space left on device, open '/data/q'";
  const shown = {
    name: 'SealpostError',
    code: 'storage-full',
    detail: 'data/queue',
    cause: { name: 'Error', code: 'ENOSPC', message: text },
  };
  assert.partialDeepStrictEqual(first()['err'], shown);
});

test('P2: what a foreign error quotes from its input is not in the log', () => {
  const { log, lines } = capture();
  let cause: unknown;
  try {
    JSON.parse('{"canary": canary-4711 }');
  } catch (error) {
    cause = error;
  }
  log.error({ err: new SealpostError('internal', { cause }) }, 'command failed');
  log.error(new Error('no such user anna@clinic.example, "canary-4711\nmore canary-4711'), 'command failed');
  log.error(new Error('canary-4711 stays out of the message'.replace('canary-4711', '"canary-4711"')));
  log.info({ chunk: Buffer.from('canary-4711') }, 'octets');
  assert.equal(lines.length, 4);
  assert.ok(!lines.join('').includes('4711'), lines.join(''));
  assert.ok(!lines.join('').includes('anna@'));
});

test('P2: octets are told by their number, in whatever they stand', () => {
  const { log, lines } = capture();
  const octets = Buffer.from('canary');
  log.info({ octets, deep: { list: [new Uint8Array(octets)] } }, 'message queued');
  assert.partialDeepStrictEqual(JSON.parse(lines[0] ?? ''), { octets: '[6 octets]', deep: { list: ['[6 octets]'] } });
});

test('a thrown value that is no error is named by its type only', () => {
  const { log, first } = capture();
  log.error({ err: new SealpostError('internal', { cause: 'secret' }) }, 'command failed');
  assert.partialDeepStrictEqual(first()['err'], { code: 'internal', cause: { thrown: 'string' } });
});

test('pretty: one short line for a person', () => {
  const { log, lines } = capture({ format: 'pretty' });
  log.warn({ host: 'mx.example', text: 'two words\n' }, 'upstream answers slowly');
  assert.deepEqual(lines, ['00:00:00.000 warn  upstream answers slowly host=mx.example text="two words\\\\u{a}"\n']);
});
