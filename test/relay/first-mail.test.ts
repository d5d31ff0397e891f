/** The first five minutes of an operator: init, certs issue, check, serve, one mail by swaks, opened by openssl. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { until } from '../interop/ports.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import { CLI, serve } from './site.ts';
import { keepingUpstream } from './upstream.ts';

test(
  'a site from init, a certificate from issue, a mail by swaks, opened by openssl and by open',
  { skip: missingPrograms({ openssl: 'openssl', swaks: 'swaks' }) ?? false },
  async (t) => {
    const upstream = await keepingUpstream(t);
    const cwd = await mkdtemp(join(tmpdir(), 'sealpost-first-'));
    t.after(() => rm(cwd, { recursive: true, force: true }));
    const sealpost = async (...args: string[]): Promise<string> => (await succeed(process.execPath, [CLI, ...args], { cwd })).toString();

    assert.match(await sealpost('init'), /next:\n/);
    const file = join(cwd, 'sealpost.yaml');
    const written = await readFile(file, 'utf8');
    const moved = written.replace('port: 2525', 'port: 0').replace(/port: 25\b/, `port: ${upstream.port}`);
    assert.notEqual(moved, written);
    await writeFile(file, moved);
    await sealpost('certs', 'issue', 'anna@clinic.example', '--name', 'Dr Anna');
    assert.match(await sealpost('certs', 'list'), /anna@clinic\.example/);
    assert.match(await sealpost('check'), /all well/);
    assert.match(await sealpost('explain', '--from', 'forms@clinic.example', '--to', 'anna@clinic.example'), /seal/);

    const relay = await serve(t, file);
    const envelope = ['--server', `127.0.0.1:${relay.port}`, '--from', 'forms@clinic.example', '--to', 'anna@clinic.example'];
    await succeed('swaks', [...envelope, '--header', 'Subject: hello', '--body', 'It hurts here.']);
    await until('the delivery', () => upstream.deliveries().length === 1);
    await relay.stop();

    const sealed = join(cwd, 'message.eml');
    await writeFile(sealed, upstream.deliveries()[0]?.octets ?? '');
    const p12 = ['-in', 'issued/anna@clinic.example.p12', '-passin', 'file:issued/anna@clinic.example.password'];
    await succeed('openssl', ['pkcs12', ...p12, '-nodes', '-out', 'anna.pem'], { cwd });
    const entity = (await succeed('openssl', ['cms', '-decrypt', '-in', 'message.eml', '-recip', 'anna.pem'], { cwd })).toString();
    assert.match(entity, /^Subject: hello\r$/m);
    assert.match(entity, /^It hurts here\.\r$/m);
    const shown = await sealpost('open', 'message.eml', '--p12', 'issued/anna@clinic.example.p12');
    assert.match(shown, /^Subject: New message from clinic\.example \[[0-9a-z]{15}\]$/m);
    assert.match(shown, /^Subject: hello {3}\(was under the seal\)$/m);
    assert.match(shown, /^It hurts here\.$/m);
  },
);
