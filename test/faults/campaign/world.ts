/**
 * The site of a campaign: rules that seal, hold, pass and refuse, the key of held mail on the relay, an upstream with moods; and at its end
 * the account of all of it. `anna` and `ben` have certificates, `carla` has one now and then, `dora` never.
 */
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHold, keysIn } from '../../../src/commands/hold-key.ts';
import { callControl } from '../../../src/control.ts';
import { listHeld } from '../../../src/queue/held-list.ts';
import { openDatabaseReadOnly } from '../../../src/queue/schema.ts';
import { run } from '../../interop/programs.ts';
import { makeSite, type Owner } from '../../relay/site.ts';
import { findCanary } from '../canary.ts';
import { type Answer, countingUpstream, type CountingUpstream, TAKEN } from '../counting-upstream.ts';
import { type Mail, type MailMaker, makeMails, type Told } from '../load.ts';
import { makeLooking } from '../opened.ts';
import { account, type Account, readStored } from '../sets.ts';
import { BUILT_CLI, type RelayProcess, startBuilt, type StartOptions } from './process.ts';
import type { Chance } from './random.ts';

export const READERS = {
  anna: 'anna@clinic.example',
  ben: 'ben@clinic.example',
  carla: 'carla@clinic.example',
  dora: 'dora@clinic.example',
};
export const LISTED = 'all@list.example';
export const REFUSED = 'who@refused.example';

export interface World {
  readonly dir: string;
  readonly data: string;
  readonly upstream: CountingUpstream;
  readonly mails: MailMaker;
  readonly told: Told[];
  /** Undefined: the upstream takes everything. */
  mood: Chance | undefined;
  start(options?: Pick<StartOptions, 'prefix' | 'env'>): RelayProcess;
  make(recipients: readonly string[], octets?: number): Mail;
  readonly note: (told: Told) => void;
  /** Whether carla has a certificate. */
  certify(has: boolean): void;
  /** Over the control socket; nothing where no relay answers. `remove`: takes out one that is held. */
  release(remove?: boolean): Promise<void>;
  /** Lets everything drain, stops, and holds the sets to each other. */
  finish(): Promise<Account & { readonly looked: number; readonly inClear: number }>;
}

export interface WorldOptions {
  /** Of this many messages one is opened. */
  readonly lookEvery?: number;
  /** Sessions with the upstream. */
  readonly concurrency?: number;
}

const RULES = [
  { name: 'list', when: { recipient: '*@list.example' }, then: 'pass' },
  { name: 'closed', when: { recipient: '*@refused.example' }, then: 'refuse' },
  { name: 'everything', then: 'seal', subject: { replace: 'sealed [{queue_id}]' }, missing: 'hold' },
];
const NO_OCTETS = Buffer.alloc(0);
const DRAIN_MS = 300_000;
const DRAIN_POLL_MS = 500;
const HELD_ROWS = 20;

/** A share each: what goes wrong at an upstream, the rest is taken. A cut may come on either side of what the upstream keeps. */
function moody(chance: Chance): Answer {
  const draw = chance.next();
  if (draw < 0.1) return { took: false, reply: '451 4.2.1 the mailbox is busy' };
  if (draw < 0.15) return { took: false, reply: '550 5.1.1 no such user' };
  if (draw < 0.2) return { took: true, reply: undefined };
  return draw < 0.25 ? { took: false, reply: undefined } : TAKEN;
}

export async function makeWorld(owner: Owner, { lookEvery = 1, concurrency = 3 }: WorldOptions = {}): Promise<World> {
  const mails = makeMails();
  const sent = new Map<string, Mail>();
  const wrong: string[] = [];
  let [looked, inClear, seen] = [0, 0, 0];
  const upstream = await countingUpstream({
    atDot({ id, recipient }, octets) {
      const mail = sent.get(id);
      if (mail === undefined) {
        // A notice of the relay's own carries no content (P3, A18). Mail that was answered 451 may have become durable all the same, and
        // what a rule passes of it is in clear by that rule.
        if (recipient !== LISTED && octets.includes(mails.canary)) {
          inClear++;
          wrong.push(`clear: what the upstream got for ${recipient}, of mail that nobody was told 250 for`);
        }
        return TAKEN;
      }
      if (seen++ % lookEvery === 0) {
        looked++;
        const look = looking(mail, recipient, octets);
        if (look === 'clear') inClear++;
        if (look !== 'whole') wrong.push(`${look}: what the upstream got of ${id} for ${recipient}`);
      }
      return world.mood === undefined ? TAKEN : moody(world.mood);
    },
  });
  owner.after(() => upstream.stop());
  const retry = { retry: { first: '1s', longest: '1s', max_age: '1d' }, hold: { passphrase: 'file:keys/hold.passphrase' } };
  const config = { ...retry, upstream: [{ host: '127.0.0.1', port: upstream.port, concurrency }] };
  const site = await makeSite(owner, { upstreamPort: upstream.port, people: ['anna', 'ben'], rules: RULES, config });
  const looking = await makeLooking(site.readers, (recipient) => recipient === LISTED);
  await createHold(keysIn(join(site.dir, 'keys')), 'Campaign', Date.now());
  const [temporary, log] = [join(site.dir, 'tmp'), join(site.dir, 'relay.log')];
  mkdirSync(temporary);
  const certificate = join(site.dir, 'certs/recipients/carla.pem');
  let running: RelayProcess | undefined;
  owner.after(() => running?.kill());
  const world: World = {
    dir: site.dir,
    data: site.data,
    upstream,
    mails,
    told: [],
    mood: undefined,
    start: (options = {}) => (running = startBuilt({ file: site.file, cwd: site.dir, log, temporary, ...options })),
    make(recipients, octets) {
      const mail = mails.make(recipients, octets);
      sent.set(mail.id, mail);
      return mail;
    },
    note(told) {
      // Octets stay with `sent` alone, and there only until they are known to have come; what was refused may not come at all.
      if (told.kind === 'refused' || told.kind === 'unsent') sent.delete(told.mail.id);
      world.told.push({ ...told, mail: { ...told.mail, message: NO_OCTETS } });
    },
    certify(has) {
      if (has) copyFileSync(site.readers.people.carla.certificate, certificate);
      else rmSync(certificate, { force: true });
    },
    release: (remove = false) => releaseHeld(site.data, remove),
    async finish() {
      world.mood = undefined;
      world.certify(true);
      const relay = world.start();
      await relay.port;
      await drained(world);
      await relay.stop();
      const counted = account({ told: world.told, stored: readStored(site.data), copies: upstream.copies });
      const places = await findCanary([site.dir], mails.canary);
      const faults = [...counted.faults, ...wrong, ...places.map((place) => `in clear: ${place.slice(site.dir.length)}`)];
      const verified = await run(process.execPath, [BUILT_CLI, '-c', site.file, 'audit', 'verify'], { cwd: site.dir });
      if (verified.code !== 0) faults.push(`audit: ${verified.stderr.trim()}`);
      if (counted.fates.damaged > 0) faults.push(`damaged: ${counted.fates.damaged} recipients`);
      if (counted.fates.waiting > 0) faults.push(`not drained: ${counted.fates.waiting} recipients wait`);
      return { ...counted, faults, looked, inClear: inClear + places.length };
    },
  };
  return world;
}

/** Nothing waits any more but what is held for want of a certificate; carla's goes out on the way. */
async function drained(world: World): Promise<void> {
  const end = Date.now() + DRAIN_MS;
  for (;;) {
    await world.release();
    const { entries } = readStored(world.data);
    const waits = entries.some(({ state, recipient }) =>
      state === 'held' ? recipient === READERS.carla : ['ready', 'leased', 'deferred'].includes(state),
    );
    if (!waits || Date.now() > end) return;
    await sleep(DRAIN_POLL_MS);
  }
}

async function releaseHeld(data: string, remove: boolean): Promise<void> {
  try {
    const db = openDatabaseReadOnly(join(data, 'queue.sqlite'));
    const recipient = remove ? READERS.dora : READERS.carla;
    const rows = listHeld(db, { recipient }, 0, remove ? 1 : HELD_ROWS).map(({ row, queueId }) => ({ row, queueId }));
    db.close();
    const [first] = rows;
    if (first === undefined) return;
    const request = remove ? { command: 'queue-remove', queueId: first.queueId, recipient } : { command: 'queue-release', rows };
    await callControl(join(data, 'control.sock'), { operator: 'campaign', ...request });
  } catch {
    // The relay was killed meanwhile, or was not there yet: what of it stands, the sets tell.
  }
}
