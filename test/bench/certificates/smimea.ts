/** Certificates from DNS: what a question costs, and the worst answer that fits into one message. */
import { randomBytes } from 'node:crypto';
import { decode } from 'dns-packet';
import { issueCertificate, makeAuthority } from '../../../src/certificates/authority/issue.ts';
import { makeResolver } from '../../../src/certificates/smimea/resolver.ts';
import { makeSmimeaSource } from '../../../src/certificates/smimea/source.ts';
import { readResponse, writeQuery } from '../../../src/certificates/smimea/wire.ts';
import { parseMailbox } from '../../../src/message/envelope.ts';
import { answerTo, fakeResolver, smimeaAnswer } from '../../certificates/smimea/fake.ts';
import type { Print } from '../certificates.ts';
import type { Owner } from '../owner.ts';

const QUESTIONS = 3_000;
const SIDE_BY_SIDE = 20;

export async function benchSmimea(print: Print, owner: Owner): Promise<void> {
  const now = Date.now();
  const parsed = parseMailbox('anna@clinic.example');
  if (parsed.kind === 'fault') throw new Error(parsed.fault);
  const { mailbox } = parsed;
  const authority = await makeAuthority({ name: 'bench', now });
  const { certificate } = await issueCertificate({ authority, mailbox, name: 'Anna', key: 'ec', days: 30, now });
  const data = Buffer.concat([Buffer.of(3, 0, 0), certificate.der]);
  const fake = await fakeResolver((asked) => answerTo(asked, { answers: [smimeaAnswer(asked.name, data)] }));
  owner.after(() => fake.close());
  const source = makeSmimeaSource({ resolver: makeResolver({ ...fake, randomBytes }), trust: 'anchors', now: Date.now });

  const started = performance.now();
  let left = QUESTIONS;
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const answer = await source.lookup(mailbox, AbortSignal.timeout(10_000));
      if (answer.kind !== 'found') throw new Error(`the answer is ${answer.kind}`);
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, one));
  const seconds = (performance.now() - started) / 1000;
  print(`SMIMEA: ${Math.round(QUESTIONS / seconds)} questions a second, ${SIDE_BY_SIDE} side by side, the resolver in the same process`);

  const query = writeQuery({ id: 1, name: 'clinic.example', type: 53 });
  const bomb = pointers(query);
  print(`SMIMEA: 64 KiB of pointers: ${time(() => readResponse(query, bomb))} ms, with dns-packet ${time(() => decode(bomb))} ms`);
}

/** A first record whose data are pointers to pointers, and as many more as fit, named by the last of them. */
function pointers(query: Buffer): Buffer {
  const octets = Buffer.alloc(65_535);
  const start = query.length - 11;
  query.copy(octets, 0, 0, start);
  octets.writeUInt16BE(0x81a0, 2);
  octets.writeUInt16BE(0, 10);
  octets.writeUInt16BE(53, start + 1);
  octets.writeUInt16BE(1, start + 3);
  octets.writeUInt16BE(16_000, start + 9);
  const from = start + 11;
  for (let at = from + 2; at < from + 16_000; at += 2) octets.writeUInt16BE(0xc000 | (at - 2), at);
  let count = 1;
  for (let at = from + 16_000; at + 12 <= octets.length; at += 12, count++) {
    octets.writeUInt16BE(0xc000 | (from + 15_998), at);
    octets.writeUInt16BE(53, at + 2);
  }
  octets.writeUInt16BE(count, 6);
  return octets;
}

function time(act: () => unknown): number {
  const started = performance.now();
  try {
    act();
  } catch {
    // Refused, which is right: it is the time that counts.
  }
  return Math.round((performance.now() - started) * 10) / 10;
}
