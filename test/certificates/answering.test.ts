import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeAnswering } from '../../src/certificates/answering.ts';
import type { CertificateSource, SourceAnswer } from '../../src/certificates/source.ts';
import { mailboxOf } from './openssl.ts';

const anna = mailboxOf('anna@clinic.example');
const MINUTE_MS = 60_000;

const source = (name: string, answer: () => Promise<SourceAnswer>): CertificateSource => ({ name, lookup: answer, close: () => {} });
const absent = async (): Promise<SourceAnswer> => ({ kind: 'absent' });

test('a source that gave no answer is told of until it answers, or nobody has asked it for a while', async () => {
  let elapsed = 0;
  const answering = makeAnswering(() => elapsed);
  let answer: () => Promise<SourceAnswer> = async () => ({ kind: 'unavailable', cause: new Error('down') });
  const shaky = answering.watch(source('ldap', () => answer()));
  const steady = answering.watch(source('files', absent));
  const { signal } = new AbortController();
  assert.equal(answering.all(), true, 'nobody was asked');
  await shaky.lookup(anna, signal);
  await steady.lookup(anna, signal);
  assert.equal(answering.all(), false, 'the answer of another is none of this one');
  elapsed = 6 * MINUTE_MS;
  assert.equal(answering.all(), true);
  answer = () => Promise.reject(new Error('thrown'));
  await assert.rejects(shaky.lookup(anna, signal), /thrown/);
  assert.equal(answering.all(), false);
  answer = absent;
  await shaky.lookup(anna, signal);
  assert.equal(answering.all(), true);
});

test('one that hangs is told of once nobody waits for it any more, and an answer that comes too late is none', async () => {
  const answering = makeAnswering(() => 0);
  const late = Promise.withResolvers<SourceAnswer>();
  const hanging = answering.watch(source('ldap', () => late.promise));
  const cancel = new AbortController();
  const asked = hanging.lookup(anna, cancel.signal);
  assert.equal(answering.all(), true);
  cancel.abort();
  assert.equal(answering.all(), false);
  late.resolve({ kind: 'absent' });
  await asked;
  assert.equal(answering.all(), false);
});

test('what a source says of its keys goes through', () => {
  const answering = makeAnswering(() => 0);
  assert.equal(answering.watch({ ...source('dns', absent), keyOf: () => 'key' }).keyOf?.(anna), 'key');
  assert.ok(!('keyOf' in answering.watch(source('ldap', absent))));
});
