/** Content keys and IVs of a hundred thousand seals, by processes beside each other. */
import assert from 'node:assert/strict';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { make, noOpenssl, rsa, temporaryFolder } from '../certificates/openssl.ts';
import { run } from '../interop/programs.ts';
import { writeFileSync } from 'node:fs';

const PROCESSES = 4;
const SEALS = 25_000;
const KEY = 32;
const IV = 16;

test(
  'A38: no content key and no IV comes twice in 100,000 seals of four processes, CBC and GCM',
  { skip: noOpenssl, timeout: 300_000 },
  async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'anna.der');
    writeFileSync(file, make(folder, { name: 'anna', key: rsa(2048) }));
    const child = resolve(import.meta.dirname, 'seals-child.ts');
    const runs = await Promise.all(Array.from({ length: PROCESSES }, () => run(process.execPath, [child, file, String(SEALS)])));
    const keys = new Set<string>();
    const ivs = new Set<string>();
    for (const { code, stdout, stderr } of runs) {
      assert.equal(code, 0, stderr);
      assert.equal(stdout.length, SEALS * (KEY + IV));
      for (let at = 0; at < stdout.length; at += KEY + IV) {
        keys.add(stdout.toString('latin1', at, at + KEY));
        ivs.add(stdout.toString('latin1', at + KEY, at + KEY + IV));
      }
    }
    assert.equal(keys.size, PROCESSES * SEALS);
    assert.equal(ivs.size, PROCESSES * SEALS);
    // Nor is a half of one key a half of another, as of a generator with little inside.
    assert.equal(new Set([...keys].map((key) => key.slice(0, KEY / 2))).size, keys.size);
  },
);
