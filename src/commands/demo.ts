/**
 * `sealpost demo`: the whole path on one machine with no set-up. A temporary site with a CA and three readers, a relay, an
 * upstream that keeps what it gets, and one form mail on its way from the script to what each reader reads.
 */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import process from 'node:process';
import { Command } from 'commander';
import { type Authority, issueCertificate, type Issued, type KeyChoice } from '../certificates/authority/issue.ts';
import { DEFAULT_DAYS } from '../certificates/authority/profile.ts';
import { certificatePem } from '../certificates/pem.ts';
import { createAuthority } from './certificates/authority.ts';
import { loadConfig } from '../config.ts';
import { SealpostError } from '../errors.ts';
import { makeLog } from '../log.ts';
import { parseMailbox } from '../message/envelope.ts';
import { startRelay } from '../relay.ts';
import { openMessage } from '../seal/open.ts';
import { parseSealed } from '../seal/structure.ts';
import { type DemoUpstream, type ReceivedMessage, startUpstream, submit } from './demo-mail.ts';
import { formMail, secrets } from './demo-form.ts';
import { readEntity, showEntity } from './entity.ts';
import { createHold, keysIn } from './hold-key.ts';
import { makeSite, SHIPPED_POLICIES } from './init.ts';
import type { BuildCommand, Terminal } from './terminal.ts';
import { readVersion } from './version.ts';

export const build: BuildCommand = (terminal) =>
  new Command('demo')
    .description('shows the whole path on this machine: a form mail goes in, sealed mail comes out, its readers open it')
    .option('--keep', 'keep the relay running until Ctrl-C, to send mail of your own')
    .action((options: { keep?: true }) => run(options.keep === true, terminal));

interface DemoReader extends Issued {
  readonly address: string;
  /** How they are named in the mail. */
  readonly field: 'To' | 'Cc' | 'Bcc';
}

/** What `init` writes into a configuration. */
const USUAL_PORT = 2525;

const people = [
  { address: 'anna@clinic.example', field: 'To', key: 'rsa', kind: 'RSA 2048' },
  { address: 'ben@clinic.example', field: 'Cc', key: 'ec', kind: 'EC P-256' },
  { address: 'archive@clinic.example', field: 'Bcc', key: 'rsa', kind: 'RSA 2048' },
] as const satisfies readonly { address: string; field: DemoReader['field']; key: KeyChoice; kind: string }[];

async function run(keep: boolean, terminal: Terminal): Promise<void> {
  const voice = makeVoice(terminal);
  const folder = await makeFolder();
  const undo: (() => unknown)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    const upstream = await startUpstream();
    undo.push(() => upstream.stop());
    const readers = await makeDemoSite(folder, upstream.port, voice);
    const config = await loadConfig({ file: join(folder, 'sealpost.yaml'), env: {}, cwd: folder });
    const log = makeLog({ level: 'warn', format: 'pretty' }, terminal.stderr);
    const relay = await startRelay(config, {
      log,
      now: Date.now,
      env: {},
      version: readVersion(),
      onFailure: (error) => log.error({ err: error }, 'queue failed'),
    });
    undo.push(() => relay.stop());
    const port = relay.listening[0]?.port ?? 0;
    await showPath(folder, port, upstream, readers, voice);
    showOwnScript(keep ? port : USUAL_PORT, voice);
    if (keep) {
      voice.line(
        `the relay stays on 127.0.0.1 port ${port} for mail to ${readers.map(({ address }) => address).join(', ')}; Ctrl-C ends it`,
      );
      upstream.onMessage((message) => void showReading(message, readers, voice));
      await interrupted();
    } else {
      voice.line('a relay of your own: npx sealpost init, then what it tells you; this one and its folder are gone');
    }
  } finally {
    for (const step of undo.toReversed()) await step();
  }
}

async function makeFolder(): Promise<string> {
  try {
    return await mkdtemp(join(tmpdir(), 'sealpost-demo-'));
  } catch (cause) {
    const hint = 'the demo keeps its files among temporary ones: TMPDIR=/tmp sealpost demo';
    throw new SealpostError('file-unwritable', { detail: tmpdir(), hint, cause });
  }
}

async function makeDemoSite(folder: string, upstreamPort: number, voice: Voice): Promise<DemoReader[]> {
  voice.step('A site: a CA of its own, and three readers with a certificate each');
  let authority: Authority | undefined;
  const site = join(folder, 'site');
  await makeSite({
    folder: site,
    hostname: 'relay.clinic.example',
    shippedPolicies: SHIPPED_POLICIES,
    makeAuthority: async (places) => {
      ({ issuing: authority } = await createAuthority(places, 'clinic.example', Date.now()));
      return [];
    },
    makeHold: (keys) => createHold(keysIn(keys), 'clinic.example', Date.now()),
  });
  if (authority === undefined) throw new Error('a site without its CA');
  const readers: DemoReader[] = [];
  for (const { address, field, key, kind } of people) {
    const issued = await issueCertificate({ authority, mailbox: mailbox(address), key, days: DEFAULT_DAYS, now: Date.now() });
    await writeFile(join(site, 'certs/recipients', `${address}.pem`), certificatePem(issued.certificate));
    readers.push({ ...issued, address, field });
    voice.line(`${address.padEnd(24)} ${kind}   serial ${issued.certificate.serial.slice(0, 12)}…   (${field})`);
  }
  await writeFile(
    join(folder, 'sealpost.yaml'),
    JSON.stringify({
      hostname: 'relay.clinic.example',
      operator: 'postmaster@clinic.example',
      listen: [{ host: '127.0.0.1', port: 0 }],
      clients: { networks: ['127.0.0.0/8'] },
      upstream: [{ host: '127.0.0.1', port: upstreamPort }],
      certificates: {
        sources: [{ files: 'site/certs/recipients' }],
        trust: { anchors: 'site/certs/anchors', intermediates: 'site/certs/intermediates' },
      },
      policies: 'site/policies',
      keys: 'site/keys',
      hold: { passphrase: 'file:site/keys/hold.passphrase' },
      queue: { sqlite: 'site/data/queue.sqlite' },
      audit: 'site/data/audit.jsonl',
    }),
  );
  return readers;
}

async function showPath(folder: string, port: number, upstream: DemoUpstream, readers: readonly DemoReader[], voice: Voice): Promise<void> {
  const [to, cc, bcc] = readers.map(({ address }) => address);
  const mail = formMail(to ?? '', cc ?? '', bcc ?? '');
  voice.step(`What the script sends, over plain SMTP to 127.0.0.1 port ${port}`);
  voice.quote(excerpt(mail, 34));
  const reply = await submit(
    port,
    'forms@clinic.example',
    readers.map(({ address }) => address),
    mail,
  );
  voice.line(`the relay answers: ${voice.good(reply)}`);

  voice.step('What is on the disk now, while the upstream is made to wait');
  await showQueueFolder(join(folder, 'site/data'), voice);

  voice.step('What leaves: a message for each reader, and nobody else named in it');
  upstream.open();
  const received = inOrderOf(readers, await upstream.messages(readers.length));
  for (const { recipient, octets } of received) showSealed(recipient, octets, readers, voice);

  voice.step('What each reader reads, opened with their own key');
  for (const message of received) await showReading(message, readers, voice);
}

async function showReading({ recipient, octets }: ReceivedMessage, readers: readonly DemoReader[], voice: Voice): Promise<void> {
  const reader = readers.find(({ address }) => address === recipient);
  if (reader === undefined) throw new Error(`a message for ${recipient}, whom nobody mailed`);
  const { entity, cipher } = openMessage(octets, [{ key: reader.key, certificate: reader.certificate }]);
  voice.line(voice.strong(`${recipient} (${reader.field}), ${octets.length} octets, ${cipher}`));
  const lines = showEntity(await readEntity(octets, entity)).trimEnd();
  voice.quote(lines.split('\n'));
}

function inOrderOf(readers: readonly DemoReader[], received: readonly ReceivedMessage[]): ReceivedMessage[] {
  return readers.flatMap(({ address }) => received.filter(({ recipient }) => recipient === address));
}

async function showQueueFolder(data: string, voice: Voice): Promise<void> {
  const names = (await readdir(data, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  for (const entry of names) {
    const file = join(entry.parentPath, entry.name);
    const octets = await readFile(file);
    const found = secrets.filter(
      (secret) => octets.includes(secret) || octets.includes(Buffer.from(secret).toString('base64').slice(4, -4)),
    );
    if (found.length > 0) throw new SealpostError('internal', { detail: `${file} holds words of the message` });
    voice.line(`${relative(data, file).padEnd(24)} ${String(octets.length).padStart(8)} octets   ${voice.good('nothing readable')}`);
  }
  voice.line(`searched for: ${secrets.join(' · ')}`);
}

function showSealed(recipient: string, octets: Buffer, readers: readonly DemoReader[], voice: Voice): void {
  const text = octets.toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  voice.line(voice.strong(`for ${recipient}`));
  voice.quote([
    ...text.slice(0, end).split('\r\n'),
    '',
    ...text
      .slice(end + 4)
      .split('\r\n')
      .slice(0, 2),
    '…',
  ]);
  const named = parseSealed(octets).recipients.map(({ issuerAndSerial }) => {
    const reader = readers.find(({ certificate }) => issuerAndSerial?.includes(certificate.serialDer));
    return reader === undefined ? 'somebody unknown' : reader.address;
  });
  voice.line(`readers named in it: ${voice.good(named.join(', '))}`);
}

function showOwnScript(port: number, voice: Voice): void {
  voice.step('Your own script: these lines point it at the relay');
  voice.quote([
    `PHP (PHPMailer):   $mail->Host = '127.0.0.1'; $mail->Port = ${port};`,
    `Python:            smtplib.SMTP('127.0.0.1', ${port})`,
    `swaks:             swaks --server 127.0.0.1:${port} --from forms@clinic.example --to anna@clinic.example`,
  ]);
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
}

function mailbox(text: string) {
  const verdict = parseMailbox(text);
  if (verdict.kind === 'fault') throw new Error(verdict.fault);
  return verdict.mailbox;
}

/** The first lines, and how much is left out. */
function excerpt(mail: string, count: number): string[] {
  const lines = mail.split('\r\n');
  return [...lines.slice(0, count), `… ${lines.length - count} more lines, ${Buffer.byteLength(mail)} octets in all`];
}

interface Voice {
  step(text: string): void;
  line(text: string): void;
  quote(lines: readonly string[]): void;
  good(text: string): string;
  strong(text: string): string;
}

/** Colour on a terminal, plain text elsewhere. */
function makeVoice({ stdout, colour }: Terminal): Voice {
  const paint = (code: number, text: string): string => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  let count = 0;
  return {
    step: (text) => stdout.write(`\n${paint(1, `${++count}. ${text}`)}\n\n`),
    line: (text) => stdout.write(`  ${text}\n`),
    quote: (lines) => stdout.write(`${lines.map((line) => paint(2, `  | ${line}`.trimEnd())).join('\n')}\n`),
    good: (text) => paint(32, text),
    strong: (text) => paint(1, text),
  };
}
