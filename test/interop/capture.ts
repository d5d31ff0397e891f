/**
 * Makes the captured streams again: `node test/interop/capture.ts`. Real clients (PHP's mail(), a PHP script on a socket,
 * swaks, Net::SMTP, openssl) write; a small SMTP server or a file takes what they wrote, undoes the dot-stuffing and changes nothing
 * else. Line ends stay as the client sent them. Not part of the tests: their files are in streams/.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { succeed } from './programs.ts';

const target = new URL('streams/', import.meta.url);

/** Answers one SMTP session and resolves with the octets of its DATA, dot-unstuffed. Only CRLF.CRLF ends it (RFC 5321 §4.1.1.4). */
function takeOne(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let pending = Buffer.alloc(0);
    let inData = false;
    const say = (line: string): boolean => socket.write(`${line}\r\n`);
    say('220 capture.example ESMTP');
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      for (;;) {
        if (inData) {
          const end = pending.indexOf('\r\n.\r\n');
          if (end < 0) return;
          const text = pending.subarray(0, end + 2).toString('latin1');
          pending = pending.subarray(end + 5);
          inData = false;
          say('250 2.0.0 taken');
          resolve(Buffer.from(text.replace(/(^|\r\n)\./g, '$1'), 'latin1'));
        }
        const end = pending.indexOf('\r\n');
        if (end < 0) return;
        const verb = pending.subarray(0, 4).toString('latin1').toUpperCase();
        pending = pending.subarray(end + 2);
        inData = verb === 'DATA';
        say(
          verb === 'DATA' ? '354 go on' : verb === 'QUIT' ? '221 bye' : verb === 'EHLO' ? '250-capture.example\r\n250 8BITMIME' : '250 ok',
        );
      }
    });
  });
}

/** Runs `client` against a fresh server and keeps what it sent. */
async function overSmtp(name: string, client: (port: number) => Promise<unknown>): Promise<void> {
  const server = createServer();
  const taken = new Promise<Buffer>((resolve, reject) => {
    server.on('connection', (socket) => void takeOne(socket).then(resolve, reject));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  await client(address.port);
  await writeFile(new URL(`${name}.eml`, target), await taken);
  server.close();
}

/** PHP's mail() writes to what php.ini names as sendmail; here that is `tee`. */
async function phpMail(dir: string, name: string, code: string): Promise<void> {
  const script = join(dir, 'form.php');
  const captured = join(dir, name);
  await writeFile(script, code);
  await succeed('php', ['-d', `sendmail_path=tee ${captured}`, '-d', 'mail.add_x_header=1', script]);
  await writeFile(new URL(`${name}.eml`, target), await readFile(captured));
}

const phpText = `<?php
mail('Anna Muster <anna@clinic.example>', 'Neue Anfrage von Jürgen', "Name: Jürgen Groß\\nTelefon: 0123\\n\\n.versteckt\\n",
  "From: forms@clinic.example\\r\\nReply-To: visitor@example.net\\r\\nBcc: ben@clinic.example\\r\\nX-Mailer: PHP/8");
`;
const phpLatin1 = `<?php
mail('anna@clinic.example', 'Anfrage', "Gr\\xf6\\xdfe: 1,82 m\\r\\nPreis: \\x80 12\\r\\n", ['From' => 'forms@clinic.example', 'MIME-Version' => '1.0']);
`;
const phpHtml = `<?php
mail('anna@clinic.example', 'Anfrage', "<html>\\n<body><p>Grüße</p></body>\\n</html>",
  implode("\\n", ['MIME-Version: 1.0', 'Content-type: text/html; charset=UTF-8', 'From: forms@clinic.example', 'Cc: ben@clinic.example']));
`;
/** The script every hoster has seen: a socket, string concatenation, LF where CRLF belongs. */
const phpSocket = (port: number): string => `<?php
$s = fsockopen('127.0.0.1', ${port});
function say($s, $line) { if ($line !== '') fwrite($s, $line . "\\r\\n"); fgets($s); }
say($s, ''); say($s, 'HELO form'); say($s, 'MAIL FROM:<forms@clinic.example>'); say($s, 'RCPT TO:<anna@clinic.example>'); say($s, 'DATA');
$body = "Patient: Jürgen Groß\\nGeburtsdatum: 1970-01-01\\n\\nBemerkung:\\n..zwei Punkte\\r\\nEnde";
fwrite($s, "Subject: Aufnahmebogen\\nFrom: <forms@clinic.example>\\nTo: <anna@clinic.example>\\nX-Patient: 4711\\n\\n" . $body . "\\r\\n.\\r\\n");
fgets($s); fwrite($s, "QUIT\\r\\n");
`;
const netSmtp = (port: number): string => `
use Net::SMTP; my $s = Net::SMTP->new('127.0.0.1', Port => ${port}, Hello => 'form.clinic.example') or die;
$s->mail('forms@clinic.example'); $s->to('anna@clinic.example'); $s->data();
$s->datasend("From: forms\\@clinic.example\\nTo: anna\\@clinic.example\\nSubject: from Perl\\nMIME-Version: 1.0\\n");
$s->datasend("Content-Type: text/plain; charset=iso-8859-1\\nContent-Transfer-Encoding: 8bit\\n\\n.dot\\nGr\\xf6\\xdfe\\n\\nend");
$s->dataend() or die; $s->quit;
`;

async function signed(dir: string): Promise<void> {
  const [key, cert, text] = [join(dir, 'key.pem'), join(dir, 'cert.pem'), join(dir, 'text')];
  const request = [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '3650',
    '-subj',
    '/CN=forms',
    '-addext',
    'subjectAltName=email:forms@clinic.example',
  ];
  await succeed('openssl', [...request, '-keyout', key, '-out', cert]);
  await writeFile(text, 'Content-Type: text/plain; charset=utf-8\r\n\r\nsigned by the form, Größe 1,82 m\r\n');
  const envelope = ['-from', 'forms@clinic.example', '-to', 'anna@clinic.example', '-subject', 'signed'];
  const sign = ['cms', '-sign', '-in', text, '-signer', cert, '-inkey', key, ...envelope];
  await succeed('openssl', [...sign, '-crlfeol', '-out', new URL('signed-detached.eml', target).pathname]);
  await succeed('openssl', [...sign, '-nodetach', '-out', new URL('signed-opaque.eml', target).pathname]);
}

const dir = await mkdtemp(join(tmpdir(), 'capture-'));
try {
  await phpMail(dir, 'php-mail', phpText);
  await phpMail(dir, 'php-mail-latin-1', phpLatin1);
  await phpMail(dir, 'php-mail-html', phpHtml);
  await overSmtp('php-socket', (port) => succeed('php', ['-r', phpSocket(port).replace('<?php', '')]));
  await overSmtp('perl-net-smtp', (port) => succeed('perl', ['-e', netSmtp(port)]));
  const envelope = ['--helo', 'form.clinic.example', '--from', 'forms@clinic.example', '--to', 'anna@clinic.example'];
  const fixed = ['--hide-all', '--header', 'Message-Id: <20261123.1@form.clinic.example>'];
  const swaks = (port: number): string[] => ['--server', '127.0.0.1', '--port', String(port), ...envelope, ...fixed];
  await overSmtp('swaks', (port) => succeed('swaks', swaks(port)));
  await writeFile(join(dir, 'scan.png'), Buffer.from('89504e470d0a1a0a00', 'hex'));
  const attach = [
    '--header',
    'Subject: with a file',
    '--body',
    'see file',
    '--attach-type',
    'image/png',
    '--attach',
    `@${join(dir, 'scan.png')}`,
  ];
  await overSmtp('swaks-attachment', (port) => succeed('swaks', [...swaks(port), ...attach]));
  await signed(dir);
} finally {
  await rm(dir, { recursive: true, force: true });
}
process.stdout.write(`captured into ${target.pathname}\n`);
