/** Text that parsers hang on, in every field that is read on the way, up to a megabyte: others get their turn meanwhile (A32). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { noOpenssl } from '../certificates/openssl.ts';
import { codeOf } from '../ingress/front.ts';
import { makeWalk, seal } from './walk.ts';

/** Ten times the longest that nobody else may get a turn. */
const CEILING_MS = 2_000;
const FIELDS = [
  'From',
  'Sender',
  'Reply-To',
  'To',
  'Cc',
  'Bcc',
  'Subject',
  'Date',
  'Message-ID',
  'References',
  'In-Reply-To',
  'Received',
  'List-Post',
  'Content-Type',
  'Content-Transfer-Encoding',
  'Content-Disposition',
  'Auto-Submitted',
];
const SEEDS = ['(', '<', ',', 'g:', '=?utf-8?Q?a?= ', '=?utf-8?B?', '"\\', ';a='];
/** The first is within every bound, the last one beyond all of them. */
const SIZES = [60_000, 250_000, 1_000_000];

/** The longest stretch of `act` in which nobody else had a turn, ms. */
async function longestTurn(act: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  const look = (): void => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  };
  const timer = setInterval(look, 1);
  try {
    await act();
    look();
    return longest;
  } finally {
    clearInterval(timer);
  }
}

describe('a field without end', { skip: noOpenssl }, () => {
  const walk = makeWalk([{ ...seal, subject: { kind: 'keep' } }]);

  test('A32: a megabyte of what parsers hang on, in each field that is read, holds nobody up', async (t) => {
    await walk('Subject: warm\r\n\r\nbody\r\n');
    let worst = 0;
    let tooBig = 0;
    for (const field of FIELDS) {
      for (const seed of SEEDS) {
        for (const size of SIZES) {
          const text = `${field}: ${seed.repeat(Math.floor(size / seed.length))}\r\nX-Next: x\r\n\r\nbody\r\n`;
          const turn = await longestTurn(async () => {
            const code = await walk(text).then(
              () => 'taken',
              (error: unknown) => codeOf(error) ?? String(error),
            );
            assert.match(code, /^(?:taken|header-too-big|header-malformed)$/, `${field} of ${seed}`);
            if (size > 256 * 1024) assert.equal(code, 'header-too-big', field);
            if (code === 'header-too-big') tooBig++;
          });
          assert.ok(turn < CEILING_MS, `${field} of ${size} octets of ${seed}: ${Math.round(turn)} ms`);
          worst = Math.max(worst, turn);
        }
      }
    }
    assert.ok(tooBig >= FIELDS.length * SEEDS.length);
    t.diagnostic(`the longest turn was ${Math.round(worst)} ms`);
  });
});
