/** Memory that does not grow with the message (P6), of the relay as the process that an operator runs. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { missingPrograms } from '../interop/programs.ts';
import { memoryOf } from './footprint.ts';

const MIB = 1024 * 1024;
const skip = missingPrograms({ 'smtp-sink': 'postfix' }) ?? (existsSync('/proc/self/clear_refs') ? false : 'there is no /proc');

test('a message of 64 MiB passes through less than 40 MiB over idle', { skip }, async (t) => {
  const { overIdle } = await memoryOf(1, 64 * MIB, t);
  assert.ok(overIdle < 40, `${overIdle.toFixed(1)} MiB over idle`);
});
