import type { ConnectionOptions } from 'node:tls';
import { dialogue } from '../ingress/dialogue.ts';

export interface Asked {
  readonly sender?: string;
  /** Name and password, said by AUTH PLAIN. */
  readonly login?: readonly [string, string];
  /** Parameters behind MAIL, and behind the RCPT of a recipient. */
  readonly mail?: string;
  readonly rcpt?: Readonly<Record<string, string>>;
  /** TLS from the first octet. */
  readonly tls?: ConnectionOptions;
}

/** One message by a raw dialogue; answers its queue id, or throws the refusal. */
export async function send(
  port: number,
  recipients: readonly string[],
  message: string | Buffer = 'Subject: x\r\n\r\nbody\r\n',
  { sender = 'forms@clinic.example', login, mail = '', rcpt = {}, tls }: Asked = {},
): Promise<string> {
  const client = await dialogue(port, tls === undefined ? {} : { tls });
  try {
    await client.expect(/^220/);
    await client.ask('EHLO web.clinic.example', /^250/);
    if (login !== undefined) await client.ask(`AUTH PLAIN ${Buffer.from(`\0${login.join('\0')}`).toString('base64')}`, /^235/);
    await client.ask(`MAIL FROM:<${sender}> ${mail}`, /^250/);
    for (const recipient of recipients) await client.ask(`RCPT TO:<${recipient}> ${rcpt[recipient] ?? ''}`, /^250/);
    await client.ask('DATA', /^354/);
    client.send(stuffed(message));
    const [reply = ''] = await client.ask('.', /^250/);
    return reply.split(' ').at(-1) ?? '';
  } finally {
    client.close();
  }
}

/** RFC 5321 §4.5.2; behind a bare LF too, as a script does that writes no CR. */
const stuffed = (message: string | Buffer): Buffer =>
  Buffer.from(
    Buffer.from(message)
      .toString('latin1')
      .replace(/(^|\n)\./g, '$1..'),
    'latin1',
  );
