/** The yardsticks of the benches, tried on what is known. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import process from 'node:process';
import { test } from 'node:test';
import { measureMemory } from './memory.ts';
import { comparePairs, spread } from './pairs.ts';

test('a spread is least, middle and most', () => {
  assert.deepEqual(spread([5, 1, 9]), { min: 1, median: 5, max: 9 });
  assert.deepEqual(spread([4, 1, 3, 2]), { min: 1, median: 2, max: 4 });
});

test('the first run of each is not counted, and turns alternate', async () => {
  const order: string[] = [];
  const run = (name: string, rates: number[]) => async (): Promise<number> => {
    order.push(name);
    return rates.shift() ?? Number.NaN;
  };
  const result = await comparePairs(3, run('o', [999, 10, 20, 60]), run('t', [1, 10, 10, 20]));
  assert.equal(order.join(''), 'otottoot');
  assert.deepEqual(result.ratio, { min: 1, median: 2, max: 3 });
});

/** Allocates, touches and drops as many MiB as a line of stdin says, then answers. */
const GREEDY = `
  const { createInterface } = require('node:readline');
  createInterface({ input: process.stdin }).on('line', (line) => {
    Buffer.alloc(Number(line) * 1024 * 1024, 1);
    process.stdout.write('done\\n');
  });`;

test(
  'memory over idle is the peak, not what is left of it',
  { skip: existsSync('/proc/self/clear_refs') ? false : 'there is no /proc' },
  async () => {
    const child = spawn(process.execPath, ['-e', GREEDY], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const take = async (mib: number): Promise<void> => {
        child.stdin.write(`${mib}\n`);
        await once(child.stdout, 'data');
      };
      const pid = child.pid;
      assert.ok(pid !== undefined);
      const small = await measureMemory(
        pid,
        () => take(1),
        () => take(1),
      );
      const large = await measureMemory(
        pid,
        () => take(1),
        () => take(200),
      );
      assert.ok(small.overIdle < 30, `${small.overIdle} MiB for one MiB`);
      assert.ok(large.overIdle > 150 && large.overIdle < 260, `${large.overIdle} MiB for 200 MiB`);
    } finally {
      child.kill();
      await once(child, 'exit');
    }
  },
);
