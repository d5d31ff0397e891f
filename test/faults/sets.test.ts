/** The account that faults are judged by must see each thing that can be wrong; and a relay that is well has none of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../interop/ports.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite } from '../relay/site.ts';
import { findCanary } from './canary.ts';
import { type Copy, countingUpstream, TAKEN } from './counting-upstream.ts';
import { makeMails, runLoad, type Told } from './load.ts';
import { type Look, makeLooking } from './opened.ts';
import { account, type Fate, readStored, type Stored } from './sets.ts';

const ANNA = 'anna@clinic.example';
const mail = makeMails().make([ANNA]);
const told: Told[] = [{ kind: 'taken', mail, queueId: 'q1', at: 0 }];
const copy: Copy = { id: mail.id, recipient: ANNA, sha256: 'a', answer: TAKEN, at: 0 };
const event = (name: string): Stored['events'][number] => ({ event: name, queue_id: 'q1', recipient: ANNA });
const stored = (events: readonly string[], states: readonly Stored['entries'][number]['state'][] = []): Stored => ({
  entries: states.map((state) => ({ queueId: 'q1', recipient: ANNA, state })),
  events: events.map(event),
});

test('every fate is counted once', () => {
  const fates: readonly (readonly [Fate, Stored])[] = [
    ['delivered', stored(['delivered'])],
    ['removed', stored(['removed'])],
    ['bounced', stored(['bounced'])],
    ['bounced', stored(['bounced'], ['bounced'])],
    ['waiting', stored(['bounced'], ['deferred'])],
    ['held', stored([], ['held'])],
    ['damaged', stored([], ['damaged'])],
    ['waiting', stored(['ambiguous'], ['leased'])],
  ];
  for (const [fate, store] of fates) {
    const found = account({ told, stored: store, copies: fate === 'delivered' ? [copy] : [] });
    assert.deepEqual(found.faults, [], fate);
    assert.equal(found.fates[fate], 1, fate);
  }
});

test('what is lost, doubled, contradictory, altered or only said to be delivered is a fault', () => {
  const faultOf = (store: Stored, copies: readonly Copy[]): string => account({ told, stored: store, copies }).faults.join();
  assert.match(faultOf(stored([]), []), /^lost: q1 to anna/);
  assert.match(faultOf(stored(['delivered'], ['deferred']), [copy]), /^twice in the sets/);
  assert.match(faultOf(stored(['delivered']), []), /^never came/);
  assert.match(faultOf(stored(['delivered']), [{ ...copy, answer: { took: false, reply: '451 later' } }]), /^never came/);
  assert.match(faultOf(stored(['delivered']), [copy, copy]), /^unexplained: .* 2 copies/);
  assert.equal(faultOf(stored(['ambiguous', 'delivered']), [copy, copy]), '');
  assert.match(faultOf(stored(['ambiguous', 'delivered']), [copy, { ...copy, sha256: 'b' }]), /^not the same octets/);
});

test('one of many is lost, or came twice: the others, and what is told of them, explain nothing', () => {
  const others = makeMails().make([ANNA, 'ben@clinic.example']);
  const many: Told[] = [...told, { kind: 'taken', mail: others, queueId: 'q2', at: 0 }];
  const of = (name: string, queue_id: string, recipient: string): Stored['events'][number] => ({ event: name, queue_id, recipient });
  const ben = (name: string) => of(name, 'q2', 'ben@clinic.example');
  const copies = [copy, { ...copy, id: others.id }, { ...copy, id: others.id, recipient: 'ben@clinic.example' }];
  const events = [event('delivered'), of('delivered', 'q2', ANNA), ben('delivered')];
  const accountOf = (store: Stored['events'], kept: readonly Copy[]) =>
    account({ told: many, stored: { entries: [], events: store }, copies: kept });
  assert.deepEqual(accountOf(events, copies).faults, []);
  const lost = accountOf(events.slice(0, -1), copies.slice(0, -1));
  assert.deepEqual([lost.lost, lost.recipients, lost.fates.delivered], [1, 3, 2]);
  assert.deepEqual(lost.faults, ['lost: q2 to ben@clinic.example got a 250, and nothing tells of it']);
  const twice = [...copies, copy];
  assert.match(
    accountOf([...events, ben('ambiguous')], twice).faults.join(),
    /^unexplained: the upstream has 2 copies of q1 to anna@clinic\.example$/,
  );
  assert.deepEqual(accountOf([...events, event('ambiguous')], twice).faults, []);
});

test(
  'a load through a relay that is well: every set is equal, every message opens, nothing is in clear',
  { skip: missingPrograms({ openssl: 'openssl' }) ?? false },
  async (t) => {
    const mails = makeMails();
    const looks: Look[] = [];
    const told: Told[] = [];
    const sent = new Map<string, Parameters<typeof looking>[0]>();
    const refusing = 'ben@clinic.example';
    const upstream = await countingUpstream({
      atRcpt: (recipient) => (recipient === refusing ? '550 5.1.1 no such user' : undefined),
      atDot({ id, recipient }, octets) {
        const mail = sent.get(id);
        if (mail !== undefined) looks.push(looking(mail, recipient, octets));
        return TAKEN;
      },
    });
    t.after(() => upstream.stop());
    const site = await makeSite(t, { upstreamPort: upstream.port });
    const looking = await makeLooking(site.readers);
    const relay = await site.serve();
    const to = [[ANNA], [ANNA, 'carla@clinic.example'], [refusing], ['nobody@clinic.example']];
    let number = 0;
    const next = () => {
      const recipients = to[number++ % to.length] ?? [];
      const mail = mails.make(recipients, number % 5 === 0 ? 300_000 : 300);
      sent.set(mail.id, mail);
      return number > 40 ? undefined : mail;
    };
    await runLoad({ port: relay.port, clients: 3, next, onTold: (one) => told.push(one) });
    assert.equal(told.filter(({ kind }) => kind === 'refused').length, 10);
    const settled = (): number => {
      const { fates } = account({ told, stored: readStored(site.data), copies: upstream.copies });
      return fates.delivered + fates.bounced;
    };
    await until('all is settled', () => settled() === 40);
    await relay.stop();
    const { faults, fates, messages, recipients } = account({ told, stored: readStored(site.data), copies: upstream.copies });
    assert.deepEqual(faults, []);
    assert.deepEqual(
      { messages, recipients, delivered: fates.delivered, bounced: fates.bounced },
      { messages: 30, recipients: 40, delivered: 30, bounced: 10 },
    );
    assert.deepEqual(
      looks,
      looks.map(() => 'whole'),
    );
    assert.equal(looks.length, 30);
    assert.deepEqual(await findCanary([site.data], mails.canary), []);
    assert.ok(!relay.log().includes(mails.canary));
  },
);
