/** `sealpost seal` where the rules of the site do not seal. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { test } from 'node:test';
import { build } from '../../src/commands/seal.ts';
import { temporaryFolder } from './transcript.ts';

const config = {
  hostname: 'relay.clinic.example',
  operator: 'postmaster@clinic.example',
  listen: [{ host: '127.0.0.1', port: 2525 }],
  clients: { networks: ['127.0.0.0/8'] },
  upstream: [{ host: '127.0.0.1', port: 25 }],
};

test('a rule that passes the message is named, and the hint says that there is nothing to seal', async (t) => {
  const cwd = await temporaryFolder(t);
  await mkdir(join(cwd, 'policies'));
  await writeFile(join(cwd, 'sealpost.yaml'), JSON.stringify(config));
  await writeFile(
    join(cwd, 'policies/10-own.yaml'),
    'rules:\n  - { name: newsletter, when: { recipient: "*@list.example" }, then: pass }\n  - { name: rest, then: seal, subject: keep, missing: refuse }\n',
  );
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const stdin = Readable.from([Buffer.from('From: a@clinic.example\r\nSubject: s\r\n\r\nbody\r\n')]);
  const command = build({ stdin, stdout, stderr, env: {}, cwd, colour: false });
  const sealing = command.parseAsync(['--from', 'a@clinic.example', '--to', 'b@list.example'], { from: 'user' });
  await assert.rejects(sealing, { code: 'pass-unavailable', message: /rule newsletter/, hint: /nothing to seal/ });
  assert.equal(stdout.read(), null);
});
