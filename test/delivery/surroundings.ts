import pino from 'pino';
import { type Pauses } from '../../src/delivery/health.ts';
import type { Rate } from '../../src/delivery/rate.ts';
import type { Notices } from '../../src/delivery/notices.ts';
import type { Timeouts } from '../../src/delivery/result.ts';
import { makeRoute, type Route } from '../../src/delivery/route.ts';
import { makeScheduler, type Scheduler } from '../../src/delivery/scheduler.ts';
import { makeUpstream, type Upstream, type UpstreamOptions, type UpstreamSurroundings } from '../../src/delivery/upstream.ts';
import type { Retry } from '../../src/delivery/retry.ts';
import type { Outgoing } from '../../src/delivery/transaction.ts';
import type { Spool } from '../../src/queue/spool/spool.ts';
import type { DeliveryQueue } from './memory-queue.ts';

export const log = pino({ level: 'silent' });

/** Long enough for a slow machine, short enough for a test that wants one to pass. */
export function timeouts(shorter: Partial<Timeouts> = {}): Timeouts {
  const ms = 20_000;
  return { connect: ms, greeting: ms, ehlo: ms, mail: ms, rcpt: ms, data: ms, block: ms, dot: ms, ...shorter };
}

/** A small message to Anna. */
export function outgoing(more: Partial<Outgoing> = {}): Outgoing {
  const content = Buffer.from('Subject: s\r\n\r\nAAAA\r\n');
  return {
    sender: 'forms@clinic.example',
    recipient: 'anna@clinic.example',
    needsSmtputf8: false,
    envid: null,
    notify: null,
    orcpt: null,
    size: content.length,
    async *content() {
      yield content;
    },
    beforeDot: async () => {},
    ...more,
  };
}

/** A message of so many octets: SIZE counts from 64 KiB. */
export function outgoingOf(octets: number): Outgoing {
  const content = Buffer.from(`${`${'x'.repeat(62)}\r\n`.repeat(octets / 64)}${'x'.repeat(octets % 64)}`);
  return outgoing({
    size: octets,
    async *content() {
      yield content;
    },
  });
}

/** Pauses that a test can wait for. */
export const briefly: Pauses = { coolFirst: 20, coolLongest: 200, slowFirst: 40, slowLongest: 400, patience: 10_000 };

interface More extends Partial<UpstreamSurroundings> {
  readonly concurrency?: number;
  readonly rate?: Rate;
}

export function upstreamAt(port: number, more: More = {}, options: Partial<UpstreamOptions> = {}): Upstream {
  const { concurrency = 2, rate, ...surroundings } = more;
  return makeUpstream(
    { host: '127.0.0.1', port, concurrency, rate, ...options },
    { hostname: 'relay.test', now: Date.now, random: Math.random, timeouts: timeouts(), ...surroundings },
  );
}

/** Nobody is told anything. */
export const silent: Notices = {
  tell: (_lease, _result, conclusion) => conclusion,
  refuse: () => ({ note: 'none', events: [] }),
  held: () => ({ note: 'none', events: [] }),
  heldTooLong: () => ({ outcome: { kind: 'bounced', reason: '' }, events: [] }),
  compose: async () => Buffer.alloc(0),
  counters: () => ({ notices: 0, noticesWithheld: 0 }),
};

/** Retries within milliseconds. */
export const soon: Retry = { maxAge: 3_600_000, first: 10, longest: 40 };

export interface Running extends AsyncDisposable {
  readonly scheduler: Scheduler;
  readonly route: Route;
}

export function running(
  queue: DeliveryQueue,
  upstreams: readonly Upstream[],
  more: { retry?: Retry; now?: () => number; notices?: Notices; spool?: Pick<Spool, 'read'> } = {},
): Running {
  const route = makeRoute(upstreams, log);
  const scheduler = makeScheduler({ queue, route, retry: soon, notices: silent, now: Date.now, random: Math.random, log, ...more });
  scheduler.start();
  return {
    scheduler,
    route,
    async [Symbol.asyncDispose]() {
      await scheduler.stop(5_000);
      await route.close();
    },
  };
}
