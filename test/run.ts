/**
 * `npm test`: every *.test.ts under test/, each file in a process of its own. Arguments narrow it: `npm test -- seal queue/lock`.
 * The last line is the plain count. A test that lacks its program skips and says which; under CI that is a failure.
 */
import { execFileSync } from 'node:child_process';
import { globSync } from 'node:fs';
import path from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import process from 'node:process';

const wanted = process.argv.slice(2);
const files = globSync('test/**/*.test.ts')
  .sort()
  .filter((file) => wanted.length === 0 || wanted.some((word) => file.includes(word)));
if (files.length === 0) {
  process.stderr.write(`no test file matches ${wanted.join(' ')}\n`);
  process.exit(2);
}

// Hundreds of processes load the same sources: compiled once, a start costs half.
process.env['NODE_COMPILE_CACHE'] ??= path.resolve('node_modules/.cache/compiled');

// Relays are started by the hundred.
execFileSync('npm', ['run', '--silent', 'prepare'], { stdio: 'inherit' });
process.env['RELAY_UNDER_TEST'] ??= path.resolve('dist/cli.js');

const skipped: string[] = [];
let passed = 0;
let ok = true;
const failures: string[] = [];

const stream = run({ files, concurrency: 2, timeout: 10 * 60_000, execArgv: ['--disable-warning=ExperimentalWarning'] });
stream.on('test:pass', (event) => {
  if (event.details.type === 'suite') return;
  if (event.skip === undefined) passed++;
  else skipped.push(`${event.name}: ${String(event.skip)}`);
});
stream.on('test:fail', (event) => {
  // A suite that failed only because a test in it did is counted there.
  const { error } = event.details;
  if (!('failureType' in error) || error.failureType !== 'subtestsFailed') failures.push(event.name);
});
stream.on('test:summary', (event) => {
  if (event.file !== undefined) return;
  ok = event.success;
});
stream.compose(new spec()).pipe(process.stdout);
stream.on('end', () => {
  process.on('exit', () => {
    for (const line of skipped) process.stdout.write(`skipped ${line}\n`);
    const tail = skipped.length > 0 ? `, ${skipped.length} skipped` : '';
    process.stdout.write(`${passed} passed, ${failures.length} failed${tail}\n`);
    if (!ok || failures.length > 0 || (process.env['CI'] !== undefined && skipped.length > 0)) process.exitCode = 1;
  });
});
