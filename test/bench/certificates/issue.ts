/** The in-house CA: everybody in a table, with PKCS#12, password, page, ledger and syncs, as the command does it without a relay. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { createAuthority } from '../../../src/commands/certificates/authority.ts';
import type { Print } from '../certificates.ts';
import type { Owner } from '../owner.ts';

const PEOPLE = 1000;
const CLI = resolve(import.meta.dirname, '../../../src/cli.ts');

export async function benchIssue(print: Print, owner: Owner): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'sealpost-bench-issue-'));
  owner.after(() => rm(dir, { recursive: true, force: true }));
  const places = { keys: join(dir, 'keys'), anchors: join(dir, 'certs/anchors'), intermediates: join(dir, 'certs/intermediates') };
  await mkdir(join(dir, 'certs/recipients'), { recursive: true });
  await createAuthority(places, 'the bench', Date.now());
  const ends = { listen: [{ host: '127.0.0.1', port: 2525 }], upstream: [{ host: '127.0.0.1', port: 25 }] };
  const site = { hostname: 'relay.clinic.example', operator: 'postmaster@clinic.example', ...ends };
  await writeFile(
    join(dir, 'sealpost.yaml'),
    JSON.stringify({ ...site, certificates: { authority: { passphrase: 'file:keys/ca.passphrase' } } }),
  );
  const rows = Array.from({ length: PEOPLE }, (_, index) => `person${index}@clinic.example,Person ${index}`);
  await writeFile(join(dir, 'staff.csv'), `address,name\n${rows.join('\n')}\n`);
  const first = await timed(dir);
  const made = (await readdir(join(dir, 'certs/recipients'))).length;
  if (made !== PEOPLE) throw new Error(`${made} certificates of ${PEOPLE}`);
  print(`issue --csv: ${PEOPLE} people with EC keys in ${first} s; given again, nothing to do: ${await timed(dir)} s`);
}

async function timed(cwd: string): Promise<string> {
  const started = performance.now();
  const args = ['--disable-warning=ExperimentalWarning', CLI, 'certs', 'issue', '--csv', 'staff.csv', '--key', 'ec'];
  const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] });
  const [code]: unknown[] = await once(child, 'close');
  if (code !== 0) throw new Error(`certs issue ended with ${String(code)}`);
  return ((performance.now() - started) / 1000).toFixed(1);
}
