/**
 * What every fault is tried on: a site with the relay as a real process, mail that carries a canary wherever people put what is nobody's
 * business, and the search for it afterwards, in the data folder, the temporary folder, the log and on the wire (P2).
 */
import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openMessage } from '../../src/seal/open.ts';
import { type Dialogue, dialogue } from '../ingress/dialogue.ts';
import { missingPrograms } from '../interop/programs.ts';
import { makeSite, type Owner, type RunningRelay, type Site, type SiteOptions } from '../relay/site.ts';
import type { Delivery } from '../relay/upstream.ts';
import { findCanary } from './canary.ts';

export const CANARY = 'canary-5c1e77d09b';

/** What to hand to node:test as `skip`. */
export const needs = (programs: Readonly<Record<string, string>> = {}): { readonly skip: string | false } => ({
  skip: missingPrograms({ openssl: 'openssl', env: 'coreutils', ...programs }) ?? false,
});

/** The canary in Subject, a field of its own, boundary, file name and body. Above 9,000 lines the body becomes a file of the queue. */
export const mail = (lines = 1): string =>
  [
    `Subject: ${CANARY}`,
    `X-Patient: ${CANARY}`,
    `Content-Type: multipart/mixed; boundary="${CANARY}"`,
    '',
    `--${CANARY}`,
    `Content-Disposition: attachment; filename="${CANARY}.pdf"`,
    '',
    `${CANARY}\r\n`.repeat(lines),
    `--${CANARY}--`,
    '',
  ].join('\r\n');

/** Lines of a mail whose body becomes a file. */
export const LARGE = 9_000;

export interface Tried extends Site {
  /** Fails where the canary stands on a disk, in a log, or in what went over the wire. */
  assertSealed(deliveries?: readonly Delivery[]): Promise<void>;
  /** The body of each of Anna's mails, as she reads it, opens and holds what was sent. */
  assertWhole(deliveries: readonly Delivery[]): Promise<void>;
  /** Events of the audit log, oldest first. */
  events(...wanted: readonly string[]): Promise<Readonly<Record<string, unknown>>[]>;
}

export async function tried(t: Owner, options: SiteOptions): Promise<Tried> {
  const site = await makeSite(t, options);
  const temporary = join(site.dir, 'tmp');
  await mkdir(temporary);
  const relays: RunningRelay[] = [];
  return {
    ...site,
    async serve(prefix = []) {
      const relay = await site.serve(['env', `TMPDIR=${temporary}`, ...prefix]);
      relays.push(relay);
      return relay;
    },
    async assertSealed(deliveries = []) {
      await writeFile(join(temporary, 'log'), relays.map((relay) => relay.log()).join('\n'));
      assert.deepEqual(await findCanary([site.data, temporary], CANARY), []);
      for (const { octets } of deliveries) assert.ok(!octets.includes(CANARY), 'on the wire');
    },
    async assertWhole(deliveries) {
      const key = createPrivateKey(await readFile(site.readers.people.anna.key));
      for (const { octets } of deliveries) assert.ok(openMessage(octets, [{ key }]).entity.includes(`filename="${CANARY}.pdf"`));
    },
    async events(...wanted) {
      const lines = (await readFile(join(site.data, 'audit.jsonl'), 'utf8')).trim().split('\n');
      const events = lines.map((line): Record<string, unknown> => ({ ...JSON.parse(line) }));
      return events.filter(({ event }) => wanted.length === 0 || wanted.includes(String(event)));
    },
  };
}

/** A client in the middle of its message: everything up to 354 was said, and a part of what follows. */
export async function midway(port: number, part: string, waitMs = 15_000): Promise<Dialogue> {
  const client = await dialogue(port, { waitMs });
  await client.expect(/^220/);
  for (const line of ['EHLO web.clinic.example', 'MAIL FROM:<forms@clinic.example>', 'RCPT TO:<anna@clinic.example>'])
    await client.ask(line, /^250/);
  await client.ask('DATA', /^354/);
  client.send(part);
  return client;
}

export const quickRetry = { retry: { first: '1s', longest: '1s', max_age: '1h' } };
