/** Certificates that the running relay writes itself. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { describe, test } from 'node:test';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { pino } from 'pino';
import {
  makeOwnFolder,
  ownFolder,
  ownFolderFault,
  writeOwnCertificate,
  writeTakenIntermediate,
} from '../../src/upkeep/own-certificates.ts';
import { make, noOpenssl, run, temporaryFolder } from '../certificates/openssl.ts';

const MODULE = resolve(import.meta.dirname, '../../src/upkeep/own-certificates.ts');
const silent = pino({ level: 'silent' });
const siteOf = (dir: string) => ({ queue: { sqlite: join(dir, 'data/queue.sqlite'), keptBounced: 0 } });

describe("the relay's own folder of certificates", { skip: noOpenssl }, () => {
  const made = temporaryFolder();
  const anna = parseCertificate(make(made, { name: 'anna' }));
  const second = parseCertificate(make(made, { name: 'second', extensions: ['subjectAltName=email:anna@example.org'] }));

  test('each certificate has a file of its own, which openssl reads, named for its address; the folder is closed to others', async () => {
    const dir = temporaryFolder();
    const config = siteOf(dir);
    await makeOwnFolder(config, silent);
    await makeOwnFolder(config, silent);
    assert.equal(statSync(ownFolder(config)).mode & 0o777, 0o700);
    const files = [await writeOwnCertificate(config, anna), await writeOwnCertificate(config, second)];
    for (const [index, { fingerprint }] of [anna, second].entries()) {
      const file = files[index] ?? '';
      assert.equal(file, join(dir, 'data/certs', `anna@example.org-${fingerprint.slice(0, 16)}.pem`));
      assert.equal(statSync(file).mode & 0o777, 0o644);
      const told = run('openssl', ['x509', '-in', file, '-noout', '-fingerprint', '-sha256'], dir);
      assert.equal(told.trim().split('=')[1]?.replaceAll(':', '').toLowerCase(), fingerprint);
    }
    assert.equal(readdirSync(ownFolder(config)).length, 2, 'no temporary file is left');
  });

  test('what is there is kept, also with words of the operator; a cut copy is replaced; another certificate is never overwritten', async () => {
    const config = siteOf(temporaryFolder());
    const file = await writeOwnCertificate(config, anna);
    const noted = `# taken in person\n${readFileSync(file, 'latin1')}`;
    writeFileSync(file, noted);
    assert.equal(await writeOwnCertificate(config, anna), file);
    assert.equal(readFileSync(file, 'latin1'), noted);
    writeFileSync(file, noted.slice(0, 100));
    await writeOwnCertificate(config, anna);
    assert.match(readFileSync(file, 'latin1'), /END CERTIFICATE/);
    writeFileSync(file, readFileSync(join(made, 'second.pem')));
    await assert.rejects(writeOwnCertificate(config, anna), { code: 'file-exists' });
    assert.deepEqual(readFileSync(file), readFileSync(join(made, 'second.pem')));
  });

  test('through a link, and into the folder of somebody else, nothing is written; at the start that is told and no more', async () => {
    const dir = temporaryFolder();
    const config = siteOf(dir);
    const own = ownFolder(config);
    for (const folder of ['data', 'elsewhere']) mkdirSync(join(dir, folder), { mode: 0o700 });
    const refused = async (fault: RegExp): Promise<void> => {
      let told = '';
      const log = pino({ level: 'error' }, { write: (line: string) => (told += line) });
      await makeOwnFolder(config, log);
      assert.match(told, fault);
      await assert.rejects(writeOwnCertificate(config, anna), { code: 'data-folder-unsafe', detail: fault, temporary: true });
    };
    symlinkSync(join(dir, 'elsewhere'), own);
    await refused(/data\/certs is a symbolic link/);
    assert.deepEqual(readdirSync(join(dir, 'elsewhere')), []);
    rmSync(own);
    symlinkSync(join(dir, 'nowhere'), own);
    await refused(/is a symbolic link/);
    assert.ok(lstatSync(own).isSymbolicLink());
    rmSync(own);
    writeFileSync(own, '');
    await refused(/is not a folder/);
    rmSync(join(dir, 'data/intermediates'), { recursive: true });
    symlinkSync(join(dir, 'elsewhere'), join(dir, 'data/intermediates'));
    await assert.rejects(writeTakenIntermediate(config, anna), { code: 'data-folder-unsafe' });
  });

  test(
    'into the folder of somebody else nothing is written',
    { skip: process.getuid?.() === 0 ? false : 'only root gives folders away' },
    () => {
      const dir = temporaryFolder();
      mkdirSync(join(dir, 'data/certs'), { recursive: true });
      for (const folder of [dir, join(dir, 'data')]) chownSync(folder, 65_534, 65_534);
      chownSync(join(dir, 'data/certs'), 1, 1);
      const code = `import { pino } from 'pino';
      import { makeOwnFolder } from ${JSON.stringify(MODULE)};
      await makeOwnFolder({ queue: { sqlite: ${JSON.stringify(join(dir, 'data/queue.sqlite'))} } }, pino());`;
      const root = resolve(import.meta.dirname, '../..');
      const done = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
        cwd: root,
        encoding: 'utf8',
        uid: 65_534,
        gid: 65_534,
      });
      assert.equal(done.status, 0, done.stderr);
      assert.match(done.stdout, /data\/certs belongs to user 1/);
    },
  );

  test('a hostile address is no path', async () => {
    const config = siteOf(temporaryFolder());
    const addresses = ['../../etc/passwd@example.org', `.${'x'.repeat(300)}@example.org`, 'a\u0000b\n@example.org', ''];
    for (const address of addresses) await writeOwnCertificate(config, { ...anna, addresses: [address] });
    const names = readdirSync(ownFolder(config));
    assert.equal(names.length, addresses.length);
    for (const name of names) assert.match(name, /^[A-Za-z0-9@_+=-][A-Za-z0-9@._+=-]{0,180}\.pem$/);
  });

  test('check can tell that nothing reads what the relay takes', () => {
    const { queue } = siteOf('/site');
    const withSources = (...sources: readonly (readonly string[])[]) => ({
      queue,
      file: '/site/sealpost.yaml',
      certificates: { sources: sources.map((files) => ({ files })) },
    });
    assert.equal(ownFolderFault(withSources(['/site/certs/recipients', '/site/data/certs']), 'certificates.harvest'), undefined);
    assert.equal(ownFolderFault(withSources(['/site/certs/recipients'], ['/site/data/certs']), 'certificates.harvest'), undefined);
    const fault = ownFolderFault(withSources(['/site/certs/recipients']), 'certificates.harvest.address');
    assert.equal(fault?.key, 'certificates.harvest.address');
    assert.match(fault.wrong, /\/site\/data\/certs, which no source reads/);
  });
});
