/** The address that takes signed mail: whose turn it is, and what is only unavailable. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import { pino } from 'pino';
import { buildPath, makeCertificateSet } from '../../src/certificates/path.ts';
import type { Trust } from '../../src/certificates/trust.ts';
import type { Envelope } from '../../src/message/envelope.ts';
import { type HarvestAddressParts, withHarvestAddress } from '../../src/upkeep/harvest-address.ts';
import { mailOf, person, signedBy } from '../certificates/harvest/sign.ts';
import { mailboxOf } from '../certificates/openssl.ts';
import { root } from '../certificates/pki.ts';

const KEYS = 'keys@relay.example';
const TEXT = Buffer.from('Content-Type: text/plain\r\n\r\nhello\r\n');
const house = root('House');
const MAIL = mailOf(TEXT, signedBy(person(house, 'anna@clinic.example'), TEXT));

const trust: Trust = {
  async judge(certificate) {
    const verdict = buildPath(certificate, makeCertificateSet([house.certificate]), makeCertificateSet([]), Date.now());
    return verdict.kind === 'trusted' ? { ...verdict, revocation: 'off' } : verdict;
  },
};

const envelope: Envelope = {
  sender: null,
  recipients: [{ mailbox: mailboxOf(KEYS), notify: null, orcpt: null }],
  envid: null,
  client: { address: '192.0.2.7', helo: '', tls: null, user: null },
  protocol: 'ESMTP',
};

/** What is said to one mail. */
function receptionOf(keep: HarvestAddressParts['harvested']['keep'], recipients: HarvestAddressParts['certificates']['recipients']) {
  const onward = {
    recipient: () => Promise.reject(new Error('not here')),
    accept: () => Promise.reject(new Error('not here')),
  };
  const intermediates = {
    path: '',
    contents: async () => ({ kind: 'read', version: 1, certificates: [], broken: [], unread: undefined }) as const,
    refresh: async () => undefined,
    close: () => undefined,
  };
  const reception = withHarvestAddress(onward, {
    address: KEYS,
    certificates: { trustWith: () => trust, recipients, intermediates },
    harvested: { keep },
    patience: 10_000,
    now: Date.now,
    log: pino({ level: 'silent' }),
  });
  return () =>
    reception.accept(
      envelope,
      (async function* () {
        yield MAIL;
      })(),
    );
}

test('others get a turn of the event loop between two mails', async () => {
  let turns = 0;
  const over = new AbortController();
  const counted = (async () => {
    for (; !over.signal.aborted; turns++) await turn();
  })();
  const at: number[] = [];
  const submit = receptionOf(async () => {
    at.push(turns);
    return 'pending';
  }, []);
  await Promise.all(Array.from({ length: 5 }, submit));
  over.abort();
  await counted;
  assert.equal(new Set(at).size, 5, String(at));
});

test('P5: a folder that cannot be read is unavailable, not a fault of the relay', async () => {
  const gone = {
    entries: () => {
      throw Object.assign(new Error('a mount that is gone'), { code: 'EIO' });
    },
  };
  const submit = receptionOf(async () => 'pending', [gone]);
  await assert.rejects(submit(), { code: 'lookup-unavailable', temporary: true });
});
