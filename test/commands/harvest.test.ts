/** `certs harvest`, `pending`, `approve` and `reject` as people type them, where no relay has run yet. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { certificatePem } from '../../src/certificates/pem.ts';
import { mailOf, person, signedBy } from '../certificates/harvest/sign.ts';
import { root } from '../certificates/pki.ts';
import { sealpost, temporaryFolder, type Transcript } from './transcript.ts';

const ANNA = 'anna@clinic.example';
const TEXT = Buffer.from('Content-Type: text/plain\r\n\r\nhello');
const house = root('House');
const anna = person(house, ANNA);
const digits = anna.certificate.fingerprint;

interface Site {
  readonly folder: string;
  readonly certs: (...words: readonly string[]) => Promise<Transcript>;
  /** Saves a mail; answers its name. */
  readonly save: (name: string, mail: Buffer) => string;
}

async function makeSite(t: TestContext): Promise<Site> {
  const folder = await temporaryFolder(t);
  for (const name of ['certs/recipients', 'certs/anchors', 'certs/intermediates', 'mails/old'])
    mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, 'certs/anchors/house.pem'), certificatePem(house.certificate));
  const listen = [{ host: '127.0.0.1', port: 2525 }];
  const upstream = [{ host: '127.0.0.1', port: 25 }];
  writeFileSync(join(folder, 'sealpost.yaml'), JSON.stringify({ hostname: 'r.example', operator: 'o@clinic.example', listen, upstream }));
  return {
    folder,
    certs: (...words) => sealpost(folder, ['certs', ...words], { SUDO_USER: 'otto' }),
    save: (name, mail) => {
      writeFileSync(join(folder, name), mail);
      return name;
    },
  };
}

const good = mailOf(TEXT, signedBy(anna, TEXT));

test('a folder of mail, a line for each; then approved, and there', async (t) => {
  const { folder, certs, save } = await makeSite(t);
  save('mails/1.eml', good);
  save('mails/notes.txt', Buffer.from('no mail'));
  save('mails/old/2.EML', mailOf(TEXT, signedBy(person(root('Other'), ANNA), TEXT)));
  assert.deepEqual(await certs('harvest', 'mails'), {
    exit: 1,
    stdout: `mails/1.eml: ${ANNA}: SHA-256 ${digits} waits for approval: sealpost certs approve ${ANNA} ${digits.slice(0, 16)}
mails/old/2.EML: refused: the certificate of its signer: no path to an anchor: the issuer of CN=anna is not known: CN=Other
`,
    stderr: 'sealpost: no certificate is taken from that mail: 1 of 2 mails\n  hint: the reasons stand above\n',
  });
  const again = await certs('harvest', 'mails/1.eml', '--json');
  assert.equal(again.exit, 0, again.stderr);
  assert.deepEqual(JSON.parse(again.stdout), [
    { file: 'mails/1.eml', verdict: 'waiting', address: ANNA, addresses: [ANNA], sha256: digits, reason: null },
  ]);
  assert.match(
    (await certs('pending')).stdout,
    /^anna@clinic\.example\n {2}waits {5}SHA-256 .*\n[^]*\n {2}source {4}signed mail, from a file by \S/,
  );
  const approved = await certs('approve', ANNA, '--by', 'Dr Otto');
  assert.equal(approved.stdout, `${ANNA}: SHA-256 ${digits} may be used from now on\n`, approved.stderr);
  assert.ok(existsSync(join(folder, `data/certs/${ANNA}-${digits.slice(0, 16)}.pem`)));
  assert.match((await certs('list')).stdout, new RegExp(ANNA));
  assert.match((await certs('harvest', 'mails/1.eml')).stdout, / already there$/m);
});

test('A22 all addresses that a certificate would be used for are shown, and nothing is approved for one of them alone', async (t) => {
  const boss = 'boss@clinic.example';
  const { folder, certs, save } = await makeSite(t);
  const both = person(house, ANNA, { also: [boss] });
  const [all, begun] = [both.certificate.fingerprint, both.certificate.fingerprint.slice(0, 16)];
  const told = await certs('harvest', save('both.eml', mailOf(TEXT, signedBy(both, TEXT))));
  assert.equal(
    told.stdout,
    `both.eml: ${ANNA}: SHA-256 ${all} waits for approval for ${ANNA}, ${boss}: sealpost certs approve ${ANNA} ${begun} --all-addresses\n`,
  );
  const [waiting] = JSON.parse((await certs('pending', '--json')).stdout);
  assert.deepEqual([waiting.address, waiting.addresses], [ANNA, [ANNA, boss]]);
  const shown = (await certs('pending')).stdout;
  assert.match(shown, /^ {2}names {5}anna@clinic\.example, boss@clinic\.example$/m);
  assert.match(shown, /^ {2}approve .* --all-addresses$/m);
  const one = await certs('approve', ANNA);
  assert.deepEqual([one.exit, one.stdout], [2, '']);
  assert.match(one.stderr, /it would be used for all addresses that it names: anna@clinic\.example, boss@clinic\.example/);
  assert.ok(!existsSync(join(folder, 'data/certs')));
  const approved = await certs('approve', ANNA, '--all-addresses');
  assert.equal(
    approved.stdout,
    [ANNA, boss].map((address) => `${address}: SHA-256 ${all} may be used from now on\n`).join(''),
    approved.stderr,
  );
});

test('what is rejected does not wait, and may be harvested again', async (t) => {
  const { certs, save } = await makeSite(t);
  const file = save('a.eml', good);
  assert.equal((await certs('harvest', file)).exit, 0);
  assert.equal((await certs('reject', ANNA, digits)).stdout, `${ANNA}: 1 certificate rejected\n`);
  assert.equal((await certs('pending', '--json')).stdout, '[]\n');
  const none = await certs('reject', ANNA);
  assert.deepEqual([none.exit, none.stdout], [2, '']);
  assert.match((await certs('harvest', file)).stdout, / waits for approval: /);
});

test('a file that is not there ends the command; hostile text reaches no terminal; a wrong configuration is told', async (t) => {
  const { folder, certs, save } = await makeSite(t);
  const absent = await certs('harvest', 'nobody.eml');
  assert.deepEqual([absent.exit, absent.stdout], [1, '']);
  assert.match(absent.stderr, /a file cannot be read: nobody\.eml/);
  const hostile = await certs('harvest', save('h.eml', Buffer.from('From: a@b.example\r\nContent-Type: text/\u001b[2J\r\n\r\nx\r\n')));
  assert.equal(hostile.exit, 1);
  assert.ok(!hostile.stdout.includes('\u001b') && !hostile.stderr.includes('\u001b'));
  assert.ok(!existsSync(join(folder, 'data/queue.sqlite')), 'nothing is made where nothing is kept');
  const config = {
    hostname: 'r.example',
    operator: 'o@clinic.example',
    listen: [{ host: '127.0.0.1', port: 2525 }],
    upstream: [{ host: '127.0.0.1', port: 25 }],
  };
  const certificates = { sources: [{ files: 'certs/recipients' }], harvest: { approve_issuers: ['AB:CD'] } };
  writeFileSync(join(folder, 'sealpost.yaml'), JSON.stringify({ ...config, certificates }));
  assert.match((await certs('pending')).stderr, /approve_issuers\[0\]: is not a SHA-256 fingerprint\n {2}mend: openssl x509/);
  certificates.harvest.approve_issuers = [digits];
  writeFileSync(join(folder, 'sealpost.yaml'), JSON.stringify({ ...config, certificates }));
  const checked = await sealpost(folder, ['check']);
  assert.match(checked.stdout, /certificates\.harvest: what the relay takes goes into .*data\/certs, which no source reads/);
});
