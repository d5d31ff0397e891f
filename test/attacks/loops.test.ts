/** Mail in a circle, between real relays: it ends, somebody is told once, and nothing answers what could not be told (A17). */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { freePort, until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { startTee } from '../interop/tee.ts';
import { makeSite, type Site } from '../relay/site.ts';
import { send } from '../relay/submit.ts';

const needs = { skip: missingPrograms({ openssl: 'openssl' }) ?? false, timeout: 120_000 };
const pass = [
  { name: 'news', when: { sender: '*@clinic.example' }, then: 'pass' },
  { name: 'rest', then: 'seal', subject: 'keep', missing: 'refuse' },
];
const quick = { retry: { first: '1s', longest: '1s', max_age: '1h' } };
const letter = 'From: forms@clinic.example\r\nTo: anna@clinic.example\r\nSubject: x\r\n\r\nbody\r\n';

/** A site that listens where it says and hands on to `upstreamPort`. */
const siteAt = (t: TestContext, port: number, upstreamPort: number, more: Partial<Parameters<typeof makeSite>[1]> = {}): Promise<Site> =>
  makeSite(t, {
    upstreamPort,
    ...more,
    config: { ...quick, ...more.config, listen: [{ host: '127.0.0.1', port }] },
  });

const eventsOf = async (site: Site): Promise<(name: string) => Record<string, unknown>[]> => {
  const events = (await site.sealpost('audit', 'show', '--json'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line): Record<string, unknown> => JSON.parse(line));
  return (name) => events.filter(({ event }) => event === name);
};

const settled = async (site: Site): Promise<boolean> => {
  const stats = await site.sealpost('queue', 'stats');
  return /ready 0, leased 0, deferred 0/.test(stats) && /bounced [1-9]/.test(stats);
};

test('A17: a relay that is its own upstream does not start, and says which key it is', needs, async (t) => {
  const port = await freePort();
  const site = await siteAt(t, port, port);
  await assert.rejects(site.serve(), /upstream\[0\]\.port: is a listener of this relay/);
});

test('A17: its own upstream behind a forwarder: fifty turns, then it bounces; no notice goes round for ever', needs, async (t) => {
  const port = await freePort();
  const forwarder = await startTee({ to: port });
  t.after(() => forwarder[Symbol.asyncDispose]());
  const site = await siteAt(t, port, forwarder.port, { rules: pass });
  const relay = await site.serve();
  await send(relay.port, ['anna@clinic.example'], letter);
  await until('it has ended', () => settled(site), 90_000);
  await relay.stop();
  const events = await eventsOf(site);
  const [first] = events('bounced').filter(({ recipient }) => recipient === 'anna@clinic.example');
  assert.match(JSON.stringify(first), /5\.4\.6/);
  const turns = events('accepted').length;
  assert.ok(turns >= 50 && turns < 250, `${turns} turns`);
  // The mail, and each notice of it: once.
  const bounced = events('bounced').map(({ recipient }) => recipient);
  assert.equal(new Set(bounced).size, bounced.length, bounced.join(', '));
  assert.ok(events('bounced').some(({ notice }) => String(notice).includes('the sender is null')));
  assert.ok(events('notice').length <= 2);
});

test(
  'A17: two relays at each other that seal anew at each turn: what grows is refused for its size, once, and bounced',
  needs,
  async (t) => {
    const [one, two] = [await freePort(), await freePort()];
    const limits = { limits: { message_bytes: '256KiB' } };
    const sites = [await siteAt(t, one, two, { config: limits }), await siteAt(t, two, one, { config: limits })];
    const relays = [];
    for (const site of sites) relays.push(await site.serve());
    await send(one, ['anna@clinic.example'], letter);
    const over = async (): Promise<boolean> => {
      const stats = await Promise.all(sites.map((site) => site.sealpost('queue', 'stats')));
      return stats.every((text) => /ready 0, leased 0, deferred 0/.test(text)) && stats.some((text) => /bounced [1-9]/.test(text));
    };
    await until('it has ended', over, 90_000);
    for (const relay of relays) await relay.stop();
    const all = await Promise.all(sites.map(eventsOf));
    const count = (name: string): number => all.reduce((sum, events) => sum + events(name).length, 0);
    assert.ok(count('accepted') > 5 && count('accepted') < 120, `${count('accepted')} turns`);
    const mail = all.flatMap((events) => events('bounced')).filter(({ recipient }) => recipient === 'anna@clinic.example');
    assert.equal(mail.length, 1);
    assert.match(JSON.stringify(mail), /5\.3\.4|5\.4\.6/);
    assert.ok(count('notice') <= 2, `${count('notice')} notices`);
  },
);
