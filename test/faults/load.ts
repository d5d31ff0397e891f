/**
 * A load of messages that can each be found again: a canary of its own in body, Subject and the name of an attachment, and an id in the
 * Message-ID that stays outside the seal. Handed in over real SMTP by several clients; what each was told is kept, and when.
 */
import { createHash, randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { LOOPBACK } from '../interop/ports.ts';

export const SENDER = 'forms@clinic.example';
/** Longer than the relay waits for anything that it is asked here. */
const REPLY_MS = 60_000;
const LINE_OCTETS = 64;

export interface Mail {
  /** The left side of its Message-ID. */
  readonly id: string;
  /** Stands in body, Subject and file name, and nowhere else. */
  readonly canary: string;
  readonly recipients: readonly string[];
  readonly message: Buffer;
}

/** What a client knows when its session has ended. `unknown`: it went past the dot, and no reply came. */
export type Told =
  | { readonly kind: 'taken'; readonly mail: Mail; readonly queueId: string; readonly at: number }
  | { readonly kind: 'refused'; readonly mail: Mail; readonly reply: string; readonly at: number }
  | { readonly kind: 'unsent'; readonly mail: Mail; readonly at: number }
  | { readonly kind: 'unknown'; readonly mail: Mail; readonly at: number };

export interface MailMaker {
  /** The beginning of every canary: who finds it nowhere finds none of them. */
  readonly canary: string;
  /** `octets`: about what the body has. */
  make(recipients: readonly string[], octets?: number): Mail;
}

/** Mails of one run; their canaries can be told from those of every other run. */
export function makeMails(): MailMaker {
  const run = randomBytes(6).toString('hex');
  const canary = `canary-${run}`;
  let number = 0;
  return {
    canary,
    make(recipients, octets = 200) {
      const id = `m${++number}.${run.slice(0, 6)}`;
      const own = `${canary}-${number}.`;
      return { id, canary: own, recipients, message: messageOf(id, own, recipients, octets) };
    },
  };
}

/** What a reader must find behind our header, with nothing cut off. */
export const bodySha256 = (message: Buffer): string =>
  createHash('sha256')
    .update(message.subarray(message.indexOf('\r\n\r\n') + 4))
    .digest('hex');

/** The lines are those of a form, with one that begins with a dot. */
function messageOf(id: string, canary: string, recipients: readonly string[], octets: number): Buffer {
  const boundary = `part-${id}`;
  const line = `${canary} form of a patient`.padEnd(LINE_OCTETS, 'x');
  const body = Array.from({ length: Math.max(1, Math.floor(octets / (LINE_OCTETS + 2))) }, () => line);
  return Buffer.from(
    [
      `From: <${SENDER}>`,
      `To: <${recipients[0] ?? ''}>`,
      `Subject: ${canary}`,
      'Date: Mon, 23 Nov 2026 08:00:00 +0000',
      `Message-ID: <${id}@load.example>`,
      'MIME-Version: 1.0',
      `Content-Type: multipart/mixed; boundary="${boundary}"`,
      '',
      `--${boundary}`,
      'Content-Type: text/plain; charset=us-ascii',
      '',
      '.a line that begins with a dot',
      ...body,
      `--${boundary}`,
      `Content-Disposition: attachment; filename="${canary}pdf"`,
      'Content-Type: application/pdf',
      '',
      canary,
      `--${boundary}--`,
      '',
    ].join('\r\n'),
    'latin1',
  );
}

/** One reply at a time; undefined where the connection ended first. */
function makeReader(socket: Socket): () => Promise<string | undefined> {
  let text = '';
  let over = false;
  let wake = (): void => undefined;
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    wake();
  });
  const end = (): void => {
    over = true;
    wake();
  };
  socket.on('error', end);
  socket.on('close', end);
  socket.setTimeout(REPLY_MS, () => socket.destroy());
  return async () => {
    for (;;) {
      const whole = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\n/.exec(text)?.[0];
      if (whole !== undefined) {
        text = text.slice(whole.length);
        return whole.trimEnd();
      }
      if (over) return undefined;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
}

/** Never rejects: every end of a session is one of the four. A recipient that is refused ends the session. */
export async function handIn(port: number, mail: Mail): Promise<Told> {
  const socket = connect({ port, host: LOOPBACK, noDelay: true });
  const reply = makeReader(socket);
  const told = (kind: 'unsent' | 'unknown'): Told => ({ kind, mail, at: Date.now() });
  const lines = ['EHLO load.example', `MAIL FROM:<${SENDER}>`, ...mail.recipients.map((to) => `RCPT TO:<${to}>`), 'DATA'];
  try {
    for (const line of [undefined, ...lines]) {
      if (line !== undefined) socket.write(`${line}\r\n`);
      const answer = await reply();
      if (answer === undefined) return told('unsent');
      if (!/^[23]/.test(answer)) return { kind: 'refused', mail, reply: answer, at: Date.now() };
    }
    socket.write(Buffer.concat([stuffed(mail.message), Buffer.from('.\r\n')]));
    const answer = await reply();
    if (answer === undefined) return told('unknown');
    if (!answer.startsWith('250')) return { kind: 'refused', mail, reply: answer, at: Date.now() };
    return { kind: 'taken', mail, queueId: answer.split(' ').at(-1) ?? '', at: Date.now() };
  } finally {
    socket.destroy();
  }
}

/** RFC 5321 §4.5.2. */
const stuffed = (message: Buffer): Buffer => Buffer.from(message.toString('latin1').replaceAll(/(^|\n)\./g, '$1..'), 'latin1');

export interface LoadOptions {
  readonly port: number;
  readonly clients: number;
  /** The next one to hand in; undefined where it is enough. */
  readonly next: () => Mail | undefined;
  readonly onTold: (told: Told) => void;
  /** Ends it as soon as it is true, behind the sessions that are under way. */
  readonly over?: () => boolean;
}

/** Resolves when every client has ended: the mails are used up, or it is over, or nobody listens any more. */
export async function runLoad({ port, clients, next, onTold, over = () => false }: LoadOptions): Promise<void> {
  const client = async (): Promise<void> => {
    for (let mail = over() ? undefined : next(); mail !== undefined; mail = over() ? undefined : next()) {
      const told = await handIn(port, mail);
      onTold(told);
      if (told.kind === 'unsent') return;
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
}
