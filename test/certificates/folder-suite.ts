/** Folders of certificates that change while they are watched: one suite for those in this process and those with a thread. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { type Logger, pino } from 'pino';
import { makeFileSource, type RecipientFolder } from '../../src/certificates/files.ts';
import type { CertificateSource } from '../../src/certificates/source.ts';
import type { FolderDelays } from '../../src/certificates/folder.ts';
import { eventually, hangReadsOf, mailboxOf, make, noOpenssl, noPerl, temporaryFolder } from './openssl.ts';

const SIGNAL = new AbortController().signal;

/** What the suite asks of a folder. */
export type WatchedFolder = Pick<RecipientFolder, 'path' | 'find' | 'refresh' | 'close'>;

export type OpenFolder = (path: string, log: Logger, delays: Partial<FolderDelays>) => WatchedFolder;

export function testFolder(title: string, open: OpenFolder): void {
  describe(title, { skip: noOpenssl }, () => {
    const made = temporaryFolder();
    for (const name of ['anna', 'ben', 'carl']) make(made, { name });
    const pem = (name: string): string => readFileSync(join(made, `${name}.pem`), 'latin1');
    make(made, { name: 'newer', extensions: ['subjectAltName=email:anna@example.org'] });

    const folders: WatchedFolder[] = [];
    const lines: string[] = [];
    afterEach(async () => {
      for (const folder of folders.splice(0)) await folder.close();
      lines.length = 0;
    });
    const watch = (path: string, delays: Partial<FolderDelays> = {}): CertificateSource => {
      const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
      const folder = open(path, log, delays);
      folders.push(folder);
      return makeFileSource(folder);
    };
    const places = async (source: CertificateSource, name = 'anna'): Promise<string> => {
      const answer = await source.lookup(mailboxOf(`${name}@example.org`), SIGNAL);
      return answer.kind === 'found' ? answer.candidates.map(({ place }) => place.replace(/^[^/]*\//, '')).join(' ') : answer.kind;
    };
    const becomes = (source: CertificateSource, expected: string, name = 'anna'): Promise<void> =>
      eventually(async () => (await places(source, name)) === expected);

    test('what is added, replaced and removed is live within seconds, in sub-folders too', async () => {
      const folder = temporaryFolder();
      mkdirSync(join(folder, 'ward'));
      writeFileSync(join(folder, 'carl.pem'), pem('carl'));
      const source = watch(folder);
      assert.equal(await places(source), 'absent');
      const begun = performance.now();
      writeFileSync(join(folder, 'ward/anna.pem'), pem('anna'));
      await becomes(source, 'ward/anna.pem');
      assert.ok(performance.now() - begun < 5000);
      writeFileSync(join(folder, 'ward/anna.pem'), pem('ben') + pem('anna'));
      await becomes(source, 'ward/anna.pem#2');
      assert.equal(await places(source, 'ben'), 'ward/anna.pem#1');
      writeFileSync(join(folder, 'ben.pem'), pem('ben'));
      await becomes(source, 'ben.pem ward/anna.pem#1', 'ben');
      unlinkSync(join(folder, 'ward/anna.pem'));
      await becomes(source, 'absent');
      assert.equal(await places(source, 'ben'), 'ben.pem');
      assert.deepEqual(lines, []);
    });

    test('a change that leaves size and second alike is seen', async () => {
      const folder = temporaryFolder();
      const path = join(folder, 'one.pem');
      const size = Math.max(pem('anna').length, pem('newer').length, pem('ben').length) + 1;
      writeFileSync(path, pem('anna').padEnd(size, '\n'));
      const source = watch(folder);
      assert.equal(await places(source), 'one.pem');
      writeFileSync(path, pem('ben').padEnd(size, '\n'));
      await becomes(source, 'one.pem', 'ben');
      await becomes(source, 'absent');
    });

    test('a file caught half-written keeps what it gave before, until it is whole or gone', async () => {
      const folder = temporaryFolder();
      const path = join(folder, 'anna.pem');
      writeFileSync(path, pem('anna'));
      writeFileSync(join(folder, 'ben.pem'), pem('ben'));
      const source = watch(folder);
      assert.equal(await places(source), 'anna.pem');
      for (const half of ['', pem('newer').slice(0, 300)]) {
        writeFileSync(path, half);
        await folders.at(-1)?.refresh();
        assert.equal(await places(source), 'anna.pem', JSON.stringify(half.slice(0, 30)));
      }
      writeFileSync(path, pem('newer'));
      await folders.at(-1)?.refresh();
      const answer = await source.lookup(mailboxOf('anna@example.org'), SIGNAL);
      assert.equal(answer.kind === 'found' ? answer.candidates[0]?.certificate.subject : answer.kind, 'CN=newer');
      truncateSync(path, 0);
      await folders.at(-1)?.refresh();
      unlinkSync(path);
      await folders.at(-1)?.refresh();
      assert.equal(await places(source), 'absent');
    });

    test('P5: a bundle caught at the end of a certificate keeps those further down for some seconds, and then no more', async () => {
      const folder = temporaryFolder();
      const path = join(folder, 'all.pem');
      writeFileSync(path, pem('anna') + pem('ben'));
      const source = watch(folder, { loss: 3000 });
      assert.equal(await places(source, 'ben'), 'all.pem#2');
      writeFileSync(path, pem('anna'));
      const begun = performance.now();
      while (performance.now() - begun < 2000) {
        await folders.at(-1)?.refresh();
        assert.equal(await places(source, 'ben'), 'all.pem#2');
      }
      await becomes(source, 'absent', 'ben');
      assert.equal(await places(source), 'all.pem');
    });

    test('P5: a folder that is empty all at once is unavailable, until that is believed or its files are back', async () => {
      const folder = join(temporaryFolder(), 'recipients');
      mkdirSync(folder);
      writeFileSync(join(folder, 'anna.pem'), pem('anna'));
      const source = watch(folder, { emptiness: 2000 });
      assert.equal(await places(source), 'anna.pem');
      // As a mount is seen to go: first nothing there, then the empty folder below it.
      renameSync(folder, `${folder}-away`);
      await folders.at(-1)?.refresh();
      mkdirSync(folder);
      await folders.at(-1)?.refresh();
      assert.equal(await places(source), 'unavailable');
      rmSync(folder, { recursive: true });
      renameSync(`${folder}-away`, folder);
      await folders.at(-1)?.refresh();
      assert.equal(await places(source), 'anna.pem');
      unlinkSync(join(folder, 'anna.pem'));
      await folders.at(-1)?.refresh();
      assert.equal(await places(source), 'unavailable');
      assert.match(lines.at(-1) ?? '', /empty all at once/);
      await becomes(source, 'absent');
    });

    test('a broken file is a warning that names it, once, and stops nothing else', async () => {
      const folder = temporaryFolder();
      writeFileSync(join(folder, 'anna.pem'), pem('anna'));
      writeFileSync(join(folder, 'broken.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
      const source = watch(folder);
      assert.equal(await places(source), 'anna.pem');
      await folders.at(-1)?.refresh();
      await folders.at(-1)?.refresh();
      assert.equal(lines.length, 1);
      assert.match(lines[0] ?? '', /broken\.pem/);
      writeFileSync(join(folder, 'broken.pem'), 'otherwise broken');
      await folders.at(-1)?.refresh();
      assert.equal(lines.length, 2);
    });

    test('notes, hidden files and what is no regular file are passed over; links to files are followed', async () => {
      const folder = temporaryFolder();
      writeFileSync(join(folder, 'README.md'), 'what to place here');
      writeFileSync(join(folder, '.anna.pem.tmp'), 'half');
      symlinkSync(join(made, 'anna.pem'), join(folder, 'link.pem'));
      symlinkSync(folder, join(folder, 'circle'));
      const source = watch(folder);
      assert.equal(await places(source), 'link.pem');
      assert.equal(await places(source, 'ben'), 'absent');
      assert.deepEqual(lines, []);
    });

    test('P5: a link that leads nowhere, as into a mount that is gone, makes nobody absent; what it led to is used no more', async () => {
      const [folder, mount] = [temporaryFolder(), temporaryFolder()];
      writeFileSync(join(folder, 'anna.pem'), pem('anna'));
      writeFileSync(join(mount, 'ben.pem'), pem('ben'));
      symlinkSync(join(mount, 'ben.pem'), join(folder, 'link.pem'));
      const source = watch(folder);
      assert.equal(await places(source, 'ben'), 'link.pem');
      unlinkSync(join(mount, 'ben.pem'));
      await folders.at(-1)?.refresh();
      assert.equal(await places(source, 'ben'), 'unavailable');
      assert.equal(await places(source), 'anna.pem');
      assert.match(lines.join(), /link\.pem is a link to nothing/);
      unlinkSync(join(folder, 'link.pem'));
      await folders.at(-1)?.refresh();
      assert.equal(await places(source, 'ben'), 'absent');
    });

    test('a file of more than 1 MiB is not read', async () => {
      const folder = temporaryFolder();
      writeFileSync(join(folder, 'big.pem'), Buffer.concat([Buffer.from(pem('anna')), Buffer.alloc(1024 * 1024, 10)]));
      const source = watch(folder);
      assert.equal(await places(source), 'absent');
      assert.match(lines[0] ?? '', /big\.pem.*more than 1048576 octets/);
    });

    test('P5: a folder that is not there is unavailable, not absent, and comes back', async () => {
      const folder = temporaryFolder();
      const path = join(folder, 'recipients');
      const source = watch(path);
      assert.equal(await places(source), 'unavailable');
      await folders.at(-1)?.refresh();
      assert.equal(lines.length, 1, 'told once');
      mkdirSync(path);
      writeFileSync(join(path, 'anna.pem'), pem('anna'));
      await becomes(source, 'anna.pem');
      renameSync(path, `${path}-away`);
      await folders.at(-1)?.refresh();
      assert.equal(await places(source), 'unavailable');
    });

    test('P5: a link that leads in a circle makes nobody absent', async () => {
      const folder = temporaryFolder();
      writeFileSync(join(folder, 'anna.pem'), pem('anna'));
      symlinkSync('loop.pem', join(folder, 'loop.pem'));
      const source = watch(folder);
      assert.equal(await places(source), 'anna.pem');
      assert.equal(await places(source, 'ben'), 'unavailable');
      assert.match(lines[0] ?? '', /loop\.pem/);
      rmSync(join(folder, 'loop.pem'));
      await folders.at(-1)?.refresh();
      assert.equal(await places(source, 'ben'), 'absent');
    });

    test(
      'P5, P9: a read that does not return makes the folder unavailable and names the file, until it returns',
      { skip: noPerl },
      async (t) => {
        const folder = temporaryFolder();
        writeFileSync(join(folder, 'anna.pem'), pem('anna'));
        writeFileSync(join(folder, 'stuck.pem'), pem('newer'));
        const holder = await hangReadsOf(join(folder, 'stuck.pem'));
        t.after(() => holder.kill('SIGKILL'));
        const source = watch(folder, { answer: 300 });
        assert.equal(await places(source), 'unavailable');
        assert.match(lines.join(), /stuck\.pem is not answered/);
        await folders.at(-1)?.refresh();
        assert.equal(await places(source), 'unavailable');
        assert.equal(lines.length, 1, 'told once');
        unlinkSync(join(folder, 'anna.pem'));
        holder.kill('SIGKILL');
        await becomes(source, 'stuck.pem');
      },
    );

    test('P5: a read that stands still later takes back what was known before', { skip: noPerl }, async (t) => {
      const folder = temporaryFolder();
      writeFileSync(join(folder, 'anna.pem'), pem('anna'));
      const source = watch(folder, { answer: 300 });
      assert.equal(await places(source), 'anna.pem');
      writeFileSync(join(folder, 'stuck.pem'), pem('newer'));
      const holder = await hangReadsOf(join(folder, 'stuck.pem'));
      t.after(() => holder.kill('SIGKILL'));
      await becomes(source, 'unavailable');
    });

    const noKmsg = existsSync('/proc/kmsg') ? false : '/proc/kmsg is not there';
    test('a file of /proc that never ends a read is not read', { skip: noKmsg }, async () => {
      const folder = temporaryFolder();
      writeFileSync(join(folder, 'anna.pem'), pem('anna'));
      symlinkSync('/proc/kmsg', join(folder, 'k.pem'));
      const source = watch(folder, { answer: 2000 });
      assert.equal(await places(source), 'anna.pem');
      assert.match(lines.join(), /k\.pem.*the file is empty/);
    });
  });
}
