/** Structures that were right, with any octet of them changed: certificates, PKCS#12, lines of the audit log, requests at the control socket. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { pino } from 'pino';
import { chainLine, EMPTY_HEAD } from '../../src/audit.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { parseCertificate } from '../../src/certificates/certificate.ts';
import { buildPath, makeCertificateSet } from '../../src/certificates/path.ts';
import { readPfx } from '../../src/certificates/pkcs12/pfx.ts';
import { callControl, serveControl } from '../../src/control.ts';
import { caExtensions, make, noOpenssl, rsa, run, temporaryFolder } from '../certificates/openssl.ts';
import { codeOf } from '../ingress/front.ts';
import { everyOctet, mutations } from './mutations.ts';
import { runs } from './runs.ts';

const NOW = Date.parse('2026-06-01T00:00:00Z');

describe('P9: a certificate with any octet changed', { skip: noOpenssl }, () => {
  const folder = temporaryFolder();
  for (const [kind, key] of [
    ['EC', undefined],
    ['RSA', rsa(2048)],
  ] as const) {
    test(`is not trusted, or not read, wherever it was changed or cut (${kind})`, () => {
      const root = `root-${kind}`;
      const made = key === undefined ? {} : { key };
      const anchors = makeCertificateSet([parseCertificate(make(folder, { name: root, extensions: caExtensions, ...made }))]);
      const good = make(folder, { name: `anna-${kind}`, issuer: root, ...made });
      const judge = (der: Buffer): string => {
        try {
          return buildPath(parseCertificate(der), anchors, makeCertificateSet([]), NOW).kind;
        } catch (error) {
          assert.equal(codeOf(error), 'certificate-malformed');
          return 'refused';
        }
      };
      assert.equal(judge(good), 'trusted');
      for (const changed of everyOctet(good)) assert.notEqual(judge(changed), 'trusted', changed.toString('hex'));
      fc.assert(
        fc.property(mutations, (change) => {
          const changed = change(good);
          fc.pre(!changed.equals(good));
          assert.notEqual(judge(changed), 'trusted');
        }),
        runs(300),
      );
    });
  }
});

test('a PKCS#12 with any octet changed holds what it held, or ends in a typed error', { skip: noOpenssl }, async () => {
  const folder = temporaryFolder();
  make(folder, { name: 'anna' });
  const files = ['-inkey', 'anna.key', '-in', 'anna.pem', '-out', 'anna.p12'];
  run('openssl', ['pkcs12', '-export', ...files, '-iter', '10', '-passout', 'pass:secret'], folder);
  const good = await readFile(join(folder, 'anna.p12'));
  const { keys, certificates } = readPfx(good, 'secret');
  assert.ok(keys.length === 1 && certificates.length === 1);
  let refused = 0;
  const judge = (bytes: Buffer): void => {
    try {
      assert.deepEqual(readPfx(bytes, 'secret'), { keys, certificates });
    } catch (error) {
      assert.equal(codeOf(error), 'key-malformed', String(error));
      refused++;
    }
  };
  for (const changed of everyOctet(good, [0x01])) judge(changed);
  fc.assert(
    fc.property(mutations, (change) => judge(change(good))),
    runs(200),
  );
  assert.ok(refused > good.length);
});

test('an audit log with any octet of a line changed does not verify, and the line is named', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-generated-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'audit.jsonl');
  const first = chainLine(EMPTY_HEAD, { event: 'accepted', queue_id: 'q1' }, NOW);
  const second = chainLine(first.head, { event: 'delivered', queue_id: 'q1', reply: '250 ok' }, NOW);
  const third = chainLine(second.head, { event: 'stopped' }, NOW);
  const whole = Buffer.concat([first.line, second.line, third.line]);
  const judge = async (octets: Buffer): Promise<string> => {
    await writeFile(file, octets);
    return (await verifyAudit({ file, head: third.head })).kind;
  };
  assert.notEqual(await judge(whole), 'broken');
  for (let at = 0; at < whole.length; at++) {
    const changed = Buffer.from(whole);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await writeFile(file, changed);
    const verdict = await verifyAudit({ file, head: third.head });
    assert.equal(verdict.kind, 'broken', `octet ${at}`);
    const line = at < first.line.length ? 1 : at < first.line.length + second.line.length ? 2 : 3;
    if (verdict.kind === 'broken') assert.ok(Math.abs(verdict.line - line) <= 1, `octet ${at} of line ${line}, told ${verdict.line}`);
  }
  const property = fc.asyncProperty(mutations, async (change) => {
    const changed = change(whole);
    // Behind the recorded head a line may stand that is only half written.
    fc.pre(!changed.subarray(0, whole.length).equals(whole));
    assert.equal(await judge(changed), 'broken', JSON.stringify(changed.toString('latin1')));
  });
  await fc.assert(property, runs(200));
});

test('requests at the control socket with any slip are answered by one line, and the next one is served', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sealpost-generated-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const socket = join(folder, 'control.sock');
  const retried: unknown[] = [];
  const handlers = {
    ping: async () => 'pong',
    retry: async ({ id }: Readonly<Record<string, unknown>>) => void retried.push(id),
  };
  const control = await serveControl({ socket, handlers, log: pino({ level: 'silent' }) });
  t.after(() => control.close());
  const exchange = (octets: Buffer): Promise<string> =>
    new Promise((resolve) => {
      const client = connect({ path: socket });
      let answer = '';
      client.on('data', (chunk: Buffer) => (answer += chunk.toString()));
      client.on('error', () => undefined);
      client.on('end', () => client.destroy());
      client.on('close', () => resolve(answer));
      client.write(octets);
    });
  const request = Buffer.from('{"command":"retry","id":"1m83nqxc7kbkeh1"}');
  const slip = fc.oneof(
    mutations.map((change) => change(request)),
    fc.json().map((text) => Buffer.from(text)),
    fc.constantFrom('__proto__', 'constructor', 'toString', '').map((command) => Buffer.from(JSON.stringify({ command }))),
  );
  const property = fc.asyncProperty(slip, async (octets) => {
    const answer = await exchange(Buffer.concat([octets, Buffer.from('\n')]));
    assert.match(answer, /^\{"ok":(?:true|false,"code":"[a-z-]+")[^\n]*\}\n$/);
  });
  await fc.assert(property, runs(200));
  assert.equal(await callControl(socket, { command: 'ping' }), 'pong');
});
