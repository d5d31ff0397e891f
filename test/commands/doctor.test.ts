/** `sealpost doctor` on a site that runs, on one that does not, and on one that is ill. */
import assert from 'node:assert/strict';
import { appendFileSync, chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import process from 'node:process';
import { test, type TestContext } from 'node:test';
import { eventually } from '../certificates/openssl.ts';
import { send } from '../relay/submit.ts';
import { keepingUpstream } from '../relay/upstream.ts';
import { makeSite, type Site } from '../relay/site.ts';
import { sealpost, type Transcript } from './transcript.ts';

const ROOT = process.getuid?.() === 0;

const doctor = (site: Site, ...more: string[]): Promise<Transcript> => sealpost(site.dir, ['-c', site.file, 'doctor', ...more]);

interface Finding {
  readonly check: string;
  readonly verdict: string;
  readonly text: string;
  readonly mend?: string;
}

function readFindings({ stdout }: Transcript): readonly Finding[] {
  const report: { readonly findings: readonly Finding[] } = JSON.parse(stdout);
  return report.findings;
}

const of = (findings: readonly Finding[], check: string): string =>
  findings
    .filter((one) => one.check === check)
    .map(({ verdict, text }) => `${verdict}: ${text}`)
    .join('\n');

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function makeRunning(t: TestContext): Promise<{ readonly site: Site; readonly port: number }> {
  const upstream = await keepingUpstream(t);
  const port = await freePort();
  const site = await makeSite(t, { upstreamPort: upstream.port, people: ['anna'], config: { listen: [{ host: '127.0.0.1', port }] } });
  return { site, port };
}

test('a site that runs and is well: each part is asked, and nothing of its mail is shown', async (t) => {
  const { site, port } = await makeRunning(t);
  const relay = await site.serve();
  await send(relay.port, ['anna@clinic.example']);
  await eventually(async () => readFileSync(join(site.data, 'audit.jsonl'), 'utf8').includes('"event":"delivered"'));
  const said = await doctor(site, '--json');
  const found = readFindings(said);
  assert.equal(said.exit, 0, said.stdout + said.stderr);
  assert.match(of(found, 'relay'), /^ok: accepting mail/);
  assert.match(of(found, 'listen[0]'), new RegExp(`^ok: port ${port} answers`));
  assert.match(of(found, 'upstream[0]'), /^ok: 127\.0\.0\.1:\d+ answers in clear/);
  assert.equal(of(found, 'queue'), 'ok: empty');
  assert.match(of(found, 'audit log'), /^ok: \d+ lines, the last one is in place/);
  assert.equal(of(found, 'audit keys'), 'ok: addresses in clear, no signed checkpoints: sealpost audit key makes a key for them');
  // The relay is the second life of `serve`, behind the shell that put its limits: what is said of it here is true of that one.
  assert.equal(of(found, 'process'), ROOT ? 'warning: it runs as root' : 'ok: a user of its own, sandbox on, no core dumps');
  assert.doesNotMatch(said.stdout + said.stderr, /anna@|forms@/);
});

test('no relay, no upstream, an open data folder and a changed audit log: each with its mend, and exit 1', async (t) => {
  const { site } = await makeRunning(t);
  const relay = await site.serve();
  await relay.stop();
  const audit = join(site.data, 'audit.jsonl');
  const text = readFileSync(audit, 'utf8');
  writeFileSync(audit, text.replace(/"event":"stopped"/, '"event":"started"'));
  chmodSync(site.data, 0o755);
  const config: Record<string, unknown> = { ...JSON.parse(readFileSync(site.file, 'utf8')) };
  writeFileSync(site.file, JSON.stringify({ ...config, upstream: [{ host: '127.0.0.1', port: await freePort() }] }));
  const said = await doctor(site, '--json');
  const found = readFindings(said);
  assert.equal(said.exit, 1);
  assert.match(of(found, 'relay'), /^warning: no relay runs here/);
  assert.match(of(found, 'listen[0]'), /^fault: port \d+: connect ECONNREFUSED/);
  assert.match(of(found, 'upstream[0]'), /^fault: 127\.0\.0\.1:\d+ at connect: /);
  assert.match(of(found, 'data folder'), /^fault: .* is open to others/m);
  assert.match(of(found, 'audit log'), /^fault: line \d+ is not the one that the database records/);
  for (const { verdict, mend } of found) assert.ok(verdict === 'ok' || (mend ?? '').length > 5);
  const lines = await doctor(site);
  assert.match(lines.stdout, /^fault {3}audit log: .*\n {8}mend: sealpost audit verify/m);
});

test('a configuration that is not valid is told once, as check tells it', async (t) => {
  const { site } = await makeRunning(t);
  appendFileSync(site.file, ' {');
  const said = await doctor(site);
  assert.equal(said.exit, 1);
  assert.match(said.stdout, /^fault {3}configuration: .*sealpost\.yaml/);
});
