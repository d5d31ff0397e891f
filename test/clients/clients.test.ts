/**
 * Show 1: the clients that people have, over every connection, with a login and without. Each cell of docs/clients.md is run as it
 * stands there; only ports, names and paths of this machine take the place of those of the page. What the relay hands on is opened
 * by openssl and compared.
 */
import assert from 'node:assert/strict';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { simpleParser } from 'mailparser';
import { parse } from 'yaml';
import { freePort, until } from '../interop/ports.ts';
import { missingPostfix, startPostfix } from '../interop/postfix.ts';
import { missingPrograms, type Outcome, run } from '../interop/programs.ts';
import { openssl } from '../interop/readers.ts';
import { CLI, makeSite, type RunningRelay, type Site } from '../relay/site.ts';
import { send } from '../relay/submit.ts';
import { type Delivery, keepingUpstream, type KeepingUpstream } from '../relay/upstream.ts';
import { makeServerCertificate } from './certificate.ts';
import { type Cell, configuration, type Section, sections } from './page.ts';

const SUBJECT = 'Form 17';
const BODY = 'Name: J\u00f6rg Gro\u00df\n';
const MESSAGE = [
  'From: forms@clinic.example',
  'To: anna@clinic.example',
  `Subject: ${SUBJECT}`,
  'MIME-Version: 1.0',
  'Content-Type: text/plain; charset=utf-8',
  'Content-Transfer-Encoding: 8bit',
  '',
  BODY,
].join('\n');
const PASSWORD = 'three blind mice';
/** What resolves to this machine everywhere; the certificate is for it. */
const HOST = 'localhost';

/** How each client is run, and what it needs: `script` is the block of its section with the lines of the cell, `settings` those lines alone. */
interface Client {
  readonly needs: Readonly<Record<string, string>>;
  /** A module that must be there beside the program; run as a command. */
  readonly probe?: readonly [string, ...string[]];
  run(site: Bench, script: string, settings: string): Promise<Outcome>;
}

interface Bench {
  readonly dir: string;
  readonly env: Readonly<Record<string, string>>;
}

const shell = ({ dir, env }: Bench, command: string): Promise<Outcome> => run('sh', ['-c', command], { cwd: dir, env });

/** Writes the script and runs it. */
const script =
  (program: string, file: string, options: readonly string[] = []) =>
  async ({ dir, env }: Bench, text: string): Promise<Outcome> => {
    await writeFile(join(dir, file), text);
    return run(program, [...options, file], { cwd: dir, env });
  };

const clients: Readonly<Record<string, Client>> = {
  swaks: { needs: { swaks: 'swaks' }, probe: ['perl', '-MNet::SSLeay', '-MAuthen::SASL', '-e1'], run: (bench, text) => shell(bench, text) },
  msmtp: { needs: { msmtp: 'msmtp' }, run: (bench, text) => shell(bench, text) },
  'Python smtplib': { needs: { python3: 'python3' }, run: script('python3', 'form.py') },
  'Perl MIME::Lite': {
    needs: { perl: 'perl' },
    probe: ['perl', '-MMIME::Lite', '-MAuthen::SASL', '-MIO::Socket::SSL', '-e1'],
    run: script('perl', 'form.pl'),
  },
  'PHP mail()': {
    needs: { php: 'php-cli' },
    async run(bench, text, settings) {
      await writeFile(join(bench.dir, 'php.ini'), settings);
      return script('php', 'form.php', ['-c', 'php.ini'])(bench, `<?php ${text} exit($sent ? 0 : 1);`);
    },
  },
  PHPMailer: {
    needs: { php: 'php-cli' },
    probe: ['php', '-r', 'exit(file_exists("/usr/share/php/libphp-phpmailer/autoload.php") ? 0 : 1);'],
    run: script('php', 'mailer.php'),
  },
};

describe('docs/clients.md, every cell', { skip: missingPrograms({ openssl: 'openssl' }) ?? false }, () => {
  const ends: (() => unknown)[] = [];
  const owner = { after: (end: () => unknown) => void ends.push(end) };
  let upstream: KeepingUpstream;
  let site: Site;
  let relay: RunningRelay;
  let bench: Bench;
  /** What the page says → what it is here. */
  let here: readonly (readonly [RegExp, string])[];

  before(async () => {
    upstream = await keepingUpstream(owner);
    const ports = [await freePort(), await freePort(), await freePort()] as const;
    const shown: unknown = parse(
      configuration.replace(/\b(?:2525|587|465)\b/g, (port) => String(ports[['2525', '587', '465'].indexOf(port)])),
    );
    site = await makeSite(owner, { upstreamPort: upstream.port, config: { ...Object(shown) } });
    await mkdir(join(site.dir, 'secrets'));
    const tls = await makeServerCertificate(join(site.dir, 'secrets'), 'relay', HOST);
    await writeFile(join(site.dir, 'password'), `${PASSWORD}\n`, { mode: 0o600 });
    await writeFile(join(site.dir, 'message.eml'), MESSAGE);
    await site.sealpost('users', 'add', 'forms', '--password-file', 'password');
    const passwords = [`[127.0.0.1]:${ports[0]}`, `[${HOST}]:${ports[1]}`, `[${HOST}]:${ports[2]}`];
    await writeFile(join(site.dir, 'sealpost_password'), passwords.map((place) => `${place} forms:${PASSWORD}\n`).join(''));
    here = [
      [/\b2525\b/g, String(ports[0])],
      [/\b587\b/g, String(ports[1])],
      [/\b465\b/g, String(ports[2])],
      [/\brelay\.clinic\.example\b/g, HOST],
      [/\/etc\/ssl\/certs\/ca-certificates\.crt/g, tls.ca],
      [/\/etc\/postfix\/sealpost_password/g, join(site.dir, 'sealpost_password')],
      [/\/opt\/sealpost\/node_modules\/\.bin\/node/g, process.execPath],
      [/\/opt\/sealpost\/bin\/sealpost/g, CLI],
      [/\/etc\/sealpost\/sealpost\.yaml/g, site.file],
    ];
    bench = {
      dir: site.dir,
      env: { SSL_CERT_FILE: tls.ca, PATH: `${process.env['PATH']}${delimiter}/usr/sbin` },
    };
    relay = await site.serve();
  });
  after(async () => {
    for (const end of ends.toReversed()) await end();
  });

  const localised = (text: string): string => here.reduce((out, [from, to]) => out.replace(from, to), text);

  const idOf = ({ octets }: Delivery): string => / id ([0-9a-z]{15});/.exec(octets.toString('latin1', 0, 2000))?.[1] ?? '';

  /** Hands one message in and answers it as the upstream got it. */
  async function delivered(act: () => Promise<unknown>): Promise<Delivery> {
    const seen = new Set(upstream.deliveries().map(idOf));
    const fresh = (): Delivery | undefined => upstream.deliveries().find((delivery) => !seen.has(idOf(delivery)));
    await act();
    await until('a delivery', () => fresh() !== undefined, 30_000);
    return fresh() ?? assert.fail();
  }

  /** It came over the connection that the cell is of, and says inside what the client was given. */
  async function assertWhole(delivery: Delivery, { connection, login }: Cell): Promise<void> {
    assert.equal(delivery.recipient, 'anna@clinic.example');
    const protocol = `ESMTP${connection === 'plain' ? '' : 'S'}${login ? 'A' : ''}`;
    assert.match(delivery.octets.toString('latin1'), new RegExp(`^Received: .*\\r\\n\\tby relay\\.clinic\\.example with ${protocol} id `));
    const program = await openssl.start(site.readers);
    const { subject, text } = await simpleParser(await program.open(delivery.octets, site.readers.people.anna));
    assert.equal(subject, SUBJECT);
    assert.equal(text?.trimEnd(), BODY.trimEnd());
  }

  /** The program that a cell makes: its lines in the place of the comment that the block keeps for them. */
  function programOf({ block }: Section, { lines }: Cell): string {
    if (block === '') return lines.join('\n');
    if (block.startsWith('mail(')) return block.replace('mail(', '$sent = mail(');
    const filled = block.replace(/^(?:#|\/\/) (?:connect|send)$/m, () => lines.join('\n'));
    assert.notEqual(filled, block, 'the block has no place for the lines of the table');
    return filled;
  }

  test('the page has every client and every connection', () => {
    assert.deepEqual(
      sections.map(({ title }) => title),
      [...Object.keys(clients), 'Postfix'],
    );
    for (const { title, cells } of sections) {
      assert.equal(cells.length, 6, title);
      assert.equal(cells.filter(({ lines }) => lines.length === 0).length, title === 'PHP mail()' ? 5 : 0, title);
    }
  });

  test('sealpost sendmail speaks to a STARTTLS listener in clear: what stays on loopback needs no TLS', async () => {
    const written: unknown = JSON.parse(await readFile(site.file, 'utf8'));
    const file = join(site.dir, 'starttls-only.yaml');
    await writeFile(file, JSON.stringify({ ...Object(written), listen: [Object(written).listen[1]] }));
    const delivery = await delivered(async () => {
      const { code, stderr } = await shell(bench, `'${process.execPath}' '${CLI}' sendmail -C '${file}' anna@clinic.example < message.eml`);
      assert.equal(code, 0, stderr);
    });
    await assertWhole(delivery, { connection: 'plain', login: false, lines: [], text: '' });
  });

  for (const section of sections) {
    const client = clients[section.title];
    for (const cell of section.cells) {
      if (cell.lines.length === 0) continue;
      const name = `${section.title}, ${cell.connection}, ${cell.login ? 'with' : 'without'} a login`;
      if (client === undefined) {
        test(name, { skip: missingPostfix() ?? false, timeout: 60_000 }, async () => {
          const dir = join(site.dir, `postfix-${cell.connection.replace(' ', '-')}-${cell.login}`);
          await mkdir(dir);
          await chmod(site.dir, 0o755);
          const settings = Object.fromEntries(cell.lines.map((line) => localised(line).split(/ = (.*)/s, 2)));
          await using postfix = await startPostfix({ relayTo: { port: relay.port }, dir, settings });
          const message = MESSAGE.replaceAll('\n', '\r\n');
          try {
            await assertWhole(await delivered(() => send(postfix.port, ['anna@clinic.example'], message)), cell);
          } catch (error) {
            throw new Error(await postfix.log(), { cause: error });
          }
        });
        continue;
      }
      test(name, { skip: missingPrograms(client.needs) ?? false, timeout: 60_000 }, async (t) => {
        const [program, ...words] = client.probe ?? ['true'];
        if ((await run(program, words)).code !== 0) return t.skip(`a module is not installed: ${words.join(' ')}`);
        const delivery = await delivered(async () => {
          const { code, stdout, stderr } = await client.run(bench, localised(programOf(section, cell)), localised(cell.lines.join('\n')));
          assert.equal(code, 0, `${stderr}${stdout.toString()}`);
        });
        await assertWhole(delivery, cell);
        assert.equal(delivery.sender, 'forms@clinic.example');
      });
    }
  }
});
