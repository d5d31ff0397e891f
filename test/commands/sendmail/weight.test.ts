/** What a mail costs is mostly what is loaded: 0.3 s are promised, so no library comes in unnoticed. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { run } from '../../interop/programs.ts';
import { temporaryFolder } from '../transcript.ts';

const CLI = resolve(import.meta.dirname, '../../../src/cli.ts');

const HOOK = `
import { registerHooks } from 'node:module';
import process from 'node:process';
const packages = new Set();
registerHooks({
  load(url, context, next) {
    const name = /\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)\\//.exec(url)?.[1];
    if (name !== undefined) packages.add(name);
    return next(url, context);
  },
});
process.on('exit', () => process.stdout.write([...packages].sort().join(' ')));
`;

test('sealpost sendmail loads the readers of the configuration and no other package', async (t) => {
  const folder = await temporaryFolder(t);
  const hook = join(folder, 'hook.mjs');
  await writeFile(hook, HOOK);
  const config = join(folder, 'sealpost.yaml');
  await writeFile(
    config,
    'hostname: x.example\noperator: a@x.example\nlisten: [{ host: 127.0.0.1, port: 1 }]\nupstream: [{ host: 127.0.0.1, port: 2 }]\n',
  );
  const args = ['--import', pathToFileURL(hook).href, CLI, '-c', config, 'sendmail', '-f', 'f@x.example', 'a@x.example'];
  const { code, stdout, stderr } = await run(process.execPath, args, { input: Buffer.from('Subject: x\n\nbody\n') });
  assert.equal(code, 69, stderr);
  assert.equal(stdout.toString(), 'yaml zod');
});
