/** Another certificate of a known recipient: told of without a pin, and with one not used until an operator approves it. */
import assert from 'node:assert/strict';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { test, type TestContext } from 'node:test';
import { until as within } from '../interop/ports.ts';
import { missingPrograms, run, succeed } from '../interop/programs.ts';
import { recipientInfos, serialNumberOf } from '../interop/readers.ts';
import { CLI, makeSite, type RunningRelay, type Site } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream, type KeepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };
/** A folder is looked at every few seconds, and an old file is believed until the new one rests. */
const CEILING_MS = 60_000;
const until = (what: string, condition: () => boolean | Promise<boolean>): Promise<void> => within(what, condition, CEILING_MS);

const ANNA = 'anna@clinic.example';
/** Anna's certificate stands for it. */
const SALES = 'sales@clinic.example';

interface Setting {
  readonly site: Site;
  readonly upstream: KeepingUpstream;
  readonly relay: RunningRelay;
  /** Serial numbers of the certificates that one more message to Anna is sealed to. */
  readonly sealedTo: () => Promise<string[]>;
  /** Puts a certificate for Anna that is newer than hers into the folder, by the file name there. */
  readonly place: (certificate: string, name: string) => Promise<void>;
  readonly events: (event: string) => Promise<Record<string, unknown>[]>;
}

async function makeSetting(t: TestContext, pin: boolean): Promise<Setting> {
  const upstream = await keepingUpstream(t);
  const site = await makeSite(t, {
    upstreamPort: upstream.port,
    people: ['anna'],
    config: { certificates: { pin, aliases: { [SALES]: ANNA } } },
  });
  await makeNewer(site);
  const relay = await site.serve();
  const folder = join(site.dir, 'certs/recipients');
  return {
    site,
    upstream,
    relay,
    async sealedTo() {
      const before = upstream.deliveries().length;
      await send(relay.port, [ANNA]);
      await until('the delivery', () => upstream.deliveries().length > before);
      const infos = await recipientInfos(upstream.deliveries().at(-1)?.octets ?? Buffer.alloc(0));
      return infos.map(({ serial }) => serial).toSorted();
    },
    place: (certificate, name) => copyFile(join(site.dir, 'people', certificate), join(folder, name)),
    async events(event) {
      const text = await readFile(join(site.data, 'audit.jsonl'), 'utf8');
      // Beside a running relay the last line may be half there.
      const lines = text.slice(0, text.lastIndexOf('\n')).split('\n').filter(Boolean);
      return lines.map((line): Record<string, unknown> => ({ ...JSON.parse(line) })).filter((entry) => entry['event'] === event);
    },
  };
}

/** renewed.pem of the same CA, and planted.pem of another one that is trusted too; both for Anna's address and valid for longer. */
async function makeNewer({ dir }: Site): Promise<void> {
  const at = (name: string): string => join(dir, 'people', name);
  const self = [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-sha256',
    '-days',
    '30',
    '-subj',
    '/CN=Other CA',
    '-config',
    at('openssl.cnf'),
  ];
  const ca = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign'].flatMap((text) => ['-addext', text]);
  await succeed('openssl', [...self, ...ca, '-keyout', at('other.key'), '-out', at('other.pem')]);
  await copyFile(at('other.pem'), join(dir, 'certs/anchors/other.pem'));
  for (const [name, issuer, serial] of [
    ['renewed', 'ca', '0x77'],
    ['planted', 'other', '0x66'],
  ]) {
    const signedBy = ['-CA', at(`${issuer}.pem`), '-CAkey', at(`${issuer}.key`), '-set_serial', serial ?? '', '-sha256', '-days', '60'];
    await succeed('openssl', ['x509', '-req', ...signedBy, '-in', at('anna.csr'), '-extfile', at('anna.ext'), '-out', at(`${name}.pem`)]);
  }
}

const oldSerial = ({ site }: Setting): Promise<string> => serialNumberOf(site.readers.people.anna.certificate);

const pendingOf = async ({ site }: Setting): Promise<{ address: string; serial: string; used: { fingerprint: string } }[]> =>
  JSON.parse(await site.sealpost('certs', 'pending', '--json'));

test('a certificate that is replaced is used, and told of once', needsOpenssl, async (t) => {
  const setting = await makeSetting(t, false);
  const { relay, sealedTo, events } = setting;
  assert.deepEqual(await sealedTo(), [await oldSerial(setting)]);
  await setting.place('renewed.pem', 'anna.pem');
  await until('mail goes to the new one', async () => (await sealedTo()).join() === '77');
  await sealedTo();
  await until('the log tells', () =>
    /"same_issuer":true,"waits":false,"msg":"the certificate of a known recipient has changed"/.test(relay.log()),
  );
  await relay.stop();
  const changes = await events('certificate-changed');
  assert.equal(changes.length, 1);
  const sealed = await events('sealed');
  const first = sealed.find((entry) => String(entry['certificate_serial']).startsWith('77'));
  assert.partialDeepStrictEqual(changes[0], {
    recipient: ANNA,
    queue_id: first?.['queue_id'],
    certificate_serial: '77',
    old_sha256: sealed[0]?.['certificate_sha256'],
    same_issuer: true,
    waits: false,
  });
});

test(
  'A22 a newer certificate of another trusted CA: used without a pin, and the audit log and the log tell of it',
  needsOpenssl,
  async (t) => {
    const setting = await makeSetting(t, false);
    await setting.sealedTo();
    await setting.place('planted.pem', 'more.pem');
    await until('mail goes to both', async () => (await setting.sealedTo()).includes('66'));
    await until('the log tells', () => /"level":"warn",[^\n]*"same_issuer":false/.test(setting.relay.log()));
    await setting.relay.stop();
    const changes = await setting.events('certificate-changed');
    assert.deepEqual(
      changes.map((change) => [change['certificate_serial'], change['certificate_issuer'], change['same_issuer']]),
      [['66', 'CN=Other CA', false]],
    );
  },
);

test('A22 under a pin it waits: mail goes on to the known one, and to the new one once it is approved', needsOpenssl, async (t) => {
  const setting = await makeSetting(t, true);
  const { site, sealedTo, events } = setting;
  const old = await oldSerial(setting);
  assert.deepEqual(await sealedTo(), [old]);
  await setting.place('planted.pem', 'more.pem');
  await until('it waits', async () => {
    assert.deepEqual(await sealedTo(), [old]);
    return (await pendingOf(setting)).length > 0;
  });
  const [waiting, ...others] = await pendingOf(setting);
  assert.equal(others.length, 0);
  assert.partialDeepStrictEqual(waiting, { address: ANNA, serial: '66' });
  assert.match(
    await site.sealpost('explain', '--from', 'forms@clinic.example', '--to', ANNA),
    /it waits for approval, since this address is pinned/,
  );
  const message = Buffer.from('Subject: x\r\n\r\nbody\r\n');
  const args = [CLI, '-c', site.file, 'seal', '--from', 'forms@clinic.example', '--to', ANNA];
  const { stdout } = await run(process.execPath, args, { cwd: site.dir, input: message });
  assert.deepEqual(
    (await recipientInfos(stdout)).map(({ serial }) => serial),
    [old],
    'sealpost seal obeys the pin too',
  );

  await site.sealpost('certs', 'approve', ANNA, '--by', 'Dr Otto');
  assert.deepEqual(await sealedTo(), ['66', old].toSorted(), 'at once');
  assert.deepEqual(await pendingOf(setting), []);
  await setting.relay.stop();
  assert.deepEqual(
    (await events('certificate-changed')).map(({ waits, certificate_serial: serial }) => [waits, serial]),
    [[true, '66']],
  );
  const [approved] = await events('certificate-approved');
  assert.match(String(approved?.['operator']), /^Dr Otto, typed by ./);
});

test('the known one is gone while the new one waits: 451, nothing is lost, and an approval mends it (P5)', needsOpenssl, async (t) => {
  const setting = await makeSetting(t, true);
  const { site, relay, sealedTo } = setting;
  await sealedTo();
  await setting.place('renewed.pem', 'anna.pem');
  await until('the new one waits', async () => {
    const refused = await send(relay.port, [ANNA]).then(() => undefined, String);
    if (refused !== undefined) assert.match(refused, /451 4\./);
    return refused !== undefined;
  });
  await until('the log tells', () => /a changed certificate waits for approval/.test(relay.log()));
  assert.doesNotMatch(relay.log(), /"at":/, 'nothing is broken');
  const explained = await site.sealpost('explain', '--from', 'forms@clinic.example', '--to', ANNA);
  assert.match(explained, /unavailable: a changed certificate waits for approval: sealpost certs pending\n/);
  const isAllDelivered = async (): Promise<boolean> => setting.upstream.deliveries().length === (await setting.events('accepted')).length;
  await until('what was accepted is delivered', isAllDelivered);
  await relay.kill();
  const again = await site.serve();
  await assert.rejects(send(again.port, [ANNA]), /451 4\./, 'what is known outlives the relay');
  assert.equal((await pendingOf(setting)).length, 1);
  await site.sealpost('certs', 'approve', ANNA);
  const id = await send(again.port, [ANNA]);
  await until('the delivery', () => setting.upstream.deliveries().some(({ octets }) => octets.includes(id)));
  const infos = await recipientInfos(setting.upstream.deliveries().at(-1)?.octets ?? Buffer.alloc(0));
  assert.deepEqual(
    infos.map(({ serial }) => serial),
    ['77'],
  );
});

test('a pin is of the address whose certificate it is; one that the operator forgets is trusted anew', needsOpenssl, async (t) => {
  const setting = await makeSetting(t, true);
  await send(setting.relay.port, [SALES]);
  await until('the delivery', () => setting.upstream.deliveries().length === 1);
  await setting.place('renewed.pem', 'anna.pem');
  await until('it waits', () =>
    send(setting.relay.port, [ANNA]).then(
      () => false,
      () => true,
    ),
  );
  assert.deepEqual(
    (await pendingOf(setting)).map(({ address }) => address),
    [ANNA],
  );
  await setting.site.sealpost('certs', 'forget', ANNA, '--yes');
  assert.deepEqual(await setting.sealedTo(), ['77']);
  assert.deepEqual(await pendingOf(setting), []);
});
