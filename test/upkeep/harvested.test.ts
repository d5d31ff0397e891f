/** Harvested certificates until an operator has said a word on them: bounds, rules, pins, and what a crash may leave (A22). */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { pino } from 'pino';
import { knownHandlers } from '../../src/change-control.ts';
import { loadConfig } from '../../src/config.ts';
import type { ControlHandlers } from '../../src/control.ts';
import type { KnownStore } from '../../src/queue/known.ts';
import type { QueueStore } from '../../src/queue/queue.ts';
import { type Capabilities, loadCapabilities } from '../../src/upkeep/capabilities.ts';
import { harvestHandlers } from '../../src/upkeep/harvest-control.ts';
import { type Harvested, makeHarvested, type NewHarvest } from '../../src/upkeep/harvested.ts';
import { base64Of, KIND } from '../../src/upkeep/harvested-record.ts';
import { root } from '../certificates/pki.ts';
import { person } from '../certificates/harvest/sign.ts';
import { ANNA, useOf } from '../queue/known-suite.ts';
import { makeSite, put, type Site } from '../queue/site.ts';

const house = root('House');
const below = house.sub('Below');
const GCM = '2.16.840.1.101.3.4.1.46';
const DAY_MS = 86_400_000;

const harvestOf = (address = ANNA, more: Partial<NewHarvest> = {}): NewHarvest => ({
  address,
  certificate: person(house, address).certificate,
  intermediates: [],
  capabilities: [],
  issuers: [house.certificate.fingerprint],
  from: '192.0.2.7',
  by: null,
  ...more,
});

interface Setting {
  readonly site: Site;
  readonly folder: string;
  readonly store: QueueStore;
  readonly harvested: Harvested;
  readonly handlers: ControlHandlers;
  readonly capabilities: Capabilities;
  /** Closes the store: then all of them are in the file. */
  readonly events: () => Promise<unknown[][]>;
}

async function makeSetting(t: TestContext, certificates: Readonly<Record<string, unknown>> = {}): Promise<Setting> {
  const site = await makeSite(t);
  const folder = dirname(site.paths.folder);
  const store = await site.open();
  const file = join(folder, 'sealpost.yaml');
  writeFileSync(
    file,
    JSON.stringify({
      hostname: 'relay.clinic.example',
      operator: 'postmaster@clinic.example',
      listen: [{ host: '127.0.0.1', port: 2525 }],
      upstream: [{ host: '127.0.0.1', port: 25 }],
      certificates,
    }),
  );
  const config = await loadConfig({ file, env: {}, cwd: folder });
  const capabilities = await loadCapabilities(store, pino({ level: 'silent' }));
  const harvested = makeHarvested({ config, store, capabilities, now: () => site.clock.now, log: pino({ level: 'silent' }) });
  return {
    site,
    folder,
    store,
    harvested,
    capabilities,
    handlers: { ...knownHandlers(store.known), ...harvestHandlers(store, harvested) },
    events: async () => {
      await store.close();
      return readFileSync(site.paths.audit, 'utf8')
        .trim()
        .split('\n')
        .map((line): Record<string, unknown> => ({ ...JSON.parse(line) }))
        .filter(({ event }) => String(event).startsWith('certificate-'))
        .map(({ event, recipient, operator }) => [event, recipient, operator]);
    },
  };
}

const taken = ({ folder }: Setting, name = 'certs'): string[] => {
  try {
    return readdirSync(join(folder, 'data', name));
  } catch {
    return [];
  }
};

/** Answers the fingerprint of what was approved. */
async function approve({ handlers }: Setting, words: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
  const answer = await handlers['certs-approve']?.({ command: 'certs-approve', address: ANNA, operator: 'otto', ...words });
  return typeof answer === 'object' && answer !== null && 'fingerprint' in answer ? answer.fingerprint : answer;
}

const stateOf = async (known: KnownStore, fingerprint: string): Promise<string | undefined> =>
  (await known.of(ANNA)).find((row) => row.fingerprint === fingerprint)?.state;

test('it waits, once; approved it is a file, with what its path needs, and what its holder can open is known at once', async (t) => {
  const setting = await makeSetting(t);
  const { harvested, capabilities, store } = setting;
  const harvest = harvestOf(ANNA, { intermediates: [below.certificate], capabilities: [GCM] });
  assert.equal(await harvested.keep(harvest), 'pending');
  assert.equal(await harvested.keep(harvest), 'waiting');
  assert.deepEqual(taken(setting), []);
  assert.deepEqual(capabilities.of(harvest.certificate), []);
  assert.equal(await approve(setting), harvest.certificate.fingerprint);
  assert.deepEqual(taken(setting), [`${ANNA}-${harvest.certificate.fingerprint.slice(0, 16)}.pem`]);
  assert.deepEqual(taken(setting, 'intermediates'), [`${below.certificate.fingerprint.slice(0, 16)}.pem`]);
  assert.deepEqual(capabilities.of(harvest.certificate), [GCM]);
  assert.deepEqual((await loadCapabilities(store, pino({ level: 'silent' }))).of(harvest.certificate), [GCM]);
  assert.deepEqual(await store.records.list(KIND), []);
  await assert.rejects(approve(setting), /no such certificate waits/);
  assert.deepEqual(await setting.events(), [
    ['certificate-harvested', ANNA, null],
    ['certificate-approved', ANNA, 'otto'],
  ]);
});

test('an approval that a crash cut short is done again, and nothing is there twice', async (t) => {
  const setting = await makeSetting(t);
  const harvest = harvestOf();
  await setting.harvested.keep(harvest);
  const broken = { ...setting.store.records, change: () => Promise.reject(new Error('the power went')) };
  const config = await loadConfig({ file: join(setting.folder, 'sealpost.yaml'), env: {}, cwd: setting.folder });
  const dying = makeHarvested({
    config,
    store: { known: setting.store.known, records: broken },
    now: () => 0,
    log: pino({ level: 'silent' }),
  });
  const [record] = await dying.find({ address: ANNA, fingerprint: null });
  assert.ok(record);
  await assert.rejects(dying.approve(record, 'otto'), /the power went/);
  assert.equal(taken(setting).length, 1);
  await approve(setting);
  assert.equal(taken(setting).length, 1);
  assert.deepEqual((await setting.events()).at(-1), ['certificate-approved', ANNA, 'otto']);
});

test('which one is said where several wait, harvested or changed', async (t) => {
  const setting = await makeSetting(t, { pin: true });
  const [one, other] = [harvestOf(), harvestOf()];
  await put(setting.store, { id: 'q1', uses: [useOf('old')] });
  await setting.store.known.wait(useOf('new'));
  await setting.harvested.keep(one);
  await assert.rejects(approve(setting), /more than one certificate waits/);
  await setting.harvested.keep(other);
  assert.equal(await approve(setting, { fingerprint: other.certificate.fingerprint.slice(0, 16) }), other.certificate.fingerprint);
  assert.equal(await approve(setting, { fingerprint: useOf('new').fingerprint }), useOf('new').fingerprint);
  assert.equal(await approve(setting), one.certificate.fingerprint);
});

test('under a pin the approval counts for the pin too', async (t) => {
  const setting = await makeSetting(t, { pin: true });
  const { known } = setting.store;
  const harvest = harvestOf();
  await put(setting.store, { id: 'q1', uses: [useOf('old')] });
  await setting.harvested.keep(harvest);
  assert.equal(await stateOf(known, harvest.certificate.fingerprint), undefined);
  await approve(setting);
  assert.equal(await stateOf(known, harvest.certificate.fingerprint), 'approved');
  assert.equal((await setting.events()).filter(([event]) => event === 'certificate-approved').length, 1);
});

test('approved for all addresses it is what each of them is pinned to', async (t) => {
  const setting = await makeSetting(t, { pin: true });
  const ben = 'ben@clinic.example';
  await put(setting.store, { id: 'q1', uses: [useOf('old')] });
  const { certificate } = person(house, ben, { also: [ANNA] });
  await setting.harvested.keep(harvestOf(ben, { certificate }));
  await approve(setting, { address: ben, all_addresses: true });
  assert.equal(await stateOf(setting.store.known, certificate.fingerprint), 'approved');
});

const byRule = { harvest: { approve_issuers: [house.certificate.fingerprint] } };

test('a rule takes what its CAs issued, and nothing else', async (t) => {
  const setting = await makeSetting(t, byRule);
  assert.equal(await setting.harvested.keep(harvestOf(ANNA, { capabilities: [GCM] })), 'taken');
  assert.equal(await setting.harvested.keep(harvestOf(ANNA, { issuers: [below.certificate.fingerprint] })), 'pending');
  assert.equal(taken(setting).length, 1);
  assert.deepEqual(await setting.events(), [
    ['certificate-harvested', ANNA, null],
    ['certificate-approved', ANNA, 'rule'],
    ['certificate-harvested', ANNA, null],
  ]);
});

test('A22 what was taken away, rejected or removed waits when its mail comes again, whatever the rule says', async (t) => {
  const setting = await makeSetting(t, byRule);
  const { harvested, folder, store } = setting;
  const once = harvestOf();
  assert.equal(await harvested.keep(once), 'taken');
  assert.equal(await harvested.keep(once), 'taken', 'its file is there, and no source has read it yet');
  rmSync(join(folder, 'data/certs', taken(setting)[0] ?? ''));
  assert.equal(await harvested.keep(once), 'pending');
  const byHand = harvestOf('ben@clinic.example', { issuers: [] });
  await harvested.keep(byHand);
  await harvested.reject({ address: 'ben@clinic.example', fingerprint: null }, 'otto');
  const issuers = [house.certificate.fingerprint];
  assert.equal(await harvested.keep({ ...byHand, issuers }), 'pending');
  const added = harvestOf('carl@clinic.example');
  const request = { command: 'certs-unharvested', operator: 'otto', certificates: [base64Of(added.certificate)] };
  assert.equal(await setting.handlers['certs-unharvested']?.(request), 1);
  assert.equal(await harvested.keep(added), 'pending');
  assert.equal(await harvested.keep(harvestOf('dora@clinic.example')), 'taken');
  // They are forgotten once they have ended.
  const count = async (): Promise<number> => (await store.records.list('harvest-decided')).length;
  assert.equal(await count(), 4);
  setting.site.clock.now = Date.parse('2060-01-01');
  await harvested.remember([]);
  assert.equal(await count(), 0);
});

test('how many wait is read once, however much mail comes', async (t) => {
  const { site, store } = await makeSetting(t);
  const config = await loadConfig({ file: join(dirname(site.paths.folder), 'sealpost.yaml'), env: {}, cwd: dirname(site.paths.folder) });
  const lists = t.mock.fn((kind: string) => store.records.list(kind));
  const counted = { known: store.known, records: { ...store.records, list: lists } };
  const harvested = makeHarvested({ config, store: counted, now: () => site.clock.now, log: pino({ level: 'silent' }) });
  for (let count = 0; count < 5; count++) await harvested.keep(harvestOf());
  assert.equal((await harvested.find({ address: ANNA, fingerprint: null })).length, 5);
  assert.deepEqual(await harvested.find({ address: 'ben@clinic.example', fingerprint: null }), []);
  assert.equal(lists.mock.callCount(), 1);
});

test('A22 a rule never changes what an address is pinned to, nor what another address of the certificate is', async (t) => {
  const setting = await makeSetting(t, { ...byRule, pin: true });
  assert.equal(await setting.harvested.keep(harvestOf('ben@clinic.example')), 'taken');
  await put(setting.store, { id: 'q1', uses: [useOf('old')] });
  const other = harvestOf();
  assert.equal(await setting.harvested.keep(other), 'pending');
  assert.equal(await stateOf(setting.store.known, other.certificate.fingerprint), undefined);
  const both = harvestOf('ben@clinic.example');
  const certificate = { ...both.certificate, addresses: ['ben@clinic.example', ANNA] };
  assert.equal(await setting.harvested.keep({ ...both, certificate }), 'pending');
});

test('A22 a certificate of further addresses waits whatever the rule says, and is approved for all of them or not at all', async (t) => {
  const setting = await makeSetting(t, byRule);
  const { certificate } = person(house, ANNA, { also: ['boss@clinic.example'] });
  assert.equal(await setting.harvested.keep(harvestOf(ANNA, { certificate })), 'pending');
  await assert.rejects(approve(setting), {
    code: 'usage',
    detail: 'it would be used for all addresses that it names: anna@clinic.example, boss@clinic.example',
    hint: `sealpost certs approve ${ANNA} ${certificate.fingerprint.slice(0, 16)} --all-addresses`,
  });
  assert.deepEqual(taken(setting), []);
  assert.equal(await approve(setting, { all_addresses: true }), certificate.fingerprint);
  assert.equal(taken(setting).length, 1);
  const many = Array.from({ length: 32 }, (_, index) => `p${index}@clinic.example`);
  const crowd = harvestOf(ANNA, { certificate: person(house, ANNA, { also: many }).certificate });
  await assert.rejects(setting.harvested.keep(crowd), { code: 'harvest-refused', detail: /names more than 32 addresses/ });
  await setting.store.close();
  assert.equal(readFileSync(setting.site.paths.audit, 'utf8').match(/"addresses":"anna@clinic.example, boss@clinic.example"/g)?.length, 2);
});

test('A22 a flood drives nobody out: eight wait of one address, and the first stay', async (t) => {
  const setting = await makeSetting(t);
  const { harvested } = setting;
  const first = Array.from({ length: 8 }, () => harvestOf());
  for (const harvest of first) assert.equal(await harvested.keep(harvest), 'pending');
  await assert.rejects(harvested.keep(harvestOf()), { code: 'harvest-full', temporary: true });
  assert.equal(await harvested.keep(harvestOf('ben@clinic.example')), 'pending');
  const waiting = await harvested.find({ address: ANNA, fingerprint: null });
  const names = (of: readonly { certificate: { fingerprint: string } }[]): string[] =>
    of.map((one) => one.certificate.fingerprint).toSorted();
  assert.deepEqual(names(waiting), names(first));
  assert.equal(await harvested.reject({ address: ANNA, fingerprint: null }, 'otto'), 8);
  assert.equal(await harvested.keep(harvestOf()), 'pending');
});

test('P6: beyond a thousand that wait no other is kept, of whatever address', async (t) => {
  const { harvested } = await makeSetting(t);
  for (let count = 0; count < 1000; count++) assert.equal(await harvested.keep(harvestOf(`p${count}@clinic.example`)), 'pending');
  await assert.rejects(harvested.keep(harvestOf('late@clinic.example')), { code: 'harvest-full', temporary: true });
});

test('A22 one flood told a thousand times is one line of the audit log a day', async (t) => {
  const setting = await makeSetting(t);
  for (let count = 0; count < 8; count++) await setting.harvested.keep(harvestOf());
  const more = (): Promise<void> => assert.rejects(setting.harvested.keep(harvestOf()), { code: 'harvest-full' });
  for (let count = 0; count < 5; count++) await more();
  setting.site.clock.now += DAY_MS;
  await more();
  await more();
  assert.equal((await setting.events()).filter(([event]) => event === 'certificate-unlisted').length, 2);
});

test('a newer mail of a certificate that is there tells what its holder can open now', async (t) => {
  const setting = await makeSetting(t);
  const { harvested, capabilities } = setting;
  const harvest = harvestOf(ANNA, { known: true, by: 'otto' });
  assert.equal(await harvested.keep(harvest), 'known');
  for (const able of [[GCM, '1.2.3'], ['1.2.3'], ['1.2.3']]) {
    assert.equal(await harvested.keep({ ...harvest, capabilities: able }), 'known');
    assert.deepEqual(capabilities.of(harvest.certificate), able);
  }
  assert.deepEqual(taken(setting), []);
  assert.equal((await setting.events()).length, 2);
});

test('what nobody has said a word on for 90 days goes, and the audit log tells', async (t) => {
  const setting = await makeSetting(t);
  await setting.harvested.keep(harvestOf());
  setting.site.clock.now += 91 * DAY_MS;
  await setting.harvested.keep(harvestOf('ben@clinic.example'));
  assert.deepEqual((await setting.events()).slice(1), [
    ['certificate-rejected', ANNA, 'relay'],
    ['certificate-harvested', 'ben@clinic.example', null],
  ]);
});

test('without the folder among the sources nothing is approved into the void', async (t) => {
  const setting = await makeSetting(t, { sources: [{ files: 'certs/recipients' }] });
  await setting.harvested.keep(harvestOf());
  await assert.rejects(approve(setting), { code: 'config-invalid' });
  assert.equal((await setting.harvested.find({ address: ANNA, fingerprint: null })).length, 1);
});

test('over the control socket: only a certificate that names its address, in whole octets', async (t) => {
  const { handlers } = await makeSetting(t);
  const { certificate } = harvestOf();
  const ask = (words: Readonly<Record<string, unknown>>): Promise<unknown> =>
    handlers['certs-harvested']?.({
      command: 'certs-harvested',
      operator: 'otto',
      address: ANNA,
      certificate: base64Of(certificate),
      intermediates: [],
      issuers: [],
      capabilities: [],
      ...words,
    }) ?? Promise.resolve();
  await assert.rejects(ask({ address: 'ben@clinic.example' }), { code: 'usage' });
  await assert.rejects(ask({ certificate: 'AAAA' }), { code: 'certificate-malformed' });
  await assert.rejects(ask({ intermediates: 'x' }), { code: 'usage' });
  assert.equal(await ask({}), 'pending');
});

test('a record that the disk changed is no certificate', async (t) => {
  const { store, harvested } = await makeSetting(t);
  const harvest = harvestOf();
  await harvested.keep(harvest);
  for (const value of ['', '{', '{}', JSON.stringify({ address: ANNA, certificate: 'AAAA' })]) {
    await store.records.change([{ kind: KIND, key: harvest.certificate.fingerprint, value }], []);
    assert.deepEqual(await harvested.find({ address: ANNA, fingerprint: null }), []);
  }
});
