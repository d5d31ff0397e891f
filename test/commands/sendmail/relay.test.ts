/** `sealpost sendmail` as scripts run it: a process, the running relay behind it, and what the reader opens. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { freePort, until } from '../../interop/ports.ts';
import { missingPrograms, type Outcome, run } from '../../interop/programs.ts';
import { openssl } from '../../interop/readers.ts';
import { CLI, makeSite, type Site } from '../../relay/site.ts';
import { type Delivery, keepingUpstream, type KeepingUpstream } from '../../relay/upstream.ts';

const EX_TEMPFAIL = 75;

/** Recipient and queue id. */
const keyOf = ({ recipient, octets }: Delivery): string =>
  `${recipient} ${/ id ([0-9a-z]{15});/.exec(octets.toString('latin1', 0, 2000))?.[1]}`;

describe('sealpost sendmail', { skip: missingPrograms({ openssl: 'openssl' }) ?? false }, () => {
  const ends: (() => unknown)[] = [];
  const owner = { after: (end: () => unknown) => void ends.push(end) };
  let upstream: KeepingUpstream;
  let site: Site;
  let port: number;
  before(async () => {
    upstream = await keepingUpstream(owner);
    port = await freePort();
    const listen = [{ host: '127.0.0.1', port }];
    const rules = [
      { name: 'nobody', when: { sender: 'refused@clinic.example' }, then: 'refuse' },
      { name: 'everything', then: 'seal', subject: { replace: 'sealed [{queue_id}]' }, missing: 'refuse' },
    ];
    site = await makeSite(owner, { upstreamPort: upstream.port, config: { listen, limits: { message_bytes: '30MiB' } }, rules });
    await site.serve();
  });
  after(async () => {
    for (const end of ends.toReversed()) await end();
  });

  const environment = () => ({ SEALPOST_CONFIG: site.file });

  async function sendmail(args: readonly string[], input: string | Buffer, env = environment()): Promise<Outcome> {
    const outcome = await run(process.execPath, [CLI, 'sendmail', ...args], { input: Buffer.from(input), env, cwd: site.dir });
    assert.notEqual(outcome.code, EX_TEMPFAIL);
    return outcome;
  }

  /** Everything that is delivered while `act` runs and shortly after: `count` messages. */
  async function delivered(count: number, act: () => Promise<unknown>): Promise<readonly Delivery[]> {
    // Several sessions deliver, so that the last of the list need not be the last that came.
    const seen = new Set(upstream.deliveries().map(keyOf));
    const fresh = (): readonly Delivery[] => upstream.deliveries().filter((delivery) => !seen.has(keyOf(delivery)));
    await act();
    await until(`${count} deliveries`, () => fresh().length >= count, 30_000);
    assert.equal(fresh().length, count);
    return fresh();
  }

  async function opened({ recipient, octets }: Delivery): Promise<string> {
    const name = recipient === 'otto@clinic.example' ? 'otto' : 'anna';
    const program = await openssl.start(site.readers);
    return (await program.open(octets, site.readers.people[name])).toString('latin1');
  }

  /** Sends, wants exit 0 and nothing said, and answers the one message outside and inside. */
  async function exchange(args: readonly string[], input: string | Buffer): Promise<{ readonly outside: string; readonly inside: string }> {
    const [delivery] = await delivered(1, async () => {
      const { code, stdout, stderr } = await sendmail(args, input);
      assert.deepEqual([code, stdout.toString(), stderr], [0, '', '']);
    });
    assert.ok(delivery);
    const outside = delivery.octets.toString('latin1');
    return { outside: outside.slice(0, outside.indexOf('\r\n\r\n') + 2), inside: await opened(delivery) };
  }

  test('-t: To, Cc and Bcc get it, and nobody reads of Bcc', async () => {
    const input =
      'From: forms@clinic.example\nTo: Anna <anna@clinic.example>\nBcc: =?utf-8?Q?O=2C_tto?= <otto@clinic.example>\nSubject: x\n\nbody\n';
    const messages = await delivered(2, () => sendmail(['-t', '-i'], input));
    assert.deepEqual(messages.map(({ recipient }) => recipient).sort(), ['anna@clinic.example', 'otto@clinic.example']);
    for (const message of messages) {
      assert.ok(!message.octets.includes('otto'), 'outside');
      assert.ok(!(await opened(message)).includes('otto'), 'inside');
    }
  });

  test('-t: of a message that was sent on, the Resent fields count alone', async () => {
    const input = 'To: nobody@clinic.example\nResent-To: anna@clinic.example\nResent-Bcc: otto@clinic.example\nSubject: x\n\nbody\n';
    const messages = await delivered(2, () => sendmail(['-t'], input));
    assert.deepEqual(messages.map(({ recipient }) => recipient).sort(), ['anna@clinic.example', 'otto@clinic.example']);
    for (const message of messages) assert.ok(!(await opened(message)).includes('otto'));
  });

  test('recipients of the command line, and with -t those of the header besides', async () => {
    const messages = await delivered(2, () => sendmail(['-t', 'otto@clinic.example'], 'To: anna@clinic.example\n\nbody\n'));
    assert.deepEqual(messages.map(({ recipient }) => recipient).sort(), ['anna@clinic.example', 'otto@clinic.example']);
    await delivered(1, () => sendmail(['anna@clinic.example'], 'To: otto@clinic.example\n\nbody\n'));
  });

  test('a message without any header is sent, with -F as the name of its sender', async () => {
    const { outside, inside } = await exchange(
      ['-f', 'forms@clinic.example', '-F', 'Formular \u00fc\r\nX: y', 'anna@clinic.example'],
      'hello\n',
    );
    assert.match(outside, /^From: =\?UTF-8\?B\?[A-Za-z0-9+/=]+\?= <forms@clinic\.example>\r$/m);
    assert.match(outside, /^Date: .*\r\n/m);
    assert.doesNotMatch(outside, /^X:/m);
    assert.match(inside, /\r\n\r\nhello\r\n$|^\r\nhello\r\n$/);
  });

  test('the sender is the user at the name of the relay where nobody says another', async () => {
    const { outside } = await exchange(['anna@clinic.example'], 'Subject: x\n\nbody\n');
    assert.match(outside, /^From: [^\s@]+@relay\.clinic\.example\r$/m);
  });

  test('a line with a dot alone ends the message, and with -i it is text', async () => {
    const input = 'Subject: x\n\nbefore\n.\nafter\n..two\n';
    const without = await exchange(['anna@clinic.example'], input);
    assert.ok(without.inside.endsWith('\r\n\r\nbefore\r\n'), without.inside);
    for (const option of ['-i', '-oi']) {
      const { inside } = await exchange([option, 'anna@clinic.example'], input);
      assert.ok(inside.endsWith('\r\n\r\nbefore\r\n.\r\nafter\r\n..two\r\n'), inside);
    }
  });

  test('what stands behind the dot does not keep the process, even where the pipe stays open', async () => {
    const child = spawn(process.execPath, [CLI, 'sendmail', 'anna@clinic.example'], { env: { ...process.env, ...environment() } });
    child.stdin.on('error', () => undefined);
    const closed = once(child, 'close');
    await delivered(1, async () => {
      child.stdin.write('Subject: x\n\nbody\n.\nmore\n');
      assert.deepEqual(await closed, [0, null]);
    });
  });

  test('bare LF, CRLF, 8-bit text and a last line without an end arrive as they are, in CRLF', async () => {
    const body = Buffer.from('gr\u00fc\u00df\nzwei\r\ndrei', 'latin1');
    const { inside } = await exchange(['-i', 'anna@clinic.example'], Buffer.concat([Buffer.from('Subject: x\n\n'), body]));
    assert.ok(inside.includes('Content-Type: text/plain; charset=windows-1252\r\n'));
    assert.ok(inside.includes('\r\n\r\ngr\u00fc\u00df\r\nzwei\r\ndrei'), inside);
  });

  test('25 MB go through a process that holds none of it', { timeout: 120_000 }, async () => {
    const line = `${'0123456789abcdef'.repeat(4)}\n`;
    const lines = Math.floor(25_000_000 / line.length);
    let peak = 0;
    const [delivery] = await delivered(1, async () => {
      const child = spawn(process.execPath, [CLI, 'sendmail', '-i', 'anna@clinic.example'], {
        env: { ...process.env, ...environment() },
        stdio: ['pipe', 'inherit', 'inherit'],
      });
      child.stdin.on('error', () => undefined);
      const closed = once(child, 'close');
      child.stdin.write('Subject: x\n\n');
      for (let written = 0; written < lines; written += 1000) {
        if (!child.stdin.write(line.repeat(Math.min(1000, lines - written)))) await once(child.stdin, 'drain');
        const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
        peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0));
      }
      child.stdin.end();
      assert.deepEqual(await closed, [0, null]);
    });
    assert.ok(delivery);
    assert.equal((await opened(delivery)).length - 'Subject: x\r\n\r\n'.length, lines * (line.length + 1));
    // Node with nothing to do, from source, holds about 90 MB.
    assert.ok(peak < 180_000, `${peak} KiB`);
  });

  test('every exit but 0 means that nothing was sent, and 75 is none of them', async () => {
    const cases: readonly (readonly [args: readonly string[], input: string, exit: number, said: RegExp])[] = [
      [['-Y'], '', 64, /-Y is not known/],
      [[], 'body\n', 64, /no recipient/],
      [['-t'], 'Subject: x\n\nbody\n', 65, /no recipient is named/],
      [['-t'], 'To: kaputt@@x, anna@clinic.example\n\nbody\n', 65, /To: kaputt@@x/],
      [['anna@clinic.example'], 'Subject: x\n\nnul \0\n', 65, /NUL/],
      [['anna@clinic.example'], `X: ${'x'.repeat(300_000)}\n\nbody\n`, 65, /header/],
      [['-f', 'a b@@c', 'anna@clinic.example'], 'body\n', 65, /-f: a b@@c/],
      [['nobody@clinic.example'], 'body\n', 67, /nobody@clinic\.example: 550 5\.7\.1/],
      [['anna@clinic.example', 'nobody@clinic.example'], 'body\n', 67, /nothing was sent to anybody/],
      [['-t'], 'To: anna@clinic.example\nBcc: nobody@clinic.example\n\nbody\n', 67, /nobody@clinic\.example: 550/],
      [['-f', 'refused@clinic.example', 'anna@clinic.example'], 'body\n', 67, /550 5\.7\.1 a rule/],
      [['-C', '/nowhere/sealpost.yaml', 'anna@clinic.example'], 'body\n', 78, /\/nowhere\/sealpost\.yaml/],
    ];
    await delivered(0, async () => {
      for (const [args, input, exit, said] of cases) {
        const { code, stderr } = await sendmail(args, input);
        assert.equal(code, exit, `${args.join(' ')}: ${stderr}`);
        assert.match(stderr, /^sendmail: [^\n]+ \(hint: [^\n]+\)\n$/);
        assert.match(stderr, said);
      }
      const { code, stderr } = await sendmail(['-oeq', 'nobody@clinic.example'], 'body\n');
      assert.deepEqual([code, stderr], [67, '']);
    });
    // What was refused would have been delivered by now.
    await exchange(['anna@clinic.example'], 'Subject: last\n\nbody\n');
  });

  test('a message over the limit is refused while it is sent', { timeout: 120_000 }, async () => {
    const { code, stderr } = await sendmail(['-i', 'anna@clinic.example'], Buffer.alloc(32 * 1024 * 1024, 'x'.repeat(70) + '\n'));
    assert.equal(code, 65, stderr);
    assert.match(stderr, /552 5\.3\.4/);
  });

  test('options that tell other mail systems how to work change nothing', async () => {
    const args = '-t -oi -oem -odb -om -B 8BITMIME -R hdrs -N failure,delay -V QQ314 -f forms@clinic.example -Ac -G -U --'.split(' ');
    const { inside } = await exchange(args, 'To: anna@clinic.example\nSubject: x\n\nbody\n');
    assert.ok(inside.endsWith('body\r\n'));
  });

  test('-v says what the relay answered; -q has nothing to do', async () => {
    await delivered(1, async () => {
      const { code, stdout } = await sendmail(['-v', 'anna@clinic.example'], 'Subject: x\n\nbody\n');
      assert.equal(code, 0);
      assert.match(stdout.toString(), /^250 2\.0\.0 queued as [0-9a-z]{15}\n$/);
    });
    assert.equal((await sendmail(['-q'], '')).code, 0);
  });

  test('-q beside a message does not throw the message away', async () => {
    for (const args of [
      ['-q15m', '-t'],
      ['-q', 'anna@clinic.example'],
      ['-t', '-qf'],
    ]) {
      const { inside } = await exchange(['-i', ...args], 'To: anna@clinic.example\nSubject: x\n\nbody\n');
      assert.ok(inside.endsWith('body\r\n'), args.join(' '));
    }
  });

  test('-bs speaks SMTP on standard input and output', async () => {
    const dialogue = [
      'EHLO x',
      'MAIL FROM:<forms@clinic.example>',
      'RCPT TO:<anna@clinic.example>',
      'DATA',
      'Subject: x\r\n\r\nby hand\r\n.',
      'QUIT',
    ];
    const child = spawn(process.execPath, [CLI, 'sendmail', '-bs'], { env: { ...process.env, ...environment() } });
    const closed = once(child, 'close');
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const [message] = await delivered(1, async () => {
      for (const [index, words] of dialogue.entries()) {
        await until(`reply ${index}`, () => said.split('\r\n').filter((line) => /^\d{3} /.test(line)).length > index);
        child.stdin.write(`${words}\r\n`);
      }
      assert.deepEqual(await closed, [0, null]);
    });
    assert.match(said, /\r\n221 [^\r\n]*\r\n$/);
    assert.ok(message && (await opened(message)).endsWith('by hand\r\n'));
  });

  const dialogueFor = (recipient: string): string =>
    `EHLO x\r\nMAIL FROM:<forms@clinic.example>\r\nRCPT TO:<${recipient}>\r\nDATA\r\nSubject: x\r\n\r\npiped\r\n.\r\n`;

  for (const [named, last] of [
    ['and says QUIT', 'QUIT\r\n'],
    ['without QUIT', ''],
  ] as const) {
    test(`-bs: a script that ends its input right behind its last line ${named} is told 250 and 221`, async () => {
      const [message] = await delivered(1, async () => {
        const { code, stdout, stderr } = await sendmail(['-bs'], `${dialogueFor('anna@clinic.example')}${last}`);
        assert.deepEqual([code, stderr], [0, '']);
        assert.match(stdout.toString(), /\r\n354 [^\n]*\n250 2\.0\.0 queued as [0-9a-z]{15}\r\n221 [^\n]*\n$/);
      });
      assert.ok(message && (await opened(message)).endsWith('piped\r\n'));
    });
  }

  test('-bs: a relay that goes away without 250 or 221 is 69, and the message may or may not be there', async (t) => {
    for (const [answers, said] of [
      [['220 x ESMTP'], /ended without 221/],
      [['220 x ESMTP', '250 x', '250 x', '250 x', '354 go on'], /behind the message/],
      [['220 x ESMTP', '250 x', '250 x', '250 x', '354 go on', '250 2.0.0 queued', '421 4.3.0 stopping'], /ended without 221/],
    ] as const) {
      const server = createServer((socket) => {
        socket.on('error', () => undefined);
        socket.once('data', () => socket.end(answers.map((line) => `${line}\r\n`).join('')));
      });
      server.listen(0, '127.0.0.1');
      t.after(() => server.close());
      await once(server, 'listening');
      const place = server.address();
      assert.ok(place !== null && typeof place !== 'string');
      const written: unknown = JSON.parse(await readFile(site.file, 'utf8'));
      const file = join(site.dir, 'leaving.yaml');
      await writeFile(file, JSON.stringify({ ...Object(written), listen: [{ host: '127.0.0.1', port: place.port }] }));
      const { code, stderr } = await sendmail(['-bs', '-C', file], `${dialogueFor('anna@clinic.example')}QUIT\r\n`);
      assert.equal(code, 69, stderr);
      assert.match(stderr, said);
    }
  });

  test('a relay that is down is 69, and a configuration without a listener for programs of this machine is 78', async () => {
    const closed = await freePort();
    const other = async (listen: readonly unknown[], more = {}): Promise<Outcome> => {
      const file = join(site.dir, 'other.yaml');
      const written: unknown = JSON.parse(await readFile(site.file, 'utf8'));
      await writeFile(file, JSON.stringify(Object.assign({}, written, { listen }, more)));
      return sendmail(['anna@clinic.example'], 'body\n', { SEALPOST_CONFIG: file });
    };
    const down = await other([{ host: '0.0.0.0', port: closed }]);
    assert.equal(down.code, 69);
    assert.match(down.stderr, /nothing was sent; 127\.0\.0\.1 port \d+: ECONNREFUSED/);
    for (const [listen, more, said] of [
      [[{ host: '192.0.2.1', port: 25 }], {}, /192\.0\.2\.1 port 25 \(not on loopback\)/],
      [[{ host: '127.0.0.1', port: 0 }], {}, /\(any free port\)/],
      [[{ host: '127.0.0.1', port, tls: 'implicit', cert: 'x.pem', key: 'file:x.key' }], {}, /\(TLS from the first octet\)/],
      [[{ host: '127.0.0.1', port, auth: 'required' }], { clients: { users: 'users.yaml' } }, /\(wants a login\)/],
      [[{ host: '127.0.0.1', port }], { clients: { proxy: ['127.0.0.1'] } }, /\(loopback is in clients\.proxy\)/],
      [[{ host: '127.0.0.1', port }], { clients: { networks: ['192.0.2.0/24'] } }, /\(loopback is not in clients\.networks\)/],
    ] as const) {
      const { code, stderr } = await other(listen, more);
      assert.equal(code, 78, stderr);
      assert.match(stderr, said);
    }
  });

  test('./sealpost.yaml is not asked: where scripts run, visitors may put files', async () => {
    const { code, stderr } = await sendmail(['anna@clinic.example'], 'body\n', { SEALPOST_CONFIG: '' });
    assert.equal(code, 78);
    assert.match(stderr, /\/etc\/sealpost\/sealpost\.yaml \(ENOENT\) \(hint: name yours by -C FILE or SEALPOST_CONFIG; /);
  });

  test('a link named sendmail is sendmail', async () => {
    await mkdir(join(site.dir, 'sbin'));
    await symlink(CLI, join(site.dir, 'sbin/sendmail'));
    await delivered(1, async () => {
      const args = [join(site.dir, 'sbin/sendmail'), '-i', 'anna@clinic.example'];
      const { code, stderr } = await run(process.execPath, args, { input: Buffer.from('Subject: x\n\nbody\n'), env: environment() });
      assert.equal(code, 0, stderr);
    });
  });

  test('`sealpost -c FILE sendmail` reads that file', async () => {
    await delivered(1, async () => {
      for (const words of [['-c', site.file]]) {
        const { code, stderr } = await run(process.execPath, [CLI, ...words, 'sendmail', 'anna@clinic.example'], {
          input: Buffer.from('Subject: x\n\nbody\n'),
        });
        assert.equal(code, 0, stderr);
      }
    });
  });

  test("PHP's mail() sends by it, and is told where it does not", { skip: missingPrograms({ php: 'php-cli' }) ?? false }, async () => {
    const path = `${process.execPath} ${CLI} -c ${site.file} sendmail -t -i`;
    const php = (to: string): Promise<Outcome> => {
      const script = `exit(mail(${JSON.stringify(to)}, 'Gr\u00fc\u00dfe', "eins\\n.\\nzwei\\n", "Bcc: otto@clinic.example\\r\\nX-Form: 1", '-fforms@clinic.example') ? 0 : 1);`;
      return run('php', ['-n', '-d', `sendmail_path=${path}`, '-r', script]);
    };
    const messages = await delivered(2, async () => assert.equal((await php('anna@clinic.example')).code, 0));
    for (const message of messages) {
      const inside = await opened(message);
      assert.match(inside, /\r\neins\r\n\.\r\nzwei\r\n/);
      assert.ok(!inside.includes('otto') && !message.octets.includes('otto'));
    }
    assert.equal((await php('nobody@clinic.example')).code, 1);
  });

  test('a Perl pipe, `| sendmail -t`, and its close tells the truth', { skip: missingPrograms({ perl: 'perl' }) ?? false }, async () => {
    const perl = (to: string): Promise<Outcome> => {
      const script = `open(my $m, '|-', '${process.execPath} ${CLI} sendmail -oi -t') or die; print $m "To: ${to.replace('@', '\\@')}\\nSubject: x\\n\\nfrom perl\\n"; close($m); exit($? >> 8);`;
      return run('perl', ['-e', script], { env: environment() });
    };
    const [message] = await delivered(1, async () => assert.equal((await perl('anna@clinic.example')).code, 0));
    assert.ok(message && (await opened(message)).endsWith('from perl\r\n'));
    assert.equal((await perl('nobody@clinic.example')).code, 67);
  });

  test('what cron and mailx write is taken: local names, comments, no From', async () => {
    const { code, stderr } = await sendmail(['-i', '-FCronDaemon', '-B8BITMIME', '-oem', 'root'], 'From: "(Cron Daemon)" <root>\n\nx\n');
    assert.equal(code, 67);
    assert.match(stderr, /root@relay\.clinic\.example: 550/);
  });
});
