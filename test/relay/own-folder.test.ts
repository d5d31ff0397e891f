/** The relay's own folder of certificates at a first start: it is made, doubted by nobody, and live. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { until } from '../interop/ports.ts';
import { missingPrograms, run } from '../interop/programs.ts';
import { CLI, makeSite } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };
const BEN = 'ben@clinic.example';

test(
  'at the first start an unknown recipient is refused at once (P5), and what the relay takes itself is used',
  needsOpenssl,
  async (t) => {
    const upstream = await keepingUpstream(t);
    const site = await makeSite(t, { upstreamPort: upstream.port, people: ['anna'] });
    const relay = await site.serve();
    await assert.rejects(send(relay.port, [BEN]), /550 5\.7\.1/);
    const own = join(site.data, 'certs');
    assert.equal((await stat(own)).mode & 0o777, 0o700);
    await copyFile(site.readers.people.ben.certificate, join(own, 'ben.pem'));
    const taken = async (): Promise<boolean> => {
      try {
        return (await send(relay.port, [BEN])) !== '';
      } catch {
        return false;
      }
    };
    await until('ben is a reader', taken, 30_000);
    assert.match(await site.sealpost('certs', 'list'), /^ben@clinic\.example .*data\/certs\/ben\.pem/m);
    await relay.stop();
    // As for an operator who may not look into the data folder.
    await rm(own, { recursive: true });
    await writeFile(own, '');
    const listed = await run(process.execPath, [CLI, '-c', site.file, 'certs', 'list'], { cwd: site.dir });
    assert.equal(listed.code, 0, listed.stderr);
    assert.match(listed.stdout.toString(), /^anna@clinic\.example /m);
    assert.match(listed.stderr, /data\/certs, where the relay keeps its own, is not shown: ENOTDIR/);
  },
);

test('a link in the place of the own folder is told, and mail is taken all the same', needsOpenssl, async (t) => {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, { upstreamPort: upstream.port, people: ['ben'] });
  await mkdir(join(site.dir, 'elsewhere'));
  await symlink(join(site.dir, 'elsewhere'), join(site.data, 'certs'));
  const relay = await site.serve();
  assert.match(relay.log(), /data\/certs is a symbolic link/);
  assert.notEqual(await send(relay.port, [BEN]), '');
  await relay.stop();
});
