/** A certificate of the in-house CA is renewed beside the running relay: mail goes to the new one, and the old key opens it too. */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { createAuthority } from '../../src/commands/certificates/authority.ts';
import { until as within } from '../interop/ports.ts';
import { missingPrograms, succeed } from '../interop/programs.ts';
import { recipientInfos } from '../interop/readers.ts';
import { makeSite } from './site.ts';
import { send } from './submit.ts';
import { keepingUpstream } from './upstream.ts';

const needsOpenssl = { skip: missingPrograms({ openssl: 'openssl' }) ?? false };
/** A folder is looked at every few seconds, and an old file is believed until the new one rests. */
const CEILING_MS = 60_000;
const ANNA = 'anna@clinic.example';
const MAIL = 'Subject: findings\r\n\r\nall is well\r\n';

/** What openssl makes of a message with the key in a PKCS#12. */
async function openWith(message: Buffer, p12: string, folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const [pem, password] = [join(folder, 'reader.pem'), `file:${p12.replace(/p12$/, 'password')}`];
  await succeed('openssl', ['pkcs12', '-in', p12, '-passin', password, '-nodes', '-out', pem]);
  const opened = await succeed('openssl', ['cms', '-decrypt', '-binary', '-inform', 'SMIME', '-recip', pem, '-inkey', pem], {
    input: message,
  });
  return opened.toString();
}

test(
  'certs renew beside the relay: the next mail names the new certificate and the old one, and both keys open it',
  needsOpenssl,
  async (t) => {
    const upstream = await keepingUpstream(t);
    const config = { certificates: { authority: { passphrase: 'file:keys/ca.passphrase' } } };
    const site = await makeSite(t, { upstreamPort: upstream.port, people: [], config });
    const at = (...parts: string[]): string => join(site.dir, ...parts);
    await createAuthority(
      { keys: at('keys'), anchors: at('certs/anchors'), intermediates: at('certs/intermediates') },
      'Clinic',
      Date.now(),
    );
    await site.sealpost('certs', 'issue', ANNA, '--days', '20', '--out', at('issued'));
    const relay = await site.serve();
    const next = async (): Promise<Buffer> => {
      const before = upstream.deliveries().length;
      await send(relay.port, [ANNA], MAIL);
      await within('the delivery', () => upstream.deliveries().length > before, CEILING_MS);
      return upstream.deliveries().at(-1)?.octets ?? Buffer.alloc(0);
    };
    const serialsOf = async (message: Buffer): Promise<string[]> => (await recipientInfos(message)).map(({ serial }) => serial).toSorted();

    const before = await next();
    const told: { renewed: { renews: { serial: string }; made: { serial: string; p12: string; page: string; fingerprint: string } }[] } =
      JSON.parse(await site.sealpost('certs', 'renew', ANNA, '--by', 'Dr. Bär', '--out', at('renewed'), '--json'));
    const [one] = told.renewed;
    assert.ok(one !== undefined);
    const serials = [one.renews.serial, one.made.serial].map((serial) => serial.toUpperCase()).toSorted();

    let after = before;
    await within('mail names both', async () => (await serialsOf((after = await next()))).join() === serials.join(), CEILING_MS);
    assert.match(await openWith(after, one.made.p12, at('new')), /all is well/);
    assert.match(await openWith(after, at('issued', `${ANNA}.p12`), at('old')), /all is well/);
    // And the new key alone opens nothing of before: why the page says to keep the old one.
    assert.match(await openWith(before, at('issued', `${ANNA}.p12`), at('old')), /all is well/);
    await assert.rejects(openWith(before, one.made.p12, at('new')));
    assert.match(await readFile(one.made.page, 'utf8'), /Keep the old one too/);

    await relay.stop();
    const events = (await readFile(join(site.data, 'audit.jsonl'), 'utf8')).trim().split('\n');
    const renewed = events
      .map((line): Record<string, unknown> => ({ ...JSON.parse(line) }))
      .filter(({ event }) => event === 'certificate-renewed');
    assert.equal(renewed.length, 1);
    assert.partialDeepStrictEqual(renewed[0], {
      recipient: ANNA,
      certificate_sha256: one.made.fingerprint,
      certificate_serial: one.made.serial,
      renews: one.renews.serial,
    });
    assert.match(String(renewed[0]?.['operator']), /^Dr\. Bär, typed by /);
  },
);
